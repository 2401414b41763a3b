"""Operators of a long clip, cut in time: how far they see, and what a window determines."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from attrs import field, frozen

from visionxl.errors import InputError
from visionxl.operators.blur import Blur, GaussianBlur, MotionBlur
from visionxl.operators.composition import Composable, Composition
from visionxl.operators.factors import Factors, Shape, matrix_of, on_axis
from visionxl.operators.masking import Mask
from visionxl.operators.pointwise import Grayscale, Identity, Scale
from visionxl.operators.pooling import AveragePool, BicubicDownsample
from visionxl.operators.shift import Shift
from visionxl.operators.shutter import RollingShutter
from visionxl.operators.temporal import TemporalAverage
from visionxl.operators.transform import BlockCosine
from visionxl.operators.varying import VaryingBlur
from visionxl.protocols import ForwardOperator, Measurement, Video

FRAMEWISE = (
    AveragePool,
    BicubicDownsample,
    BlockCosine,
    Blur,
    GaussianBlur,
    Grayscale,
    Identity,
    Mask,
    MotionBlur,
    Scale,
    Shift,
)


@frozen
class Reach:
    """How far an operator sees along time.

    Args:
        frames: that a frame of the measurement sees on each side of its own.
        circular: whether the clip's first frame follows its last.
    """

    frames: int = 0
    circular: bool = field(default=False, kw_only=True)


@runtime_checkable
class Reaching(Protocol):
    """An operator that knows how far it sees.

    Its measurement has one frame for each of the video's. Away from the ends, frame ``t`` depends
    on the video's frames from ``t - reach`` to ``t + reach``, on all alike and with any number of
    frames, or else it is :class:`ByFrame`, too.
    """

    @abstractmethod
    def reach(self) -> Reach:
        """How far it sees along time."""
        ...


@runtime_checkable
class ByFrame(Protocol):
    """An operator that is not the same for all frames, such as a mask of each."""

    @abstractmethod
    def at(self, frames: Sequence[int], count: int) -> ForwardOperator:
        """What it is for some frames of a video of ``count``, given by their numbers.

        Raises InputError where it is made for another count.
        """
        ...


def operator_at(operator: Any, frames: Sequence[int], count: int) -> Any:
    """An operator for some frames of a video of ``count``, by their numbers.

    Those that are the same for all frames are left as they are.
    """
    if isinstance(operator, Composition):
        outer, inner = (operator_at(o, frames, count) for o in (operator.outer, operator.inner))
        return Composition(outer, inner)
    return operator.at(frames, count) if isinstance(operator, ByFrame) else operator


def reach_of(operator: object) -> Reach:
    """The reach of an operator: that of a composition is the sum of its parts'.

    Raises InputError for one that cannot be cut into windows.
    """
    if isinstance(operator, Reaching):
        return operator.reach()
    if isinstance(operator, Composition):
        outer, inner = reach_of(operator.outer), reach_of(operator.inner)
        if outer.frames and inner.frames and outer.circular != inner.circular:
            raise InputError(
                f"{operator!r} is circular in time in one part and not in the other: give both the "
                "same boundary, or restore the clip as a whole"
            )
        circular = outer.circular or inner.circular
        return Reach(outer.frames + inner.frames, circular=circular)
    if isinstance(operator, TemporalAverage):
        half = operator.window // 2
        return Reach(half, circular=operator.boundary == "circular" and half > 0)
    if isinstance(operator, RollingShutter):
        after = math.ceil(operator.readout)
        return Reach(after, circular=operator.boundary == "circular" and after > 0)
    alike = isinstance(operator, VaryingBlur) and all(
        isinstance(blur, FRAMEWISE) and not isinstance(blur, ByFrame) for blur in operator.blurs
    )
    if alike or isinstance(operator, FRAMEWISE):
        return Reach()
    raise InputError(
        f"{operator!r} cannot be cut into windows, for how far it sees along time is not known: "
        "restore the clip as a whole, or give the operator a method reach() that returns "
        "Reach(frames, circular=...)"
    )


def _inside(keep: "KeepFrames", __: Any, value: int) -> None:
    if not 0 <= keep.first < keep.stop <= keep.first + value or keep.first >= value:
        raise InputError(
            f"frames {keep.first} to {keep.stop} of {value}: expected 0 <= first < frames and "
            "first < stop <= first + frames"
        )


@frozen
class KeepFrames(Composable):
    """Some consecutive frames of several: those that a window determines.

    Forward: ``y[i] = x[(first + i) mod frames]``. Adjoint: the frames go back to their places,
    zeros around.

    Args:
        first: frame that is kept.
        stop: the frame after the last that is kept. Beyond ``frames`` it goes on with frame 0.
        frames: of the video.
    """

    first: int
    stop: int
    frames: int = field(validator=_inside)

    @property
    def _kept(self) -> list[int]:
        return [t % self.frames for t in range(self.first, self.stop)]

    def forward(self, video: Video) -> Measurement:
        if len(video) != self.frames:
            raise InputError(
                f"video has {len(video)} frames: this KeepFrames expects {self.frames}"
            )
        return video[self._kept]

    def _checked(self, measurement: Measurement) -> Measurement:
        if len(measurement) != self.stop - self.first:
            raise InputError(
                f"measurement has {len(measurement)} frames: this KeepFrames expects "
                f"{self.stop - self.first}"
            )
        return measurement

    def adjoint(self, measurement: Measurement) -> Video:
        video = measurement.new_zeros(self.frames, *measurement.shape[1:])
        video[self._kept] = self._checked(measurement)
        return video

    def lift(self, measurement: Measurement) -> Video:
        """The frames in their places, and around them the nearest one."""
        last = self.stop - self.first - 1
        places = torch.arange(self.frames) - self.first
        if self.stop > self.frames:  # the way round is open: half of the gap belongs to the first
            places %= self.frames
            places[places > (last + self.frames) // 2] = 0
        return self._checked(measurement)[places.clamp_(0, last).to(measurement.device)]

    def factors(self, shape: Shape) -> Factors:
        return on_axis(0, matrix_of(self.forward, 0, shape[0]))


def uncut(operator: Any) -> tuple[Any, KeepFrames | None]:
    """A window's operator without its cut (``KeepFrames @ operator``), and the cut, if any."""
    if isinstance(operator, Composition) and isinstance(operator.outer, KeepFrames):
        return operator.inner, operator.outer
    return operator, None
