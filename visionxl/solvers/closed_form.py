"""The damped normal equations of a factored operator, solved exactly."""

import torch
from attrs import field, frozen

from visionxl.errors import InputError
from visionxl.protocols import Correction, InverseProblem, NoiseLevel, Video
from visionxl.solvers.contract import check_linear
from visionxl.solvers.decomposition import least_damping
from visionxl.solvers.modes import Modes
from visionxl.solvers.spread import LEAST_NOISE, ScheduleSpread, Spread, damping_of, is_spread
from visionxl.validators import above_zero


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
