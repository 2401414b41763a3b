"""Operators that act on each pixel by itself."""

import math
from typing import Any

import torch
from attrs import field, frozen

from visionxl.errors import InputError
from visionxl.operators.composition import Composable
from visionxl.operators.factors import Factors, Shape, on_axis
from visionxl.operators.reach import Reach
from visionxl.protocols import Measurement, Video
from visionxl.validators import check_number

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


@frozen
class Identity(Composable):
    """The video itself: denoising. Forward ``y = x``; self-adjoint."""

    def reach(self) -> Reach:
        return Reach()

    def forward(self, video: Video) -> Video:
        return video.clone()

    def adjoint(self, measurement: Video) -> Video:
        return measurement.clone()

    def factors(self, shape: Shape) -> Factors:
        return Factors()


def _finite(_: Any, __: Any, value: Any) -> None:
    check_number("gain", value, lambda v: v and math.isfinite(v), "a finite number other than 0")


@frozen
class Scale(Composable):
    """A gain, such as an exposure. Forward ``y = gain * x``; self-adjoint."""

    gain: float = field(validator=_finite)

    def reach(self) -> Reach:
        return Reach()

    def forward(self, video: Video) -> Video:
        return self.gain * video

    def adjoint(self, measurement: Video) -> Video:
        return self.gain * measurement

    def factors(self, shape: Shape) -> Factors:
        return on_axis(1, self.gain * torch.eye(shape[1], dtype=torch.float64))


@frozen
class Grayscale(Composable):
    """Luma of three colour channels, ITU-R BT.601: colourisation.

    Forward: ``y = 0.299 r + 0.587 g + 0.114 b``, one channel. Adjoint: the value times each
    weight.
    """

    def reach(self) -> Reach:
        return Reach()

    def forward(self, video: Video) -> Measurement:
        if video.shape[1] != 3:
            raise InputError(
                f"video has {video.shape[1]} channels: Grayscale expects 3 (red, green, blue)"
            )
        weights = torch.tensor(LUMA, dtype=video.dtype, device=video.device)
        return (video * weights.view(3, 1, 1)).sum(dim=1, keepdim=True)

    def adjoint(self, measurement: Measurement) -> Video:
        weights = torch.tensor(LUMA, dtype=measurement.dtype, device=measurement.device)
        return measurement * weights.view(3, 1, 1)

    def factors(self, shape: Shape) -> Factors:
        return on_axis(1, torch.tensor([LUMA], dtype=torch.float64))
