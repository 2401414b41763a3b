"""The classical rows: what linear algebra and total variation do without a learned prior.

Each is a :data:`peers.case.Method` that leaves the prior alone. Where a row has a free number, an
iteration count or a weight, the truth chooses it: an upper bound that no real method reaches.
"""

from collections.abc import Iterator

import torch

from peers.case import Case, Estimate
from peers.oracle import Solution, at_best_weight
from peers.variation import minimise_variation, modes_of, roughness, starting_video
from visionxl.metrics import psnr
from visionxl.operators import lift, normal
from visionxl.protocols import InverseProblem, LatentPrior, Video
from visionxl.solvers.cg import Action, conjugate_gradient, dot
from visionxl.solvers.decomposition import spectrum_of

CG_ITERATIONS = 40
ROUNDING = 3e-7  # of float32: the noise of a measurement that has none
MEAN_ROUGHNESS = 6.0  # of D^T D over all frequencies: 2 per direction


def back_projection(case: Case, prior: LatentPrior) -> Estimate:
    """The measurement as a video (:func:`visionxl.operators.lift`)."""
    del prior
    return Estimate(lift(case.problem.operator, case.problem.measurement))


def cg(case: Case, prior: LatentPrior) -> Estimate:
    """Conjugate gradients on ``A^T A x = A^T y`` from the back-projection, at the iteration of 1
    to 40 with the best PSNR: an oracle. It is iteration 0 where the start solves the equations."""
    del prior
    start = lift(case.problem.operator, case.problem.measurement)
    right = case.problem.operator.adjoint(case.problem.measurement)
    best, chosen, video = float("-inf"), 0, start
    for iteration, iterate in enumerate(cg_iterates(gram(case.problem, start), right, start), 1):
        value = psnr(iterate, case.truth)
        if value > best:
            best, chosen, video = value, iteration, iterate.clone()
        if iteration == CG_ITERATIONS:
            break
    return Estimate(video, note=f"iteration {chosen}")


def tikhonov(case: Case, prior: LatentPrior) -> Estimate:
    """Least squares with the squares of the differences in time, height and width as penalty, at
    the weight of an oracle (:mod:`peers.oracle`)."""
    del prior
    found = at_best_weight(case, minimise_roughness, 12 * max(case.noise, ROUNDING) ** 2)
    return Estimate(found.video, note=f"weight {found.weight:.2g}")


def tv(case: Case, prior: LatentPrior) -> Estimate:
    """Spatio-temporal total variation (:mod:`peers.variation`), at the weight of an oracle
    (:mod:`peers.oracle`)."""
    del prior
    found = at_best_weight(case, minimise_variation, 0.4 * max(case.noise, ROUNDING) ** 1.5)
    return Estimate(found.video, note=f"weight {found.weight:.2g}")


def gram(problem: InverseProblem, like: Video) -> Action:
    """``A^T A``; by the factors, where there are some, which is faster than by the taps."""
    if spectrum_of(problem.operator, like) is None:
        return lambda video: normal(problem.operator, video)
    modes = modes_of(problem, like)
    square = modes.values.square()
    return lambda video: modes.add_synthesis(torch.zeros_like(video), modes.analyse(video) * square)


def cg_iterates(normal: Action, right: Video, start: Video) -> Iterator[Video]:
    """The iterates of conjugate gradients on ``N x = right`` (Hestenes & Stiefel 1952).

    It is one tensor, changed in place. It ends where the residual is rounding.
    """
    x = start.clone()
    r = right - normal(x)
    p = r.clone()
    rr = dot(r, r)
    least = torch.finfo(r.dtype).eps ** 4 * dot(right, right)
    while rr > least:
        np = normal(p)
        curvature = dot(p, np)
        if curvature <= 0:
            return
        x.add_(p, alpha=rr / curvature)
        r.sub_(np, alpha=rr / curvature)
        del np
        rr, previous = dot(r, r), rr
        p.mul_(rr / previous).add_(r)
        yield x


def minimise_roughness(
    problem: InverseProblem,
    weight: float,
    start: Solution | None = None,
    *,
    iterations: int = 150,
    tolerance: float = 1e-4,
) -> Solution:
    """The video of least ``|y - A x|^2 + weight |D x|^2``, by conjugate gradients.

    The normal equations ``(A^T A + weight D^T D) x = A^T y`` are preconditioned on both sides
    with ``R = (A^T A / d + 1)^(-1/2)``, ``d = 6 weight``, which differs from the exact inverse
    only by what ``D^T D`` differs from its mean eigenvalue 6. With ``x = x0 + R e`` and ``x0``
    the minimiser of ``|y - A x|^2 + d |x - start|^2`` every quantity is of the size of the video,
    so that float32 holds however small the weight is.

    Args:
        problem: its operator needs factors.
        weight: above 0, for values in [-1, 1].
        start: the solution of another weight; by default the back-projection.
        iterations: at most so many.
        tolerance: of the residual of the preconditioned equations for ``e``, relative to their
            right-hand side.
    """
    y = problem.measurement
    video = starting_video(problem, start)
    modes = modes_of(problem, video)
    damping = MEAN_ROUGHNESS * weight
    square = modes.values.square()
    gain = square / (square + damping)  # R A^T A R / d = V gain V^T
    less = 1 - (damping / (square + damping)).sqrt()  # R = 1 - V less V^T

    def root(e: Video) -> Video:
        """``R e``, in place."""
        return modes.add_synthesis(e, modes.analyse(e).mul(-less))

    def apply(e: Video) -> Video:
        result = root(roughness(root(e.clone())).div_(MEAN_ROUGHNESS))
        return modes.add_synthesis(result, modes.analyse(e) * gain)

    pull = modes.measured(y) - modes.values * modes.analyse(video)
    pull *= modes.values / (square + damping)
    modes.add_synthesis(video, pull)
    right = modes.add_synthesis(roughness(video).div_(-MEAN_ROUGHNESS), pull)
    root(right)
    result = conjugate_gradient(
        apply, right, torch.zeros_like(right), iterations=iterations, tolerance=tolerance
    )
    return Solution(video.add_(root(result.solution)), weight)
