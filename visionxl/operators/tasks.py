"""Named tasks: the paper's (arXiv 2412.00156), and more."""

from collections.abc import Callable

from torch import Generator

from visionxl.errors import InputError, nearest
from visionxl.operators.blur import GaussianBlur
from visionxl.operators.masking import Mask
from visionxl.operators.nonlinear import Clip, Gamma
from visionxl.operators.patterns import bayer, interlaced
from visionxl.operators.pooling import AveragePool
from visionxl.operators.shift import Shift
from visionxl.operators.shutter import DropFrames, ExposureBracket, RollingShutter
from visionxl.operators.snapshot import Snapshot
from visionxl.operators.temporal import TemporalAverage
from visionxl.operators.transform import BlockCosine
from visionxl.operators.varying import VaryingBlur
from visionxl.protocols import ForwardOperator, NonlinearOperator

Task = Callable[[int, int, int, Generator], ForwardOperator]
"""(frames, height, width, generator) -> operator."""

NonlinearTask = Callable[[int, int, int, Generator], NonlinearOperator]
"""(frames, height, width, generator) -> operator that is not linear."""


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
    """The average over 13 frames, circular in time."""
    return TemporalAverage(13, "circular")


def with_average(spatial: Task) -> Task:
    """``spatial`` after the average over 7 frames, circular in time."""

    def task(frames: int, height: int, width: int, generator: Generator) -> ForwardOperator:
        average = TemporalAverage(7, "circular")
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
"""The paper's tasks. ``+`` adds the average over 7 frames; ``temporal`` alone is over 13."""


def blur_varying(frames: int, height: int, width: int, generator: Generator) -> ForwardOperator:
    """Gaussian blur, from sigma 0.5 pixels in the centre to 3.5 in the corners."""
    return VaryingBlur.radial(height, width)


def rolling(frames: int, height: int, width: int, generator: Generator) -> ForwardOperator:
    """A rolling shutter that takes 4 frames from the first row to the last."""
    return RollingShutter(4.0)


def drop(frames: int, height: int, width: int, generator: Generator) -> ForwardOperator:
    """Each frame but the first and the last is lost with probability 0.4."""
    return DropFrames.random(0.6, frames, generator)


def bracket(frames: int, height: int, width: int, generator: Generator) -> ForwardOperator:
    """Exposures of 1, 3 and 7 frames by turns, with the light that each collects."""
    return ExposureBracket((1, 3, 7))


def deinterlace(frames: int, height: int, width: int, generator: Generator) -> ForwardOperator:
    """Even lines of even frames, odd lines of odd ones."""
    return interlaced(frames, height, width)


def demosaic(frames: int, height: int, width: int, generator: Generator) -> ForwardOperator:
    """One colour at each pixel, in Bayer's pattern (rggb)."""
    return bayer(height, width)


def jpeg(frames: int, height: int, width: int, generator: Generator) -> ForwardOperator:
    """Cosine coefficients of blocks of 8 x 8, the high frequencies coarser: see ``dithered``."""
    return BlockCosine()


def snapshot(frames: int, height: int, width: int, generator: Generator) -> ForwardOperator:
    """8 frames in one exposure, each through a random code that lets half of the light pass."""
    return Snapshot.random(8, height, width, generator, frames=frames)


def shift_sr4(frames: int, height: int, width: int, generator: Generator) -> ForwardOperator:
    """Average pooling by 4 of a camera that shakes by up to 4 pixels, in a known way."""
    return AveragePool(4) @ Shift.random(4.0, frames, generator)


MORE_TASKS: dict[str, Task] = {
    "blur-varying": blur_varying,
    "rolling": rolling,
    "drop": drop,
    "bracket": bracket,
    "deinterlace": deinterlace,
    "bayer": demosaic,
    "bayer+": with_average(demosaic),
    "jpeg": jpeg,
    "snapshot": snapshot,
    "shift-sr4": shift_sr4,
}
"""Tasks that are not the paper's. ``+`` adds the average over 7 frames."""


def clip(frames: int, height: int, width: int, generator: Generator) -> NonlinearOperator:
    """A sensor that saturates at 0.2: what is brighter is white."""
    return Clip(high=0.2)


def gamma(frames: int, height: int, width: int, generator: Generator) -> NonlinearOperator:
    """The average over 7 frames as a camera makes it: of light, before its curve of 1 / 2.2."""
    return Gamma(1 / 2.2) @ TemporalAverage(7, "circular") @ Gamma(2.2)


NONLINEAR_TASKS: dict[str, NonlinearTask] = {"clip": clip, "gamma+": gamma}
"""Tasks that are not linear: for ``gauss_newton()``."""

TASK_NAMES = (*TASKS, *MORE_TASKS, *NONLINEAR_TASKS)
"""The names of all tasks."""


def task_named(name: str) -> Task | NonlinearTask:
    """The task of that name. Raises InputError, with the nearest name, for an unknown one."""
    known: dict[str, Task | NonlinearTask] = {**TASKS, **MORE_TASKS, **NONLINEAR_TASKS}
    if name not in known:
        raise InputError(f"task {name!r} is unknown: {nearest(name, known)}")
    return known[name]
