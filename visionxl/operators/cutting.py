"""Operators of a long clip, cut in time: some of its frames, and what a window determines."""

from collections.abc import Sequence
from typing import Any

import torch
from attrs import field, frozen

from visionxl.errors import InputError
from visionxl.operators.composition import Composable, Composition
from visionxl.operators.factors import Factors, Shape, matrix_of, on_axis
from visionxl.operators.reach import ByFrame, reach_of
from visionxl.protocols import Measurement, Video


def operator_at(operator: Any, frames: Sequence[int], count: int) -> Any:
    """An operator for some frames of a video of ``count``, by their numbers.

    Those that are the same for all frames are left as they are.
    """
    if isinstance(operator, Composition):
        outer, inner = (operator_at(o, frames, count) for o in (operator.outer, operator.inner))
        return Composition(outer, inner)
    return operator.at(frames, count) if isinstance(operator, ByFrame) else operator


def _inside(keep: "KeepFrames", __: Any, value: int) -> None:
    if not 0 <= keep.first < keep.stop <= keep.first + value or keep.first >= value:
        raise InputError(
            f"frames {keep.first} to {keep.stop} of {value}: expected 0 <= first < frames and "
            "first < stop <= first + frames"
        )


@frozen
class KeepFrames(Composable):
    """Some consecutive frames: those of a measurement that the frames of a window determine.

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


def goes_round(operator: Any) -> bool:
    """Whether a window's measurement has frames that depend on both ends of the window.

    Raises InputError for an operator whose reach in time is not known.
    """
    operator, cut = uncut(operator)
    if cut is None:
        return False
    reach = reach_of(operator)
    beyond = reach.frames if reach.circular else 0
    return cut.first < beyond or cut.stop > cut.frames - beyond
