"""Spatio-temporal total variation, for operators with factors.

    min_x  1/2 |y - A x|^2 + weight * sum_pixels |(D x)_pixel|_2

``D`` takes first differences in time, height and width, none across the border; the norm at a
pixel runs over the three directions and the colour channels together (vectorial total variation:
Bresson & Chan 2008). The scheme is the primal-dual one of Chambolle & Pock (2011) with the
over-relaxation of Condat (2013). The step of the data term is exact: ``A = U S V^T`` with small
factors, so ``(A^T A + 1/tau)^-1`` is a gain per singular mode.

One iteration holds two videos, the three differences per pixel and a few single frames; what
concerns one frame is done at once, so that it stays in the processor's cache.
"""

import math

import torch
from torch import Tensor

from peers.modes import Modes
from peers.oracle import Solution
from visionxl.operators import lift
from visionxl.protocols import InverseProblem, Video

NORM = 12.0  # |D|^2 is at most 4 per direction
BALANCE = 0.2  # a usual difference: the step of the video to that of the dual over the weight
RELAXATION = 1.8
LEAST_TAU, MOST_TAU = 1.0, 1e11
TINY = 1e-30


def starting_video(problem: InverseProblem, start: Solution | None) -> Video:
    """A copy of what a solution has; by default of the back-projection."""
    video = lift(problem.operator, problem.measurement) if start is None else start.video
    return video.clone(memory_format=torch.contiguous_format)


def differences(frame: Tensor, following: Tensor | None, out: Tensor) -> Tensor:
    """``D x`` of one frame (channels, height, width): (3, channels, height, width), in ``out``."""
    if following is None:
        out[0].zero_()
    else:
        torch.sub(following, frame, out=out[0])
    torch.sub(frame[:, 1:], frame[:, :-1], out=out[1, :, :-1])
    out[1, :, -1].zero_()
    torch.sub(frame[..., 1:], frame[..., :-1], out=out[2, ..., :-1])
    out[2, ..., -1].zero_()
    return out


def add_adjoint(frame: Tensor, here: Tensor, before: Tensor | None, scale: float) -> None:
    """Adds ``scale * D^T q`` of one frame to it, for ``q`` that is 0 where no difference is taken;
    ``before`` is ``q`` of the frame before."""
    frame.sub_(here.sum(0), alpha=scale)
    if before is not None:
        frame.add_(before[0], alpha=scale)
    frame[:, 1:].add_(here[1, :, :-1], alpha=scale)
    frame[..., 1:].add_(here[2, ..., :-1], alpha=scale)


def roughness(video: Video) -> Video:
    """``D^T D x``."""
    result = torch.zeros_like(video)
    here, before = video.new_empty(2, 3, *video.shape[1:])
    for t, frame in enumerate(video):
        differences(frame, video[t + 1] if t + 1 < len(video) else None, here)
        add_adjoint(result[t], here, before if t else None, 1.0)
        here, before = before, here
    return result


def total_variation(video: Video) -> float:
    """``sum_pixels |(D x)_pixel|_2``."""
    total, out = 0.0, video.new_empty(3, *video.shape[1:])
    for t, frame in enumerate(video):
        differences(frame, video[t + 1] if t + 1 < len(video) else None, out)
        total += out.square_().sum((0, 1)).sqrt_().sum(dtype=torch.float64).item()
    return total


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
    y = problem.measurement
    video = starting_video(problem, start)
    modes = Modes.of(problem.operator, video)
    tau = min(max(BALANCE / (math.sqrt(NORM) * max(weight, TINY)), LEAST_TAU), MOST_TAU)
    if start is None or start.dual is None:
        dual = video.new_zeros(len(video), 3, *video.shape[1:])
    else:
        dual = start.dual * (weight / start.weight)

    # The step of the data term is v + V (gain * (U^T y - S V^T v)).
    gain = modes.values / (modes.values.square() + 1 / tau)
    target = modes.measured(y) * gain
    gain = gain * modes.values
    trial = video.clone()
    for t, frame in enumerate(trial):
        add_adjoint(frame, dual[t], dual[t - 1] if t else None, -tau)
    for iteration in range(iterations):
        coefficients = torch.addcmul(target, modes.analyse(trial), gain, value=-1)
        modes.add_synthesis(trial, coefficients)
        del coefficients
        change = _step_of_the_dual(video, trial, dual, weight, tau)
        if iteration and change <= tolerance:  # the first step only makes the dual
            break
    return Solution(video, weight, dual)


def _step_of_the_dual(video: Video, trial: Video, dual: Tensor, weight: float, tau: float) -> float:
    """The rest of an iteration, in place, a frame at a time.

    Args:
        video: ``x``; after it ``x + RELAXATION * (trial - x)``.
        trial: the data term's answer; after it ``x - tau D^T p``, which it is asked next.
        dual: ``p``; after it relaxed towards the projection of ``p + sigma D (2 trial - x)``.
        weight: the radius of the projection.
        tau: the video's step.

    Returns:
        ``|trial - x| / |trial|``.
    """
    sigma = 1 / (NORM * tau)
    steps = torch.empty_like(dual[0])
    moved = size = 0.0
    ahead: Tensor | None = torch.lerp(video[0], trial[0], 2.0)
    for t, (frame, goal, q) in enumerate(zip(video, trial, dual, strict=True)):
        extrapolated = ahead
        assert extrapolated is not None  # only the last frame has none after it
        last = t + 1 == len(video)
        ahead = None if last else torch.lerp(video[t + 1], trial[t + 1], 2.0)
        differences(extrapolated, ahead, steps)
        torch.add(q, steps, alpha=sigma, out=steps)
        steps.mul_(_shrinkage(steps, weight))
        q.lerp_(steps, RELAXATION)
        size += torch.dot(goal.flatten(), goal.flatten()).item()
        goal.sub_(frame)
        moved += torch.dot(goal.flatten(), goal.flatten()).item()
        frame.add_(goal, alpha=RELAXATION)
        goal.copy_(frame)
        add_adjoint(goal, q, dual[t - 1] if t else None, -tau)
    return math.sqrt(moved / size) if size else 0.0


def _shrinkage(q: Tensor, radius: float) -> Tensor:
    """``min(1, radius / |q|)`` per pixel, (height, width)."""
    norm = torch.zeros_like(q[0, 0])
    for plane in q.flatten(0, 1):
        norm.addcmul_(plane, plane)
    return norm.sqrt_().clamp_(min=max(radius, TINY)).reciprocal_().mul_(radius)
