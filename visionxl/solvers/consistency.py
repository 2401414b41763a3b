"""Data consistency: from the paper's plain steps to the noise-aware solution."""

from typing import ClassVar

import torch
from attrs import field, frozen

from visionxl.errors import InputError
from visionxl.operators.checks import normal
from visionxl.protocols import Correction, InverseProblem, NoiseLevel, Video
from visionxl.solvers.cg import conjugate_gradient, damped_cg
from visionxl.solvers.contract import check_linear
from visionxl.solvers.decomposition import least_damping, spectrum_of
from visionxl.solvers.modes import Modes
from visionxl.solvers.spread import LEAST_NOISE, ScheduleSpread, Spread, damping_of, is_spread
from visionxl.validators import above_zero, count, from_zero


@frozen
class PlainCG:
    """The paper's consistency: a few CG steps on ``A^T A x = A^T y`` from the estimate.

    Early stopping is its only regularization: with a noisy measurement, later steps fit the noise.
    Source: VISION-XL (arXiv 2412.00156); for pixel diffusion, DDS (Chung et al. 2024).

    Args:
        iterations: the paper uses 10.
    """

    iterations: int = field(default=10, validator=count)

    def correct(self, estimate: Video, problem: InverseProblem, level: NoiseLevel) -> Correction:
        check_linear(problem, self)
        result = conjugate_gradient(
            lambda x: normal(problem.operator, x),
            problem.operator.adjoint(problem.measurement),
            estimate,
            iterations=self.iterations,
        )
        return Correction(result.solution, result.iterations, result.residuals, result.stopped)


@frozen
class ClosedForm:
    """Noise-aware consistency, solved exactly, for operators with :class:`Factors`.

    Minimises ``|y - A x|^2 / sigma_y^2 + |x - x0|^2 / r_t^2``: with ``A = U S V^T`` per axis,
    ``x = x0 + V (S / (S^2 + sigma_y^2 / r_t^2)) (U^T y - S V^T x0)``. All frames are solved at
    once.

    Args:
        spread: ``r_t``, how far the estimate may be from the truth, by noise level.
        least_noise: lower bound of ``sigma_y``.
    """

    spread: Spread = field(factory=ScheduleSpread, validator=is_spread)
    least_noise: float = field(default=LEAST_NOISE, validator=above_zero)

    def correct(self, estimate: Video, problem: InverseProblem, level: NoiseLevel) -> Correction:
        check_linear(problem, self)
        modes = Modes.of(problem.operator, estimate, weak=True)
        if modes is None:
            raise InputError(
                f"ClosedForm needs an operator with factors, and {problem.operator!r} has none for "
                f"a video of {tuple(estimate.shape)}: use NoiseAware or DampedCG"
            )
        damping = damping_of(problem, level, self.spread, self.least_noise)
        damping = max(damping, least_damping(modes.axes, estimate.dtype))
        video = estimate.clone(memory_format=torch.contiguous_format)
        modes.step(problem.measurement, damping)(video)
        return Correction(video, iterations=0, residuals=(), stopped="exact")


@frozen
class DampedCG:
    """Noise-aware consistency by CG, for any operator.

    Minimises ``|y - A x|^2 / sigma_y^2 + |x - x0|^2 / r_t^2`` through its normal equations
    ``(A^T A + d) (x - x0) = A^T (y - A x0)``, ``d = sigma_y^2 / r_t^2``.

    Args:
        spread: ``r_t`` as a function of the noise level.
        least_noise: lower bound of ``sigma_y``, in the measurement's units.
        iterations: at most this many.
        tolerance: of the relative residual.
    """

    spread: Spread = field(factory=ScheduleSpread, validator=is_spread)
    least_noise: float = field(default=LEAST_NOISE, validator=above_zero)
    iterations: int = field(default=100, validator=count)
    tolerance: float = field(default=1e-4, validator=from_zero)

    def correct(self, estimate: Video, problem: InverseProblem, level: NoiseLevel) -> Correction:
        check_linear(problem, self)
        return damped_cg(
            problem.operator,
            problem.measurement,
            estimate,
            damping_of(problem, level, self.spread, self.least_noise),
            iterations=self.iterations,
            tolerance=self.tolerance,
        )


@frozen
class NoiseAware(DampedCG):
    """The default of ``vision_xl``: :class:`ClosedForm` given factors, else :class:`DampedCG`.

    Both solve the same problem; for an operator with factors the solution is exact. With less noise
    than 8-bit rounding the second may not converge within its iterations; the correction's
    ``stopped`` says so. Its arguments are those of :class:`DampedCG`.
    """

    def correct(self, estimate: Video, problem: InverseProblem, level: NoiseLevel) -> Correction:
        if spectrum_of(problem.operator, estimate) is None:
            return DampedCG.correct(self, estimate, problem, level)
        return ClosedForm(self.spread, self.least_noise).correct(estimate, problem, level)


@frozen
class Unchanged:
    """No consistency: the estimate as it is. For methods that condition the denoiser."""

    takes_nonlinear: ClassVar[bool] = True

    def correct(self, estimate: Video, problem: InverseProblem, level: NoiseLevel) -> Correction:
        return Correction(estimate, iterations=0, residuals=(), stopped="nothing to do")
