"""Operators along time."""

from numbers import Integral
from typing import Any

import torch
from attrs import field, frozen
from attrs.validators import optional

from visionxl.errors import InputError
from visionxl.operators.boundary import Boundary, check_boundary
from visionxl.operators.composition import Composable
from visionxl.operators.factors import Factors, Shape, matrix_of, on_axis
from visionxl.operators.filtering import (
    correlate_frames,
    correlate_frames_adjoint,
    correlation_matrix,
)
from visionxl.operators.lifting import divide_where_seen
from visionxl.operators.reach import Reach
from visionxl.protocols import Measurement, Video
from visionxl.validators import from_one


def check_odd(_: Any, attribute: Any, value: Any) -> None:
    """attrs validator: an odd number of frames."""
    number = int(value) if isinstance(value, Integral) and not isinstance(value, bool) else 0
    if number < 1 or number % 2 == 0:
        way = f": take {number - 1} or {number + 1}" if number > 1 else ""
        if attribute.name == "window" and way:
            way += ", or a Snapshot with codes of ones, which averages frames in turn"
        raise InputError(f"{attribute.name} {value} is not an odd number of frames from 1{way}")


@frozen
class TemporalAverage(Composable):
    """The uniform average over a window of frames, centred on each: exposure or frame averaging.

    Forward: ``y[t] = (1 / window) sum_k x[t + k]`` for ``|k| <= window // 2``. Adjoint: each
    ``y[t] / window`` is added to the frames it came from. Self-adjoint where the border is
    circular or zero. A window may be wider than the clip: the border rule goes on.

    Args:
        window: number of frames, odd.
        boundary: what stands for frames before the first and after the last. The paper's is
            circular, with a window of 7, or of 13 alone (arXiv 2412.00156).
    """

    window: int = field(default=7, validator=check_odd)
    boundary: Boundary = field(default="circular", validator=check_boundary)

    def _taps(self) -> list[float]:
        return [1 / self.window] * self.window

    def reach(self) -> Reach:
        half = self.window // 2
        return Reach(half, circular=self.boundary == "circular" and half > 0)

    def forward(self, video: Video) -> Video:
        return correlate_frames(video, self._taps(), self.boundary)

    def adjoint(self, measurement: Video) -> Video:
        return correlate_frames_adjoint(measurement, self._taps(), self.boundary)

    def lift(self, measurement: Video) -> Video:
        return divide_where_seen(
            measurement, self.forward(torch.ones_like(measurement[:, :1, :1, :1]))
        )

    def factors(self, shape: Shape) -> Factors:
        return on_axis(0, correlation_matrix(self._taps(), shape[0], self.boundary))


@frozen
class TemporalSubsample(Composable):
    """Every ``factor``-th frame, from the first.

    Forward: ``y[i] = x[factor * i]``. Adjoint: the frames go back to their places, zeros between.

    Args:
        factor: the distance between kept frames.
        frames: the frame count of the video. Needed only where it is no multiple of ``factor``,
            because the measurement alone does not determine it.
    """

    factor: int = field(validator=from_one)
    frames: int | None = field(default=None, validator=optional(from_one))

    def _count(self, kept: int) -> int:
        frames = kept * self.factor if self.frames is None else self.frames
        if -(-frames // self.factor) != kept:
            raise InputError(
                f"measurement has {kept} frames: of {frames} frames one in {self.factor} "
                f"makes {-(-frames // self.factor)}; give TemporalSubsample the video's frame count"
            )
        return frames

    def forward(self, video: Video) -> Measurement:
        expected = len(video) if self.frames is None else self.frames
        if len(video) != expected or (self.frames is None and len(video) % self.factor):
            raise InputError(
                f"video has {len(video)} frames: TemporalSubsample expects "
                + (f"a multiple of {self.factor}" if self.frames is None else f"{self.frames}")
                + f"; for this video it is TemporalSubsample({self.factor}, frames={len(video)})"
            )
        return video[:: self.factor].clone()

    def adjoint(self, measurement: Measurement) -> Video:
        video = measurement.new_zeros(self._count(len(measurement)), *measurement.shape[1:])
        video[:: self.factor] = measurement
        return video

    def lift(self, measurement: Measurement) -> Video:
        held = measurement.repeat_interleave(self.factor, dim=0)
        return held[: self._count(len(measurement))]

    def factors(self, shape: Shape) -> Factors:
        return on_axis(0, matrix_of(self.forward, 0, shape[0]))
