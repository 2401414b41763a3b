"""Progress for people: stage, frames, step, time left and residual."""

import time
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, runtime_checkable

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from visionxl.protocols import Step
from visionxl.report import Look

WIDE = 60  # columns that the whole bar needs


@runtime_checkable
class Watching(Protocol):
    """Receives the progress of a run."""

    @abstractmethod
    def stage(self, name: str, frames: int) -> AbstractContextManager[None]:
        """Around a call of a network (:class:`~visionxl.solvers.Around`)."""
        ...

    @abstractmethod
    def observe(self, step: Step, look: Look) -> None:
        """Called after every step."""
        ...


class StepBar:
    """A bar on a terminal, one plain line per step in a log.

    It counts frames through the three networks and shows the stage that runs now.

    Args:
        console: to write on.
        steps: of the method.
        frames: of the clip.
        done: steps that were made before, with a share of the next.
        seen: frames that the three networks see in a step; None for three times those of the clip.
    """

    def __init__(
        self,
        console: Console,
        steps: int,
        frames: int,
        done: float = 0.0,
        seen: int | None = None,
    ) -> None:
        seen = 3 * frames if seen is None else seen
        self._console, self._steps, self._frames = console, steps, frames
        self._began: float | None = None if done else time.perf_counter()
        self._moves = console.is_terminal and not console.is_dumb_terminal
        columns = [
            TextColumn("{task.description:<7}"),
            BarColumn(),
            TextColumn("step {task.fields[step]}/" + str(steps)),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[residual]}"),
        ]
        fitting = columns if console.width >= WIDE else columns[:-1]
        self._progress = Progress(
            *fitting, console=console, disable=not self._moves, transient=True
        )
        # A step costs one denoise, one decode and one encode of every frame.
        self._task = self._progress.add_task(
            "start",
            total=steps * seen - frames,
            completed=round(done * seen),
            step=int(done),
            residual="",
        )

    def __enter__(self) -> "StepBar":
        if self._moves:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._moves:  # in a log some versions of rich would leave an empty line
            self._progress.stop()

    @contextmanager
    def stage(self, name: str, frames: int) -> Iterator[None]:
        """Around a call of a network (:class:`~visionxl.solvers.Around`)."""
        started = self._progress.tasks[0].fields["step"] > 0 or name == "decode"
        self._progress.update(self._task, description=name, advance=frames if started else 0)
        yield

    def begin(self, part: str) -> None:
        """Called when a part of a clip has its start."""
        self._progress.update(self._task, residual=part)
        if not self._moves and self._began is not None:
            seconds = time.perf_counter() - self._began
            self._console.print(f"start, {part}, {seconds:.1f} s so far", highlight=False)

    def observe(
        self, step: Step, look: Look | None = None, part: str = "", left: float | None = None
    ) -> None:
        """Called after every step.

        Args:
            step: that was made.
            look: for those who can show it.
            part: of a clip, in words.
            left: seconds; None where all steps take as long as this one.
        """
        record = step.record
        residual = f"residual {record.data_residual:.4f}"
        told = f"{part.removeprefix(', ')} {residual}".strip()
        self._progress.update(self._task, step=record.index + 1, residual=told)
        if not self._moves:
            if self._began is not None:
                start = time.perf_counter() - self._began - record.seconds
                self._console.print(f"start, {start:.1f} s", highlight=False)
            self._began = None
            done = record.index + 1
            left = record.seconds * (self._steps - done) if left is None else left
            words = [f"step {done}/{self._steps} of {self._frames} frames{part}"]
            words += [f"time {record.time:.3f}", residual, f"{record.seconds:.1f} s"]
            if left:
                words.append(f"about {left:.0f} s left")
            self._console.print(
                ", ".join(words),
                soft_wrap=True,
                highlight=False,
            )
