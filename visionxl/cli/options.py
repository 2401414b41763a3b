"""The application, the options that commands share, and how they speak."""

import json
import math
import signal
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stdout
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from visionxl.cli.own import called_wrongly, place_in
from visionxl.errors import InputError
from visionxl.operators import TASK_NAMES
from visionxl.planning import ran_out_of_memory


def examples(*commands: str) -> str:
    """The end of a command's help."""
    return "\b\nExample: " + "\n         ".join(commands)


app: typer.Typer = typer.Typer(
    help="Restore video with an image latent diffusion model.",
    epilog=examples("visionxl demo", "visionxl restore --help", "visionxl restore y.safetensors"),
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    rich_markup_mode=None,  # plain help: the same on a terminal, in a file and for a screen reader
)
err: Console = Console(stderr=True, highlight=False, emoji=False)
INTERRUPTED = 130


def _tell_version(asked: bool) -> bool:
    if asked:
        print(f"visionxl {metadata.version('visionxl')}")
        raise typer.Exit
    return asked


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, help="Print the version and exit.")
    ] = False,
) -> None:
    """Restore video with an image latent diffusion model."""


UsageError: Any = typer.BadParameter.__bases__[0]  # of click, or of the copy that typer carries


MOST = 2**63 - 1  # of a whole number that torch takes


def integer(least: int | None = None, most: int = MOST) -> Callable[[str], int]:
    """A parser of whole numbers whose error names the value."""

    def parse(value: str | int) -> int:
        bound = "" if least is None else f" from {least}"
        bound += "" if most == MOST else f" to {most}"
        try:
            number = int(value)
        except ValueError:
            raise typer.BadParameter(f"{value!r} is not an integer: give one{bound}") from None
        if least is not None and not least <= number <= most:
            raise typer.BadParameter(f"{value} is out of range: give an integer{bound}")
        return number

    parse.__name__ = "INTEGER"  # what --help shows
    return parse


def real(least: float = -math.inf, *, above: bool = False) -> Callable[[str], float]:
    """A parser of finite numbers whose error names the value.

    Args:
        least: number that is allowed.
        above: whether ``least`` itself is refused.
    """
    bound = "" if least == -math.inf else f" {'above' if above else 'from'} {least:g}"

    def parse(value: str | float) -> float:
        try:
            number = float(value)
        except ValueError:
            raise typer.BadParameter(f"{value!r} is not a number: write it like 0.01") from None
        if not least <= number < math.inf or (above and number == least):
            raise typer.BadParameter(f"{value} is out of range: give a finite number{bound}")
        return number

    parse.__name__ = "NUMBER"  # what --help shows
    return parse


def beginning(names: Iterable[str]) -> Callable[[str], list[str]]:
    """For the shell's completion: the names that begin with what was typed."""

    def complete(incomplete: str) -> list[str]:  # typer finds the argument by its name
        return [name for name in names if name.startswith(incomplete)]

    return complete


TaskOption = Annotated[
    str | None,
    typer.Option(
        help=f"Such as {TASK_NAMES[0]} (see info), or FILE.py:FUNCTION.",
        autocompletion=beginning(TASK_NAMES),
    ),
]
NoiseOption = Annotated[
    float | None,
    typer.Option(parser=real(0.0), help="Standard deviation; the range is [-1, 1]."),
]
SeedOption = Annotated[int, typer.Option(parser=integer(0), help="For all randomness.")]
WindowOption = Annotated[
    int | None,
    typer.Option(parser=integer(1, 9999), help="Frames to average, if not the task's own."),
]
MaskOption = Annotated[
    Path | None, typer.Option(help="For inpainting: image or clip, white = known.")
]
FramesOption = Annotated[
    int | None, typer.Option(parser=integer(1), help="Use the first frames only.")
]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Continue where this command was cut off.")
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace what exists.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the record as JSON.")]


def say(
    record: dict[str, Any], as_json: bool, summary: str, notes: list[str], written: list[Path]
) -> None:
    if as_json:
        print(json.dumps(record, indent=2))
        return
    print(summary)
    for note in notes:
        print(f"note: {note}")
    for path in written:
        print(f"wrote {path}")


def for_people(as_json: bool) -> AbstractContextManager[object]:
    """Around what may print, as parts of one's own do: beside JSON it is on standard error."""
    return redirect_stdout(sys.stderr) if as_json else nullcontext()


@contextmanager
def explained() -> Iterator[None]:
    """Errors of the user's making become one sentence and exit code 2."""
    try:
        yield
    except InputError as error:
        fail(str(error))
    except UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # its message is the help, or it is printed
            print(error.format_message(), end="")
            sys.exit(2)
        fail(error.format_message())
    except Exception as error:
        sentence = explanation(error)
        if sentence is None:
            error.add_note(
                "This should not happen: please report it with the output of visionxl info."
            )
            raise
        fail(sentence)


def explanation(error: Exception) -> str | None:
    """What a user can do about an error, in a sentence; None for one of the library's making."""
    if isinstance(error, InputError):
        return str(error)
    if ran_out_of_memory(error):
        reason = (str(error).strip().splitlines() or ["no more could be had"])[-1]
        return (
            f"memory ran out ({reason}): try fewer frames (simulate --frames), a smaller size "
            "(simulate --size), or restore --memory with less than there is"
        )
    own = place_in(error)
    if own is not None:
        return f"{own}, raised {type(error).__name__}: {error}"
    file = called_wrongly(error)
    if file is not None:
        return f"{file}: {error}; make it accept the arguments named in visionxl.protocols"
    if isinstance(error, OSError) and error.filename is not None:
        return (
            f"{str(error.filename)!r} cannot be used ({error.strerror}): check its name, and the "
            "permissions of the file and its folder"
        )
    return None


@contextmanager
def warned() -> Iterator[None]:
    """A warning of the library is a line, without its place in the source."""
    usual, package = warnings.showwarning, Path(__file__).parents[1]

    def show(message: Warning | str, category: type[Warning], filename: str, *more: Any) -> None:
        if Path(filename).is_relative_to(package):
            err.print(f"visionxl: warning: {message}", markup=False, soft_wrap=True)
        else:
            usual(message, category, filename, *more)

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the result does not explain")  # a note says it
        warnings.filterwarnings("ignore", "Failed to load image Python extension")  # torchvision's
        warnings.showwarning = show
        yield


class Terminated(SystemExit):
    """SIGTERM, as an exception: what is being written is finished, and the program says goodbye."""


@contextmanager
def stoppable(goodbye: Callable[[], str]) -> Iterator[None]:
    """SIGINT and SIGTERM end the program with a sentence, and the exit code that shells expect."""

    def terminate(*_: object) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    except (KeyboardInterrupt, Terminated) as stop:
        err.print(f"stopped: {goodbye()}", markup=False, soft_wrap=True)
        sys.exit(128 + (signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT))
    finally:
        signal.signal(signal.SIGTERM, before)


def fail(sentence: str) -> None:
    err.print(f"visionxl: error: {sentence}", markup=False, soft_wrap=True)
    sys.exit(2)


def main() -> None:
    """The entry point of the console script."""
    with explained(), warned(), stoppable(lambda: "nothing half-written is left behind"):
        code = app(prog_name="visionxl", standalone_mode=False)
        if code == INTERRUPTED:  # what typer makes of Ctrl-C
            raise KeyboardInterrupt
        sys.exit(code if isinstance(code, int) else 0)
