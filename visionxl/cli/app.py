"""The application, the options that commands share, and how they speak."""

import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from visionxl.errors import InputError
from visionxl.operators import TASKS
from visionxl.planning import ran_out_of_memory

app: typer.Typer = typer.Typer(
    help="Restore video with an image latent diffusion model.",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
)
err: Console = Console(stderr=True, highlight=False)
INTERRUPTED = 130
UsageError: Any = typer.BadParameter.__bases__[0]  # of click, or of the copy that typer carries


def integer(least: int | None = None, most: int = 2**63 - 1) -> Callable[[str], int]:
    """A parser of whole numbers whose error names the value."""

    def parse(value: str | int) -> int:
        bound = "" if least is None else f" from {least}"
        try:
            number = int(value)
        except ValueError:
            raise typer.BadParameter(f"{value!r} is not an integer: give one{bound}") from None
        if least is not None and not least <= number <= most:
            raise typer.BadParameter(f"{value} is out of range: give an integer{bound} to {most}")
        return number

    parse.__name__ = "INTEGER"  # what --help shows
    return parse


def real(value: str | float) -> float:
    """A parser of numbers whose error names the value."""
    try:
        return float(value)
    except ValueError:
        raise typer.BadParameter(f"{value!r} is not a number: write it like 0.01") from None


real.__name__ = "NUMBER"

TaskOption = Annotated[str | None, typer.Option(help="One of: " + ", ".join(TASKS) + ".")]
NoiseOption = Annotated[
    float | None,
    typer.Option(parser=real, help="Standard deviation, in units of the range [-1, 1]."),
]
SeedOption = Annotated[int, typer.Option(parser=integer(0), help="Of everything random.")]
WindowOption = Annotated[
    int | None,
    typer.Option(parser=integer(), help="Frames of the temporal average, where not the task's 7."),
]
MaskOption = Annotated[
    Path | None, typer.Option(help="Picture of the known pixels (white), for inpaint tasks.")
]
FramesOption = Annotated[
    int | None, typer.Option(parser=integer(1), help="Use the first frames only.")
]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Go on where the same command was cut off, if it was.")
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace what exists.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print a report for machines.")]


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


@contextmanager
def explained() -> Iterator[None]:
    """Errors of the user's making become one sentence and exit code 2."""
    try:
        yield
    except InputError as error:
        fail(str(error))
    except UsageError as error:
        if not error.format_message():  # no arguments at all: the help has been printed
            sys.exit(2)
        fail(error.format_message())
    except (MemoryError, RuntimeError) as error:
        if not ran_out_of_memory(error):
            raise
        reason = (str(error).strip().splitlines() or ["no more could be had"])[-1]
        fail(
            f"memory ran out ({reason}): try --frames-at-once 1, fewer frames "
            "(simulate --frames) or a smaller size (simulate --size)"
        )


class Terminated(KeyboardInterrupt):
    """SIGTERM, as an exception: what is being written is finished, and the program says goodbye."""


@contextmanager
def stoppable(goodbye: Callable[[], str]) -> Iterator[None]:
    """SIGINT and SIGTERM end the program with a sentence, and the exit code that shells expect."""

    def terminate(*_: object) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    except KeyboardInterrupt as stop:
        err.print(f"stopped: {goodbye()}", markup=False, soft_wrap=True)
        sys.exit(128 + (signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT))
    finally:
        signal.signal(signal.SIGTERM, before)


def fail(sentence: str) -> None:
    err.print(f"visionxl: error: {sentence}", markup=False, soft_wrap=True)
    sys.exit(2)


def main() -> None:
    """The entry point of the console script."""
    with explained():
        code = app(standalone_mode=False)
        if code == INTERRUPTED:
            err.print("stopped; nothing half-written was left behind")
        sys.exit(code if isinstance(code, int) else 0)
