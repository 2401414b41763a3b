"""Consistency that knows how little videos change: noise-aware, with total variation."""

import math

from attrs import field, frozen

from visionxl.protocols import Correction, InverseProblem, NoiseLevel, Video
from visionxl.solvers.consistency import DampedCG
from visionxl.solvers.modes import Modes
from visionxl.solvers.spread import LEAST_NOISE, ConstantSpread, Spread, damping_of
from visionxl.solvers.total_variation import minimise, total_variation

ROUNDING = 3e-6  # of a measurement in float32 that has no other noise
DEVIATION = 0.5  # of the values of natural pictures, in the range [-1, 1]
LEAST, USUAL, MOST = 0.01, 0.12, 0.3  # total variation per pixel of natural videos


def variation_weight(modes: Modes, video: Video, noise_std: float) -> float:
    """The weight of total variation beside ``1/2 |y - A x|^2``.

    ``noise_std^2 share^(2/3) / density``: ``share`` is the part of a video's values that the
    measurement determines, ``density`` the total variation of a pixel. Were the exponent 1, this
    would be the evidence's answer (MacKay 1992, for a penalty of first degree); 2/3 is what the
    weights of least error follow over the named tasks and noises. Noise in an estimate adds to its
    total variation, and would so take from the weight and let more noise in: the geometric mean of
    the estimate's density and the ``USUAL`` one is taken.

    Args:
        modes: of the operator.
        video: an estimate, for its total variation.
        noise_std: of the measurement, above 0.
    """
    share = modes.determined((noise_std / DEVIATION) ** 2) / video.numel()
    density = min(max(total_variation(video) / video[:, 0].numel(), LEAST), MOST)
    return noise_std**2 * share ** (2 / 3) / math.sqrt(density * USUAL)


@frozen
class SpaceTimeTV:
    """Noise-aware consistency with total variation in space and time.

    Minimises ``|y - A x|^2 / (2 sigma_y^2) + |x - x0|^2 / (2 r_t^2) + lambda TV(x)``. An image
    prior sees each frame alone: this is what knows that frames follow one another. ``lambda`` is
    found from the estimate (:func:`variation_weight`), twice more on the way.

    It needs the operator's factors; without them it is :class:`DampedCG`, without total variation.

    Args:
        spread: ``r_t`` from the noise level. Infinity leaves the estimate out, but for the place
            to start from.
        strength: times the weight.
        least_noise: stands for ``sigma_y`` where the measurement has less.
        iterations: at most so many, in three parts.
        tolerance: it stops once an iteration changes the video by less than this share.
    """

    spread: Spread = field(factory=lambda: ConstantSpread(0.2))
    strength: float = 1.0
    least_noise: float = ROUNDING
    iterations: int = 15
    tolerance: float = 1e-4

    def correct(self, estimate: Video, problem: InverseProblem, level: NoiseLevel) -> Correction:
        modes = Modes.of(problem.operator, estimate)
        if modes is None:
            iterative = DampedCG(least_noise=max(self.least_noise, LEAST_NOISE))
            return iterative.correct(estimate, problem, level)
        noise = max(problem.noise_std, self.least_noise)
        damping = damping_of(problem, level, self.spread, self.least_noise)
        video, dual, weight, done = estimate, None, 0.0, 0
        for _ in range(3):
            before, weight = weight, self.strength * variation_weight(modes, video, noise)
            if dual is not None and before > 0:  # without weight the dual is 0
                dual.mul_(weight / before)
            found = minimise(
                modes,
                problem.measurement,
                estimate,
                weight,
                damping=damping,
                start=video,
                dual=dual,
                iterations=max(1, self.iterations // 3),
                tolerance=self.tolerance,
            )
            video, dual, done = found.video, found.dual, done + found.iterations
        return Correction(video, done, residuals=(), stopped=f"weight {weight:.2g}")
