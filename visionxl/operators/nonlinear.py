"""Measurements that are not linear, with their derivatives: light, curves, clipping, magnitudes."""

import math
from typing import Any

import torch
from attrs import field, frozen
from torch import Tensor

from visionxl.errors import InputError
from visionxl.operators.composition import Composable, NonlinearComposable, is_linear
from visionxl.operators.lifting import lift
from visionxl.operators.masking import Mask
from visionxl.protocols import ForwardOperator, Measurement, Video, shape_of
from visionxl.validators import above_zero, check_number


@frozen(eq=False)
class Diagonal(Composable):
    """A gain for every value. Forward ``y = gain * x``; self-adjoint.

    Args:
        gain: of the video's shape.
    """

    gain: Tensor = field(repr=shape_of)

    def forward(self, video: Video) -> Video:
        return self.gain.to(video) * video

    def adjoint(self, measurement: Video) -> Video:
        return self.forward(measurement)


@frozen
class Gamma(NonlinearComposable):
    """The curve of a camera or a screen, between -1 (black) and 1 (white).

    Forward: with ``u = (x + 1) / 2`` it is ``2 u^exponent - 1``; below ``u = 0.02`` and for
    negative light the curve goes on along its tangent, as that of sRGB does, so that it has a
    derivative and an inverse everywhere. Jacobian: diagonal. Lift: the inverse.

    Args:
        exponent: 1 / 2.2 from light to a picture, 2.2 from a picture to light.
    """

    exponent: float = field(default=1 / 2.2, validator=above_zero)

    def _toe(self) -> tuple[float, float, float]:
        """Where the tangent begins, the curve there, and its slope."""
        toe = 0.02
        return toe, toe**self.exponent, self.exponent * toe ** (self.exponent - 1)

    def forward(self, video: Video) -> Video:
        (toe, value, slope), u = self._toe(), (video + 1) / 2
        curve = torch.where(u < toe, value + slope * (u - toe), u.clamp(min=toe) ** self.exponent)
        return 2 * curve - 1

    def linearize(self, video: Video) -> ForwardOperator:
        (toe, _, slope), u = self._toe(), (video + 1) / 2
        rising = self.exponent * u.clamp(min=toe) ** (self.exponent - 1)
        return Diagonal(torch.where(u < toe, slope, rising))

    def lift(self, measurement: Video) -> Video:
        (toe, value, slope), v = self._toe(), (measurement + 1) / 2
        u = v.clamp(min=value) ** (1 / self.exponent)
        return 2 * torch.where(v < value, toe + (v - value) / slope, u) - 1


@frozen
class OnLight(NonlinearComposable):
    """A linear operator that acts on light, which is 0 where a video is -1: a camera's black.

    Forward: ``A (x + 1) - 1``, of light ``x + 1`` from 0 to 2; that is ``A x`` wherever ``A`` takes
    a video of ones to ones, as blurs and averages do, and else differs from it by a constant.
    Jacobian: ``A``. Lift: that of ``A``, of light.

    Args:
        operator: ``A``.
    """

    operator: ForwardOperator = field(validator=is_linear)

    def forward(self, video: Video) -> Measurement:
        return self.operator.forward(video + 1) - 1

    def linearize(self, video: Video) -> ForwardOperator:
        return self.operator

    def lift(self, measurement: Measurement) -> Video:
        return lift(self.operator, measurement + 1) - 1


def _number(_: object, attribute: Any, value: Any) -> None:
    check_number(attribute.name, value, lambda v: -math.inf <= v <= math.inf, "a number")


def _above(clip: "Clip", attribute: Any, value: Any) -> None:
    _number(clip, attribute, value)
    if not clip.low < value:
        raise InputError(f"low {clip.low}, high {value}: expected low < high")


@frozen
class Clip(NonlinearComposable):
    """A sensor that saturates. Forward: ``min(max(x, low), high)``.

    Jacobian: 1 where ``low < x < high``, else 0. Lift: the measurement.

    Args:
        low: the least value.
        high: the largest value.
    """

    low: float = field(default=-1.0, validator=_number)
    high: float = field(default=1.0, validator=_above)

    def forward(self, video: Video) -> Video:
        return video.clamp(self.low, self.high)

    def linearize(self, video: Video) -> ForwardOperator:
        return Mask((video > self.low) & (video < self.high))

    def lift(self, measurement: Video) -> Video:
        return measurement.clone()


@frozen(eq=False)
class Rotated(Composable):
    """The Jacobian of :class:`FourierMagnitude`.

    Forward: ``Re(conj(phase) F x)``. Adjoint: ``Re(F^-1 (phase y))``.

    Args:
        phase: numbers of size 1, of the video's shape.
    """

    phase: Tensor = field(repr=shape_of)

    def forward(self, video: Video) -> Measurement:
        return (self.phase.conj() * torch.fft.fft2(video, norm="ortho")).real

    def adjoint(self, measurement: Measurement) -> Video:
        return torch.fft.ifft2(self.phase * measurement, norm="ortho").real


@frozen
class FourierMagnitude(NonlinearComposable):
    """The size of every Fourier coefficient of a frame, without its phase: diffraction.

    Forward: ``|F x|``, ``F`` the orthonormal two-dimensional Fourier transform. Jacobian: with the
    phase ``p`` of ``F x`` it is ``Re(conj(p) F v)``; where ``F x`` is 0 there is no derivative, and
    0 stands for it. Lift: the video with phase 0 everywhere, which has these magnitudes.

    It does not determine a frame's position, nor distinguish it from itself turned by 180 degrees
    or its negative: the result depends on where the search begins.
    """

    def forward(self, video: Video) -> Measurement:
        return torch.fft.fft2(video, norm="ortho").abs()

    def linearize(self, video: Video) -> ForwardOperator:
        return Rotated(torch.sgn(torch.fft.fft2(video, norm="ortho")))

    def lift(self, measurement: Measurement) -> Video:
        return torch.fft.ifft2(measurement, norm="ortho").real
