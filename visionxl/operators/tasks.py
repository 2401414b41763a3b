"""The tasks of the paper, by name (arXiv 2412.00156)."""

from collections.abc import Callable

from torch import Generator

from visionxl.errors import InputError, nearest
from visionxl.operators.blur import GaussianBlur
from visionxl.operators.masking import Mask
from visionxl.operators.pooling import AveragePool
from visionxl.operators.temporal import TemporalAverage
from visionxl.protocols import ForwardOperator

Task = Callable[[int, int, int, Generator], ForwardOperator]
"""(frames, height, width, generator) -> operator."""


def deblur(frames: int, height: int, width: int, generator: Generator) -> ForwardOperator:
    """Gaussian blur, sigma 3.0 pixels, 61 taps, reflecting border."""
    return GaussianBlur(3.0, "reflect")


def sr4(frames: int, height: int, width: int, generator: Generator) -> ForwardOperator:
    """Average pooling by 4: super-resolution."""
    return AveragePool(4)


def inpaint(frames: int, height: int, width: int, generator: Generator) -> ForwardOperator:
    """Half of the pixels are missing, the same ones in every frame and channel."""
    return Mask.random(0.5, height, width, generator)


def temporal(frames: int, height: int, width: int, generator: Generator) -> ForwardOperator:
    """The average over 7 frames, circular in time."""
    return TemporalAverage(7, "circular")


def with_average(spatial: Task, window: int = 7) -> Task:
    """``spatial`` after the average over ``window`` frames, circular in time."""

    def task(frames: int, height: int, width: int, generator: Generator) -> ForwardOperator:
        average = TemporalAverage(window, "circular")
        return spatial(frames, height, width, generator) @ average  # type: ignore[operator]

    return task


TASKS: dict[str, Task] = {
    "deblur+": with_average(deblur),
    "sr4+": with_average(sr4),
    "inpaint+": with_average(inpaint),
    "deblur": deblur,
    "sr4": sr4,
    "inpaint": inpaint,
    "temporal": temporal,
}
"""The paper's tasks. ``+`` adds the average over 7 frames."""


def task_named(name: str) -> Task:
    """The task of that name. Raises InputError, with the nearest name, for an unknown one."""
    if name not in TASKS:
        raise InputError(f"task {name!r} is unknown: {nearest(name, TASKS)}")
    return TASKS[name]
