"""Noise-aware consistency with directional total variation in space and time."""

import math
from typing import ClassVar

import torch
from attrs import field, frozen

from visionxl.operators.finite import unsolved
from visionxl.protocols import Correction, ForwardOperator, InverseProblem, NoiseLevel, Video
from visionxl.randomness import draw_uniform
from visionxl.solvers.cg import CONVERGED, USED_UP
from visionxl.solvers.contract import check_linear
from visionxl.solvers.data_term import Iterated
from visionxl.solvers.determined import determined_share, without_ends
from visionxl.solvers.directions import Directions
from visionxl.solvers.finite import is_finite
from visionxl.solvers.gain import gain_of, is_fine
from visionxl.solvers.modes import Modes
from visionxl.solvers.motion import Motion
from visionxl.solvers.spread import LEAST_NOISE, ConstantSpread, Spread, damping_of, is_spread
from visionxl.solvers.total_variation import USUAL, Variation, minimise
from visionxl.validators import above_zero, flag, from_one, from_zero

AROUND = 2.0  # standard deviation, in pixels, of the neighbourhood that sets the directions
FLOAT32_NOISE = 3e-7  # of a measurement in float32 that has no other noise


def variation_weight(share: float, noise_std: float) -> float:
    """The weight of the directional total variation beside ``1/2 |y - A x|^2``.

    ``0.6 noise_std^2 sqrt(share)``. For a penalty of first degree whose norm at a pixel is 1,
    ``3 noise_std^2 share`` would maximize the evidence (MacKay 1992: the penalty over the noise's
    variance is the number of determined values, 3 colours a pixel). This one is bent, and its norm
    1.4 to 2.9: the root and its factor follow the weights of least error over the named tasks and
    noises, on three clips.

    Args:
        share: of a video's values that the measurement determines (:func:`determined_share`).
        noise_std: of the measurement, above 0.
    """
    return 0.6 * noise_std**2 * math.sqrt(share)


def has_holes(operator: ForwardOperator, video: Video) -> bool:
    """Whether some pixels are not measured at all, as under a mask.

    The frames that a window of a clip leaves out at its ends do not count. The test is whether
    ``A^T r`` is 0 at a pixel for random ``r > 0``, which does not happen by chance at a measured
    pixel.
    """
    operator = without_ends(operator)
    measured = operator.forward(torch.ones_like(video))
    probe = draw_uniform(torch.Generator().manual_seed(0), *measured.shape).to(measured)
    seen = operator.adjoint(probe.add_(0.5))
    if not is_finite(seen):
        raise unsolved(operator, video)
    return bool((seen == 0).any())


@frozen
class SpaceTimeTV:
    """Noise-aware consistency with directional total variation in space and time.

    Minimises ``|y - A x|^2 / (2 sigma_y^2) + |x - x0|^2 / (2 r_t^2) + lambda TV(x)``, where small
    differences may be penalized quadratically (Huber's function, see ``bend``). An image prior sees
    each frame alone; this uses that frames follow one another. Differences in time are taken along
    the motion found in the estimate (:class:`Motion`), those within the frame along its edges;
    ``lambda`` is ``strength`` times :func:`variation_weight` over ``sigma_y^2``.

    A pass with given directions and motion is a convex problem, and its iterations are few: what it
    leaves unconverged, the next pass corrects, with both computed again from a better estimate.

    The data term's step is exact if the operator has factors, and otherwise a few conjugate
    gradients, which is slower; noise is then taken to be at least ``LEAST_NOISE``.

    Args:
        spread: ``r_t`` as a function of the noise level. Infinity uses the estimate only as the
            initial iterate: directions and motion are then computed on the way, in three passes, of
            which the first has none.
        strength: factor of the weight.
        floor: smaller differences of the estimate count as none, in units of the video's range.
        motion: whether to follow the motion; without it time stays at the pixel.
        iterations: of a pass, at most; twice as many with an infinite spread.
        filling: of the first pass, at most, with an infinite spread if some pixels are not measured
            at all: holes fill from their edges, about a pixel per iteration.
        tolerance: a pass stops once an iteration changes the video by less than this share.
        bend: differences below this multiple of those around them are penalized quadratically,
            which smooths fine texture less and leaves more noise; 0 for none.
        data_iterations: conjugate gradients in a step of the data term, at most, if the operator
            has no factors. Few of them leave weakly measured components alone; a derivative that is
            steep in some places and flat in others, as that of a curve, needs more.
    """

    fits_noise: ClassVar[bool] = True  # its residual is at most about the noise
    spread: Spread = field(factory=lambda: ConstantSpread(0.4), validator=is_spread)
    strength: float = field(default=1.0, validator=from_zero)
    floor: float = field(default=0.02, validator=above_zero)
    motion: bool = field(default=True, validator=flag)
    iterations: int = field(default=10, validator=from_one)
    filling: int = field(default=120, validator=from_one)
    tolerance: float = field(default=1e-4, validator=from_zero)
    bend: float = field(default=2.0, validator=from_zero)
    data_iterations: int = field(default=5, validator=from_one)

    def correct(self, estimate: Video, problem: InverseProblem, level: NoiseLevel) -> Correction:
        check_linear(problem, self)
        modes, gain = Modes.of(problem.operator, estimate), gain_of(problem.operator, estimate)
        least = gain * (LEAST_NOISE if modes is None else FLOAT32_NOISE)
        data = modes or Iterated(problem.operator, estimate, self.data_iterations)
        noise = max(problem.noise_std, least)
        share = determined_share(problem.operator, estimate, noise)
        weight = self.strength * variation_weight(share, noise)
        damping = damping_of(problem, level, self.spread, least)
        # Without an estimate the video is rough: a fine search would follow its errors.
        fine = damping > 0 and self.motion and is_fine(problem.operator, estimate, gain)
        holes = damping == 0 and has_holes(problem.operator, estimate)
        video, done, stopped = estimate, 0, USED_UP
        for directed in (True,) if damping > 0 else (False, True, True):
            variation = Variation(weight / USUAL)
            if directed:
                variation = Variation(weight, self._directions(video, fine), self.bend)
            most = self.iterations if damping > 0 else 2 * self.iterations
            if holes and not directed:
                most = self.filling
            if damping == 0:  # the estimate is left out, and need not be held
                estimate = video
            found = minimise(
                data,
                problem.measurement,
                estimate,
                variation,
                gain=gain,
                damping=damping,
                start=video,
                iterations=most,
                tolerance=self.tolerance,
                exact=noise <= least,
            )
            video, done = found.video, done + found.iterations
            if found.breakdown is not None:
                return Correction(video, done, residuals=(), stopped=found.breakdown)
            stopped = CONVERGED if found.iterations < most else USED_UP
            del found, variation  # as large as several videos, and not needed again
        return Correction(video, done, residuals=(), stopped=stopped)

    def _directions(self, video: Video, fine: bool) -> Directions:
        motion = Motion.of(video, fine) if self.motion else None
        if motion is not None:
            motion = motion.prepared(self.iterations)
        return Directions.of(video, self.floor, AROUND, motion)
