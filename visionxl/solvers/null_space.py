"""Consistency of methods that split a video into what is measured and what is not."""

from collections.abc import Mapping

from attrs import field, frozen

from visionxl.errors import InputError
from visionxl.protocols import Correction, InverseProblem, LatentPrior, NoiseLevel, Video
from visionxl.solvers.modes import Modes


@frozen
class Unchanged:
    """No consistency: the estimate as it is. For methods that condition the denoiser."""

    def correct(self, estimate: Video, problem: InverseProblem, level: NoiseLevel) -> Correction:
        return Correction(estimate, iterations=0, residuals=(), stopped="nothing to do")


@frozen
class NullSpace:
    """``x = x0 + share_t A^+ (y - A x0)``: DDNM's (Wang et al. 2023), by singular values.

    The measured part becomes that of the measurement, with its noise; the null space stays the
    prior's. It needs an operator with factors.

    Args:
        shares: ``share_t`` by time, for DDNM+; 1 where a time is not in it.
        negligible: singular values below this share of the largest count as not measured.
    """

    shares: Mapping[float, float] = field(factory=dict)
    negligible: float = 1e-3

    def check(self, problem: InverseProblem, prior: LatentPrior) -> None:
        """Raise InputError, naming a way out, for an operator without factors."""
        video = problem.operator.adjoint(problem.measurement)
        if Modes.of(problem.operator, video) is None:
            raise InputError(
                f"NullSpace needs the singular values of an operator with factors, and "
                f"{problem.operator!r} has none: use diffpir() or vision_xl()"
            )

    def correct(self, estimate: Video, problem: InverseProblem, level: NoiseLevel) -> Correction:
        modes = Modes.of(problem.operator, estimate)
        if modes is None:
            self.check(problem, None)  # type: ignore[arg-type]
            raise AssertionError  # check has raised
        kept = modes.values > self.negligible * modes.values.max()
        gain = kept / modes.values.where(kept, 1)
        residual = problem.measurement - problem.operator.forward(estimate)
        share = self.shares.get(level.time, 1.0)
        video = estimate.clone()
        modes.add_synthesis(video, modes.measured(residual) * (share * gain))
        return Correction(video, iterations=0, residuals=(), stopped="exact")
