"""From a measurement back to a video of the right size."""

import math
from abc import abstractmethod
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from visionxl.errors import InputError, NotFiniteError, name_of
from visionxl.protocols import ForwardOperator, Measurement, NonlinearOperator, Video


@runtime_checkable
class Liftable(Protocol):
    """An operator that knows a better lift than the general rule."""

    @abstractmethod
    def lift(self, measurement: Measurement) -> Video:
        """A video that looks like ``measurement``."""
        ...


def lift(operator: ForwardOperator | NonlinearOperator, measurement: Measurement) -> Video:
    """A video that looks like the measurement: back-projection with unit gain.

    The general rule is ``A^T y / A^T A 1``, and 0 where nothing was measured: nearest-neighbour
    upsampling for a pooling, the known pixels for a mask. A blur or an average is taken as it
    is, with the border's gain undone; a subsampling holds its frames; ``A @ B`` lifts through
    ``A`` and then through ``B``.

    Args:
        operator: ``A``.
        measurement: ``y``.

    Returns:
        A video of the size that was measured.
    """
    if not isinstance(operator, ForwardOperator | NonlinearOperator):
        words = name_of(operator) if not isinstance(operator, Tensor) else "is a tensor"
        raise InputError(f"operator {words}: give lift an operator first, then its measurement")
    if not isinstance(measurement, Tensor):
        raise InputError(f"measurement {name_of(measurement)}: expected a tensor")
    if isinstance(operator, Liftable | NonlinearOperator):
        return operator.lift(measurement)
    projected = operator.adjoint(measurement)
    gain, terms = (
        operator.adjoint(operator.forward(of(projected))) for of in (torch.ones_like, signs_like)
    )
    largest = terms.abs().max().item()
    if not math.isfinite(largest) or not bool(gain.isfinite().all()):
        way_out = "fix the operator's forward and adjoint, which are not finite for a finite video"
        wrong = ~(gain.isfinite() & terms.isfinite())
        frame = int(wrong.flatten(1).any(1).nonzero()[0]) if wrong.ndim == 4 else None
        raise NotFiniteError("lift", frame, gain.dtype, way_out)
    return divide_where_seen(projected, gain, largest)


def signs_like(video: Video) -> Video:
    """A random video of 1 and -1, the same in every run, whose measurement does not cancel out."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(0, 2, video.shape, generator=generator, dtype=torch.int8)
    return drawn.mul_(2).sub_(1).to(video)


def divide_where_seen(video: Tensor, gain: Tensor, terms: float = 0.0) -> Tensor:
    """``video / gain``, broadcast, and 0 where the gain is 0.

    Args:
        video: to divide.
        gain: to divide it by.
        terms: the size of the terms summed in the gain; a gain within their rounding error counts
            as 0.
    """
    rounding = 16 * torch.finfo(gain.dtype).eps * terms
    seen = gain.abs() > (1e-6 * gain.abs().max()).clamp(min=rounding)
    return torch.where(seen, video / torch.where(seen, gain, 1), 0)
