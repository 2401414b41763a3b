"""Operators that act on each pixel by itself."""

import math
from typing import Any

import torch
from attrs import field, frozen
from torch import Tensor

from visionxl.errors import InputError
from visionxl.operators.composition import EachFrame
from visionxl.operators.factors import Factors, Shape, on_axis
from visionxl.protocols import Measurement, Video
from visionxl.validators import check_number, entries

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


@frozen
class Identity(EachFrame):
    """The video itself: denoising. Forward ``y = x``; self-adjoint."""

    def forward(self, video: Video) -> Video:
        return video.clone()

    def adjoint(self, measurement: Video) -> Video:
        return measurement.clone()

    def factors(self, shape: Shape) -> Factors:
        return Factors()


def _finite(_: Any, __: Any, value: Any) -> None:
    check_number("gain", value, lambda v: v and math.isfinite(v), "a finite number other than 0")


@frozen
class Scale(EachFrame):
    """A gain, such as an exposure. Forward ``y = gain * x``; self-adjoint."""

    gain: float = field(validator=_finite)

    def forward(self, video: Video) -> Video:
        return self.gain * video

    def adjoint(self, measurement: Video) -> Video:
        return self.gain * measurement

    def factors(self, shape: Shape) -> Factors:
        return on_axis(1, self.gain * torch.eye(shape[1], dtype=torch.float64))


def _three(value: Any) -> tuple[float, ...]:
    weights = entries("weights", value, float, "three numbers")
    if len(weights) != 3 or not all(map(math.isfinite, weights)) or not any(weights):
        raise InputError(f"weights {value!r}: expected three finite numbers, not all of them 0")
    return weights


@frozen
class Grayscale(EachFrame):
    """A weighted sum of three colour channels: colourisation, or a camera without colours.

    Forward: ``y = w_r r + w_g g + w_b b``, one channel. Adjoint: the value times each weight.

    Args:
        weights: of red, green and blue; by default luma, ITU-R BT.601. With three equal ones,
            ``(1 / 3,) * 3``, the video of a gray scene stays gray (docs/own-operator).
    """

    weights: tuple[float, ...] = field(default=LUMA, converter=_three)

    def _column(self, like: Tensor) -> Tensor:
        return like.new_tensor(self.weights).view(3, 1, 1)

    def forward(self, video: Video) -> Measurement:
        if video.shape[1] != 3:
            raise InputError(
                f"video has {video.shape[1]} channels: Grayscale expects 3 (red, green, blue)"
            )
        return (video * self._column(video)).sum(dim=1, keepdim=True)

    def adjoint(self, measurement: Measurement) -> Video:
        return measurement * self._column(measurement)

    def factors(self, shape: Shape) -> Factors:
        return on_axis(1, torch.tensor([self.weights], dtype=torch.float64))
