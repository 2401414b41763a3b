"""Spatio-temporal total variation alone, and its quadratic relative, for operators with factors.

    min_x  1/2 |y - A x|^2 + weight * sum_pixels |(D x)_pixel|_2

with the library's own scheme (:mod:`visionxl.solvers.total_variation`), without an estimate and
without directions.
"""

import torch

from peers.oracle import Solution
from visionxl import InputError
from visionxl.operators import lift
from visionxl.protocols import InverseProblem, Video
from visionxl.solvers.directions import differences
from visionxl.solvers.modes import Modes
from visionxl.solvers.total_variation import Variation, add_adjoint, minimise


def starting_video(problem: InverseProblem, start: Solution | None) -> Video:
    """A copy of what a solution has; by default of the back-projection."""
    video = lift(problem.operator, problem.measurement) if start is None else start.video
    return video.clone(memory_format=torch.contiguous_format)


def modes_of(problem: InverseProblem, like: Video) -> Modes:
    """The modes of the operator. Raises InputError for one without factors."""
    modes = Modes.of(problem.operator, like)
    if modes is None:
        raise InputError(
            f"{problem.operator!r} has no factors for a video of {tuple(like.shape)}: the "
            "classical methods need an operator that is a product of one matrix per axis"
        )
    return modes


def roughness(video: Video) -> Video:
    """``D^T D x``."""
    result = torch.zeros_like(video)
    here = video.new_empty(3, *video.shape[1:])
    for t, frame in enumerate(video):
        following = video[t + 1] if t + 1 < len(video) else None
        differences(frame, following, here)
        add_adjoint(result[t], here, 1.0)
        if following is not None:
            result[t + 1].add_(here[0])
    return result


def minimise_variation(
    problem: InverseProblem,
    weight: float,
    start: Solution | None = None,
    *,
    iterations: int = 200,
    tolerance: float = 2e-4,
) -> Solution:
    """The video of least ``1/2 |y - A x|^2 + weight * TV(x)``.

    Args:
        problem: its operator needs factors.
        weight: 0 or more, for values in [-1, 1].
        start: the solution of another weight, above 0; by default the back-projection.
        iterations: at most so many.
        tolerance: it stops once a step changes the video by less than this share of its norm.
    """
    video = starting_video(problem, start)
    dual = None if start is None or start.dual is None else start.dual * (weight / start.weight)
    found = minimise(
        modes_of(problem, video),
        problem.measurement,
        video,
        Variation(weight),
        dual=dual,
        iterations=iterations,
        tolerance=tolerance,
    )
    return Solution(found.video, weight, found.dual)
