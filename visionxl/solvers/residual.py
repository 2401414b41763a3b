"""How far a video is from its measurement."""

import math
from abc import abstractmethod
from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from visionxl.protocols import InverseProblem, Measurement, Video

PART = 2**16  # values at once, of what looks at all of them: they stay in a processor's cache


@runtime_checkable
class Piecewise(Protocol):
    """An operator that measures a video a few frames at a time."""

    @abstractmethod
    def pieces(self, video: Video) -> Iterator[tuple[slice, Measurement]]:
        """Which frames of the measurement, and they, where they were computed."""
        ...


def data_residual(problem: InverseProblem, video: Video) -> float:
    """Root mean square of ``y - A x``, in units of the range [-1, 1]."""
    operator, measurement = problem.operator, problem.measurement
    if isinstance(operator, Piecewise):
        total = 0.0
        for frames, answer in operator.pieces(video):
            total += _square(answer, measurement[frames].to(answer.device))
    else:
        total = _square(operator.forward(video), measurement)
    return math.sqrt(total / measurement.numel())


def _square(answer: Tensor, measured: Tensor) -> float:
    size = PART if answer.device.type == "cpu" else 64 * PART  # a GPU wants few calls
    dots = []
    parts = zip(answer.flatten().split(size), measured.flatten().split(size), strict=True)
    for there, here in parts:  # short ones: a sum in float64 takes ten times as long
        apart = (there - here).to(torch.promote_types(answer.dtype, torch.float32))
        dots.append(torch.dot(apart, apart))
    return torch.stack(dots).cpu().sum(dtype=torch.float64).item()
