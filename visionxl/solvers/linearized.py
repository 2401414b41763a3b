"""Consistency for operators that are not linear."""

from collections.abc import Callable
from typing import ClassVar

import torch
from attrs import evolve, field, frozen

from visionxl.protocols import (
    Correction,
    DataConsistency,
    InverseProblem,
    NoiseLevel,
    NonlinearOperator,
    Video,
)
from visionxl.solvers.answers import check_answer
from visionxl.solvers.cg import CONVERGED, USED_UP
from visionxl.solvers.consistency import DampedCG, NoiseAware
from visionxl.solvers.spread import damping_of
from visionxl.validators import from_one, from_zero, left_alone, of_kind

SHARES = (1.0, 0.5, 0.25, 0.125, 0.0625, 0.03125)
"""Fractions of a step: the first that lowers the objective is used."""


def linearize(problem: InverseProblem, video: Video) -> InverseProblem:
    """The linear problem ``y - f(x) + J x = J x'`` at ``x``; a linear problem as it is."""
    operator = problem.operator
    if not isinstance(operator, NonlinearOperator):
        return problem
    with left_alone(operator, "linearize", "video", video):
        jacobian = operator.linearize(video)
    seen = check_answer(operator, "the derivative", video, jacobian.forward(video))
    target = problem.measurement - operator.forward(video) + seen
    return InverseProblem(jacobian, target, problem.noise_std)


@frozen
class Linearized:
    """A consistency for linear operators, applied to nonlinear ones by full Gauss-Newton steps.

    Each round linearizes the operator at the previous round's result, the first at the estimate,
    and solves by ``consistency``. Unlike :class:`GaussNewton` it has no line search, so
    ``consistency`` may minimise anything, such as total variation. One round is enough if the
    method corrects repeatedly.

    Args:
        consistency: solves the linear problems.
        rounds: for an operator that is not linear; a linear one needs one.
    """

    takes_nonlinear: ClassVar[bool] = True
    consistency: DataConsistency = field(validator=of_kind(DataConsistency))
    rounds: int = field(default=1, validator=from_one)

    @property
    def fits_noise(self) -> bool:
        return getattr(self.consistency, "fits_noise", False)

    def correct(self, estimate: Video, problem: InverseProblem, level: NoiseLevel) -> Correction:
        found = self.consistency.correct(estimate, linearize(problem, estimate), level)
        done = found.iterations
        if isinstance(problem.operator, NonlinearOperator):
            for _ in range(self.rounds - 1):
                found = self.consistency.correct(estimate, linearize(problem, found.video), level)
                done += found.iterations
        return evolve(found, iterations=done)


@frozen
class GaussNewton:
    """Noise-aware consistency for a :class:`~visionxl.protocols.NonlinearOperator`.

    Minimises ``|y - f(x)|^2 / sigma_y^2 + |x - x0|^2 / r_t^2``. With the Jacobian ``J`` at ``x``
    each round solves the linear problem ``y - f(x) + J x = J x'`` by ``consistency`` and goes
    towards ``x'``: the whole way, or half of it, ... until the objective falls (Nocedal & Wright,
    Numerical Optimization, section 10.3). It finds a local minimum near the estimate,
    not the global one.

    For a linear operator it only calls ``consistency``. (The method ``gauss_newton`` uses
    :class:`Linearized` instead, whose consistency may be any, such as total variation.)

    Args:
        consistency: solves the linear problems, and sets ``r_t`` and the least noise.
        rounds: at most this many.
        tolerance: it stops once a round lowers the objective by less than this share.
    """

    takes_nonlinear: ClassVar[bool] = True
    consistency: DampedCG = field(factory=NoiseAware, validator=of_kind(DampedCG))
    rounds: int = field(default=10, validator=from_one)
    tolerance: float = field(default=1e-3, validator=from_zero)

    def correct(self, estimate: Video, problem: InverseProblem, level: NoiseLevel) -> Correction:
        if not isinstance(problem.operator, NonlinearOperator):
            return self.consistency.correct(estimate, problem, level)
        damping = damping_of(problem, level, self.consistency.spread, self.consistency.least_noise)

        def objective(video: Video) -> float:
            data = (problem.measurement - problem.operator.forward(video)).square()
            apart = (video - estimate).square()
            total = data.sum(dtype=torch.float64) + damping * apart.sum(dtype=torch.float64)
            return total.item()

        video, values, converged = estimate, [objective(estimate)], False
        while not converged and len(values) <= self.rounds:
            goal = self.consistency.correct(estimate, linearize(problem, video), level)
            if goal.broke_down:
                return goal
            video, value = _towards(video, goal.video, objective, values[-1])
            converged = values[-1] - value <= self.tolerance * values[-1]
            values.append(value)
        size = values[0] or 1.0
        residuals = tuple((value / size) ** 0.5 for value in values)
        return Correction(video, len(values) - 1, residuals, CONVERGED if converged else USED_UP)


def _towards(
    video: Video, goal: Video, objective: Callable[[Video], float], value: float
) -> tuple[Video, float]:
    """The first point towards ``goal`` that lowers the objective, and its value there."""
    for share in SHARES:
        trial = torch.lerp(video, goal, share)
        found = objective(trial)
        if found < value:
            return trial, found
    return video, value
