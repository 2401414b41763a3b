"""A camera that moves, and a scene that stands still."""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from attrs import field, frozen
from torch import Generator, Tensor

from visionxl.errors import InputError
from visionxl.operators.boundary import Boundary, check_boundary, extension
from visionxl.operators.composition import Composable, EachFrame
from visionxl.operators.differentiable import by_adjoint
from visionxl.operators.factors import Factors, Shape, on_axis
from visionxl.operators.filtering import extend, fold
from visionxl.operators.lifting import divide_where_seen
from visionxl.operators.pooling import cubic
from visionxl.protocols import Measurement, Video
from visionxl.randomness import check_generator, draw_uniform
from visionxl.validators import check_count, check_number, entries, from_one

Offset = tuple[float, float]
"""(down, right), in pixels."""


def _offsets(value: Any) -> tuple[Offset, ...]:
    def pair(offset: Any) -> Offset:
        down, right = offset
        return float(down), float(right)

    offsets = entries("offsets", value, pair, "a pair of numbers (down, right) for each frame")
    if not offsets or not all(math.isfinite(part) for offset in offsets for part in offset):
        raise InputError(
            f"offsets {offsets!r}: give a pair of finite numbers (down, right) for each frame"
        )
    return offsets


@lru_cache(maxsize=1024)  # every frame has its own, and an iteration asks for all of them again
def _taps(
    offset: float, size: int, boundary: Boundary
) -> tuple[tuple[int, ...], tuple[tuple[int, float], ...]]:
    """Source of every position that four taps see, and those that are not 0, for an axis."""
    whole = math.floor(offset)
    distances = torch.tensor([-1.0, 0.0, 1.0, 2.0], dtype=torch.float64) - (offset - whole)
    taps = enumerate(cubic(distances).tolist())
    index = tuple(extension(size, 1 - whole, whole + 2, boundary))
    return index, tuple((k, tap) for k, tap in taps if tap != 0)


def _displace(frame: Tensor, dim: int, offset: float, boundary: Boundary) -> Tensor:
    size = frame.shape[dim]
    index, taps = _taps(offset, size, boundary)
    extended, result = extend(frame, dim, index), torch.zeros_like(frame)
    for k, tap in taps:
        result.add_(extended.narrow(dim, k, size), alpha=tap)
    return result


def _displace_adjoint(frame: Tensor, dim: int, offset: float, boundary: Boundary) -> Tensor:
    size, shape = frame.shape[dim], list(frame.shape)
    index, taps = _taps(offset, size, boundary)
    shape[dim] = len(index)
    extended = frame.new_zeros(shape)
    for k, tap in taps:
        extended.narrow(dim, k, size).add_(frame, alpha=tap)
    return fold(extended, dim, index, size)


@frozen
class Shift(EachFrame):
    """Every frame is displaced by a known number of pixels, whole or not: a moving camera.

    Forward: ``y[t][i, j] = x[t][i + down_t, j + right_t]`` with Keys' cubic interpolation
    (a = -1/2) between pixels. Adjoint: each value goes back with the same four weights an axis,
    and the border is folded back.

    Args:
        offsets: (down, right) of every frame, in pixels.
        boundary: what lies beyond the frame.
    """

    offsets: tuple[Offset, ...] = field(converter=_offsets, repr=lambda o: f"<{len(o)} frames>")
    boundary: Boundary = field(default="reflect", validator=check_boundary)

    @classmethod
    def random(
        cls, reach: float, frames: int, generator: Generator, boundary: Boundary = "reflect"
    ) -> "Shift":
        """Random offsets within ``reach`` pixels, independent for each frame; the first is 0."""
        check_number("reach", reach, lambda r: 0 <= r < math.inf, "a number from 0")
        check_count("frames", frames)
        check_generator(generator)
        draw = draw_uniform(generator, frames, 2).double()
        offsets = ((2 * draw - 1) * reach).tolist()
        return cls([(0.0, 0.0), *offsets[1:]], boundary)

    def at(self, frames: Sequence[int], count: int) -> "Shift":
        """The offsets of some frames of a video of ``count``, by their numbers."""
        if len(self.offsets) != count:
            raise InputError(
                f"video has {count} frames: this Shift has offsets for {len(self.offsets)}"
            )
        return Shift([self.offsets[t] for t in frames], self.boundary)

    def _check(self, video: Video) -> None:
        if len(video) != len(self.offsets):
            raise InputError(
                f"video has {len(video)} frames: this Shift has offsets for {len(self.offsets)}"
            )

    def forward(self, video: Video) -> Video:
        self._check(video)
        return by_adjoint(video, self._forward, self._adjoint)

    def adjoint(self, measurement: Video) -> Video:
        self._check(measurement)
        return by_adjoint(measurement, self._adjoint, self._forward)

    def _forward(self, video: Video) -> Video:
        result = torch.empty_like(video)
        for frame, (down, right), out in zip(video, self.offsets, result, strict=True):
            rows = _displace(frame, -2, down, self.boundary)
            out.copy_(_displace(rows, -1, right, self.boundary))
        return result

    def _adjoint(self, measurement: Video) -> Video:
        result = torch.empty_like(measurement)
        for frame, (down, right), out in zip(measurement, self.offsets, result, strict=True):
            columns = _displace_adjoint(frame, -1, right, self.boundary)
            out.copy_(_displace_adjoint(columns, -2, down, self.boundary))
        return result

    def lift(self, measurement: Video) -> Video:
        """The frames displaced back, as far as they were seen."""
        back = Shift([(-down, -right) for down, right in self.offsets], self.boundary)
        seen = self.forward(torch.ones_like(measurement[:, :1]))
        return divide_where_seen(back.forward(measurement), back.forward(seen))


@frozen
class Repeat(Composable):
    """One picture seen several times: a scene that stands still.

    Forward: ``y[t] = x[0]`` for all ``t``. Adjoint: the sum over the frames. With a :class:`Shift`
    and a pooling after it, this is super-resolution from several frames:
    ``AveragePool(4) @ Shift(offsets) @ Repeat(len(offsets))``.

    Args:
        frames: how often it is seen.
    """

    frames: int = field(validator=from_one)

    def forward(self, video: Video) -> Measurement:
        if len(video) != 1:
            raise InputError(f"video has {len(video)} frames: Repeat expects one picture")
        return video.repeat(self.frames, 1, 1, 1)

    def adjoint(self, measurement: Measurement) -> Video:
        if len(measurement) != self.frames:
            raise InputError(
                f"measurement has {len(measurement)} frames: this Repeat expects {self.frames}"
            )
        return measurement.sum(dim=0, keepdim=True)

    def factors(self, shape: Shape) -> Factors:
        return on_axis(0, torch.ones(self.frames, 1, dtype=torch.float64))
