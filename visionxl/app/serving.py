"""The server of the page: to this machine alone unless told otherwise, and without a trace."""

import os
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from attrs import frozen

from visionxl.app.desk import Desk, Work
from visionxl.app.page import build, theme
from visionxl.app.uploads import Limits
from visionxl.errors import InputError

LARGEST_UPLOAD = "500mb"
LOCAL = ("127.0.0.1", "localhost")  # what this machine alone is called by


def serve(
    work: Work,
    limits: Limits,
    priors: Sequence[str],
    host: str,
    port: int,
    ready: Callable[[str], object],
) -> None:
    """Serve the page until the process is interrupted; then stop the work and remove all files.

    Args:
        work: what is done with an upload.
        limits: of uploads.
        priors: the names of those that the page offers.
        host: the address to listen on.
        port: likewise.
        ready: called with the page's address.

    Raises:
        InputError: gradio is not installed, or the address cannot be listened on.
    """
    if ":" in host:
        raise InputError(f"--host {host}: gradio takes no IPv6 address; give 127.0.0.1 or 0.0.0.0")
    try:  # before gradio, which takes its time to come
        socket.create_server((host, port)).close()
    except OSError as error:
        raise _taken(host, port, error) from error
    with TemporaryDirectory(prefix="visionxl-app-", ignore_cleanup_errors=True) as folder:
        gradio = _gradio(Path(folder) / "page")
        runs = Path(folder) / "runs"
        runs.mkdir()
        desk = Desk(work, runs)
        page = build(gradio, desk, limits, priors)
        try:
            try:
                _, url, _ = page.launch(
                    server_name=host,
                    server_port=port,
                    theme=theme(gradio),
                    prevent_thread_lock=True,
                    quiet=True,
                    share=False,
                    allowed_paths=[],
                    max_file_size=LARGEST_UPLOAD,
                    footer_links=[],
                    ssr_mode=False,
                    mcp_server=False,
                    pwa=False,
                    enable_monitoring=False,
                    app_kwargs={"middleware": guards(host)},
                )
            except OSError as error:
                raise _taken(host, port, error) from error
            ready(url)
            threading.Event().wait()
        finally:
            desk.close()
            page.close(verbose=False)


def guards(host: str) -> list[Any]:
    """Middleware that keeps other sites, open in the same browser, from using the page.

    An address of this machine alone is called by its own names, or it is another site that had its
    name point here (DNS rebinding); and what a browser sends from another origin is refused.
    """
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    own = [Middleware(TrustedHostMiddleware, allowed_hosts=list(LOCAL))] if host in LOCAL else []
    return [*own, Middleware(SameOrigin)]


@frozen
class SameOrigin:
    """ASGI middleware: requests that another site's page has a browser send are refused."""

    app: Any

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        from starlette.responses import PlainTextResponse

        if scope["type"] == "http":
            headers = dict(scope["headers"])
            origin = headers.get(b"origin")
            if origin is not None and origin.partition(b"://")[2] != headers.get(b"host"):
                refused = PlainTextResponse("another site may not use this page", 403)
                await refused(scope, receive, send)
                return
        await self.app(scope, receive, send)


def _taken(host: str, port: int, error: OSError) -> InputError:
    return InputError(
        f"--host {host} --port {port} cannot be listened on ({error}): choose another --port"
    )


def _gradio(folder: Path) -> Any:
    """The library, told to keep its files in that folder and to itself."""
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import gradio  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise InputError("the app needs gradio: pip install 'gradio>=6'") from error
    return gradio
