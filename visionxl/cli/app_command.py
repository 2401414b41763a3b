"""app: the page in the browser."""

from typing import Annotated

import torch
import typer

from visionxl.app import Limits, serve
from visionxl.app.serving import LOCAL
from visionxl.cli.app_priors import offered
from visionxl.cli.app_work import Restorer
from visionxl.cli.options import app, err, examples, integer


@app.command(
    "app",
    short_help="A page in the browser: drop a clip, watch, compare.",
    epilog=examples(
        "visionxl app",
        "visionxl app --port 8000 --max-frames 100",
        "visionxl app --prior pocket --prior FOLDER",
    ),
)
def app_(
    prior: Annotated[
        list[str] | None,
        typer.Option(help="pocket (the default), a folder, or a hub id; repeat to offer several."),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps, ...")] = "cpu",
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(parser=integer(1, 65535), help="To listen on.")] = 7860,
    max_frames: Annotated[
        int, typer.Option(parser=integer(1), help="Per clip.")
    ] = Limits().max_frames,
    max_pixels: Annotated[
        int, typer.Option(parser=integer(1), help="Per frame: height x width.")
    ] = Limits().max_pixels,
) -> None:
    """Serve a page to this machine's browser: drop a clip, watch its restoration, compare."""
    limits = Limits(max_frames, max_pixels)
    priors = offered(prior or ["pocket"], device, dtype)
    next(iter(priors.values()))()  # what is wrong with the first is told at once
    work = Restorer(priors, limits, torch.device(device))
    if host not in LOCAL:
        err.print(f"note: whoever reaches {host} can use the page; there is no password")
    serve(
        work, limits, list(priors), host, port, ready=lambda url: print(f"{url} (Ctrl-C ends it)")
    )
