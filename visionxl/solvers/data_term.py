"""The data term's step in a splitting scheme: by modes, or by iteration."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from attrs import frozen

from visionxl.operators.finite import unsolved
from visionxl.operators.lifting import signs_like
from visionxl.protocols import NOT_A_NUMBER, ForwardOperator, Measurement, Video
from visionxl.solvers.cg import damped_cg

DataStep = Callable[[Video], str | None]
"""Sets ``v`` in place to ``argmin_x |y - A x|^2 + total |x - v|^2``; returns any breakdown."""


@runtime_checkable
class DataTerm(Protocol):
    """What a splitting scheme needs of ``A``."""

    @abstractmethod
    def step(self, measurement: Measurement, total: float) -> DataStep:
        """The step for ``y`` and ``total`` > 0."""
        ...

    @abstractmethod
    def determined(self, damping: float) -> float:
        """``trace of A^T A (A^T A + damping)^-1``: how many numbers of a video are measured."""
        ...


@frozen(eq=False)
class Iterated:
    """The data term of an operator without factors, by a few conjugate gradients per step.

    A step starts from ``v``, which is near the solution after earlier steps, so few are enough.

    Args:
        operator: ``A``.
        like: a video, for its shape, dtype and device.
        iterations: of a step, at most.
        tolerance: of a step's relative residual.
    """

    operator: ForwardOperator
    like: Video
    iterations: int = 5
    tolerance: float = 1e-2

    def step(self, measurement: Measurement, total: float) -> DataStep:
        most, enough = self.iterations, self.tolerance

        def step(video: Video) -> str | None:
            found = damped_cg(
                self.operator, measurement, video, total, iterations=most, tolerance=enough
            )
            video.copy_(found.video)
            return found.stopped if found.broke_down else None

        return step

    def determined(self, damping: float) -> float:
        """By one probe of random signs (Hutchinson 1990), always the same."""
        probe = signs_like(self.like)
        seen, nothing = self.operator.forward(probe), torch.zeros_like(probe)
        solved = damped_cg(self.operator, seen, nothing, damping, iterations=20, tolerance=1e-2)
        if solved.stopped == NOT_A_NUMBER:
            raise unsolved(self.operator, self.like)
        share = torch.dot(probe.flatten().double(), solved.video.flatten().double()).item()
        return min(max(share, 1.0), float(probe.numel()))
