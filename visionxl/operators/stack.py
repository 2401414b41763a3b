"""Several measurements of one video."""

import math
from operator import index
from typing import Any

import torch
from attrs import field, frozen
from torch import Tensor

from visionxl.errors import InputError
from visionxl.operators.composition import Composable
from visionxl.operators.factors import Shape
from visionxl.protocols import ForwardOperator, Measurement, Video
from visionxl.validators import entries


def _operators(value: Any) -> tuple[ForwardOperator, ...]:
    operators: Any = entries("operators", value, lambda o: o, "several, in a tuple")
    wrong = [o for o in operators if isinstance(o, type) or not isinstance(o, ForwardOperator)]
    if wrong or not operators:
        raise InputError(
            f"operators {operators!r}: give one or more values with the methods forward, adjoint"
        )
    return operators


def _shape(value: Any) -> Shape:
    words = "(frames, channels, height, width) of the video"
    sizes = entries("shape", value, index, words)
    if len(sizes) != 4 or min(sizes) < 1:
        raise InputError(f"shape {value!r}: expected {words}")
    frames, channels, height, width = sizes
    return frames, channels, height, width


@frozen
class Stack(Composable):
    """Several operators applied to one video, such as exposures, colour filters or two cameras.

    Forward: the measurements, each flattened, one after another in a vector. Adjoint: the sum of
    the parts' adjoints.

    Args:
        operators: what is measured.
        shape: (frames, channels, height, width) of the video. The flat vector does not give it.
    """

    operators: tuple[ForwardOperator, ...] = field(converter=_operators)
    shape: Shape = field(converter=_shape)

    def _parts(self, like: Tensor) -> list[torch.Size]:
        video = like.new_zeros(self.shape)
        return [operator.forward(video).shape for operator in self.operators]

    def forward(self, video: Video) -> Measurement:
        if tuple(video.shape) != self.shape:
            raise InputError(
                f"video of {tuple(video.shape)}: this Stack was made for {self.shape}; "
                "make it with shape=tuple(video.shape)"
            )
        return torch.cat([operator.forward(video).flatten() for operator in self.operators])

    def split(self, measurement: Measurement) -> list[Tensor]:
        """The measurement of each operator, in its own shape."""
        shapes = self._parts(measurement)
        sizes = [math.prod(shape) for shape in shapes]
        if measurement.ndim != 1 or len(measurement) != sum(sizes):
            raise InputError(
                f"measurement of {tuple(measurement.shape)}: this Stack expects a vector of "
                f"{sum(sizes)} values, in parts of {', '.join(map(str, sizes))}"
            )
        pieces = measurement.split(sizes)
        return [piece.view(shape) for piece, shape in zip(pieces, shapes, strict=True)]

    def adjoint(self, measurement: Measurement) -> Video:
        video = measurement.new_zeros(self.shape)
        for operator, part in zip(self.operators, self.split(measurement), strict=True):
            video += operator.adjoint(part)
        return video
