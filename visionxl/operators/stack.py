"""Several measurements of one video."""

import math
from collections.abc import Sequence
from operator import index
from typing import Any

import torch
from attrs import field, frozen
from torch import Tensor

from visionxl.errors import InputError, name_of
from visionxl.operators.composition import Composable
from visionxl.operators.factors import Shape
from visionxl.operators.pointwise import Scale
from visionxl.protocols import ForwardOperator, InverseProblem, Measurement, Video
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

    operators: tuple[ForwardOperator, ...] = field(
        converter=_operators, repr=lambda parts: f"({', '.join(map(name_of, parts))})"
    )
    shape: Shape = field(converter=_shape)

    def _parts(self, like: Tensor) -> list[torch.Size]:
        video = like.new_zeros(self.shape)
        return [operator.forward(video).shape for operator in self.operators]

    def forward(self, video: Video) -> Measurement:
        if tuple(video.shape) != self.shape:
            raise InputError(
                f"video of {tuple(video.shape)}: this Stack was made for {self.shape}; "
                "give such a video, or make another with shape=tuple(video.shape)"
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


def stacked(problems: Sequence[InverseProblem]) -> InverseProblem:
    """Several measurements of one video, such as those of two cameras, as one problem.

    Measurements and operators are divided by how much noisier they are than the best one, so that
    the noise is the same in all of them, and what is known better counts for more.

    Args:
        problems: with linear operators on videos of one shape.

    Returns:
        A problem with a :class:`Stack`, and the least ``noise_std`` of the problems.

    Raises:
        InputError: there are none, they are of different videos, dtypes or devices, or only some
            of them have noise.
    """
    wrong = [problem for problem in problems if not isinstance(problem, InverseProblem)]
    if wrong or not problems:
        raise InputError(f"problems {problems!r}: give one or more values of InverseProblem")
    least = min(problem.noise_std for problem in problems)
    if not least and any(problem.noise_std for problem in problems):
        noises = [problem.noise_std for problem in problems]
        raise InputError(
            f"problems with noise_std {noises}: one without noise would outweigh all others; give "
            "it that of its rounding, 0.0023 for 8 bits"
        )
    parts = _operators([problem.operator for problem in problems])
    videos = [p.operator.adjoint(p.measurement) for p in problems]
    kinds = {(tuple(v.shape), v.dtype, v.device) for v in videos}
    if len(kinds) > 1:
        told = "; ".join(f"{tuple(v.shape)} {v.dtype} {v.device}" for v in videos)
        raise InputError(f"problems are of different videos: {told}; give problems of one video")
    weights = [least / p.noise_std if least else 1.0 for p in problems]
    measured = [weight * p.measurement for weight, p in zip(weights, problems, strict=True)]
    weighted = [part if w == 1 else Scale(w) @ part for w, part in zip(weights, parts, strict=True)]
    operator = Stack(weighted, tuple(videos[0].shape))
    return InverseProblem(operator, torch.cat([y.flatten() for y in measured]), least)
