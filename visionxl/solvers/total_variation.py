"""Total variation in space and time, together with a measurement and an estimate.

    min_x  1/2 |y - A x|^2 + damping / 2 |x - x0|^2 + weight * sum_pixels h(|(T D x)_pixel|_2)

    h(s) = s - bend / 2 where s >= bend, else s^2 / (2 bend)

``D`` takes first differences in time, height and width, none across the border; the norm at a
pixel runs over the three directions and the colour channels together (vectorial total variation:
Bresson & Chan 2008). In time it may follow a motion (:mod:`visionxl.solvers.motion`). ``T`` is a
matrix per pixel (:mod:`visionxl.solvers.directions`), which makes the variation directional
(Estellers, Soatto & Bresson 2015), or 1. ``h`` is Huber's function (1964), of total variation's
first degree for large differences and of second degree for small ones; without ``bend`` it is
``s``. The scheme is the primal-dual one of Chambolle & Pock (2011) with the over-relaxation of
Condat (2013); the step of the dual is as long at each pixel as ``T`` allows (Pock & Chambolle
2011). The step of the data term is exact where ``A = U S V^T`` with small factors, so that
``(A^T A + damping + 1/tau)^-1`` is a gain per singular mode; else it is a few conjugate gradients
(:mod:`visionxl.solvers.data_term`).

One iteration holds a few videos, the three differences per pixel and a few single frames; all work
on one frame is done together, so that it stays in the processor's cache.
"""

import math

import torch
from attrs import frozen
from torch import Tensor

from visionxl.protocols import Measurement, Video
from visionxl.solvers.data_term import DataTerm
from visionxl.solvers.directions import Directions, differences
from visionxl.solvers.motion import ADJOINT_FRAMES, Motion

NORM = 12.0  # |D|^2 is at most 4 per direction,
NORM_MOVED = 17.0  # and in time along a motion at most (1 + |W|)^2, |W|^2 at most about 4
USUAL = 0.12  # root mean square of the differences of natural videos
BALANCE = 0.1  # the step of the video to that of the dual over the weight
RELAXATION = 1.8
LEAST_TAU, MOST_TAU = 0.3, 1e12  # where a video of ones is measured as ones
TINY = 1e-30


@frozen(eq=False)
class Variation:
    """``weight * sum_pixels h(|(T D x)_pixel|_2)``, as the module has it.

    Args:
        weight: 0 or more.
        directions: ``T``, and the motion that time follows; None for 1, at the pixel.
        bend: of ``h``, 0 or more, in units of ``T D x``: below it a difference costs its square.
    """

    weight: float
    directions: Directions | None = None
    bend: float = 0.0

    @property
    def motion(self) -> Motion | None:
        return None if self.directions is None else self.directions.motion

    @property
    def norm(self) -> float:
        """At least ``|D|^2``."""
        return NORM if self.motion is None else NORM_MOVED


@frozen(eq=False)
class Smoothed:
    """A minimiser.

    Args:
        video: (frames, channels, height, width).
        dual: of the differences, (frames, 3, channels, height, width); another weight can start
            from it.
        iterations: that were made.
        breakdown: of the data term's step, in words; None for none.
    """

    video: Video
    dual: Tensor
    iterations: int
    breakdown: str | None = None


def minimise(
    data: DataTerm,
    measurement: Measurement,
    estimate: Video,
    variation: Variation,
    *,
    gain: float = 1.0,
    damping: float = 0.0,
    start: Video | None = None,
    dual: Tensor | None = None,
    iterations: int = 200,
    tolerance: float = 1e-4,
    exact: bool = False,
) -> Smoothed:
    """The video of least ``1/2 |y - A x|^2 + damping / 2 |x - x0|^2`` and the variation.

    Args:
        data: of ``A``.
        measurement: ``y``.
        estimate: ``x0``, in [-1, 1].
        variation: what is added.
        gain: the operator's (:func:`~visionxl.solvers.gain.gain_of`).
        damping: 0 or more; with 0 the estimate is only the initial iterate.
        start: the initial iterate, by default ``x0``.
        dual: the initial dual variable, by default 0.
        iterations: at most this many.
        tolerance: it stops once a step changes the video by less than this share of its norm.
        exact: whether the last iteration is not over-relaxed, so that the video is an output of the
            data term's own step. With over-relaxation to the end, a share of the estimate's
            residual remains after few iterations: 0.8^10 after ten.
    """
    video = (estimate if start is None else start).clone(memory_format=torch.contiguous_format)
    dual = video.new_zeros(len(video), 3, *video.shape[1:]) if dual is None else dual.clone()
    # With directions, differences are of size 1, and the weight is smaller by a usual difference: a
    # constant, not the video's own, or a clip's windows would differ after few iterations.
    balance = BALANCE if variation.directions is None else BALANCE * USUAL
    tau = balance / (math.sqrt(variation.norm) * max(variation.weight, TINY))
    tau = min(max(tau, LEAST_TAU / gain**2), MOST_TAU / gain**2)

    total = damping + 1 / tau
    pull = data.step(measurement, total)
    trial = video.clone()
    for t, frame in enumerate(trial):
        add_adjoint(frame, weighted(dual[t], variation.directions, t, len(trial)), -tau)
    add_carried(trial, dual, variation.directions, -tau)
    done = 0
    while done < iterations:
        done += 1
        if damping > 0:
            trial.lerp_(estimate, damping / total)
        breakdown = pull(trial)
        if breakdown is not None:
            return Smoothed(video, dual, done, breakdown)
        beyond = 1.0 if exact and done == iterations else RELAXATION
        change = _step_of_the_dual(video, trial, dual, variation, tau, beyond)
        if done > 1 and change <= tolerance:  # the first step only makes the dual
            break
    return Smoothed(video, dual, done)


def add_adjoint(frame: Tensor, here: Tensor, scale: float) -> None:
    """Adds to a frame what ``scale * D^T q`` of the same frame's ``q`` is there.

    ``q`` is 0 where ``D`` makes no difference: across the border.
    """
    frame.sub_(here.sum(0), alpha=scale)
    frame[:, 1:].add_(here[1, :, :-1], alpha=scale)
    frame[..., 1:].add_(here[2, ..., :-1], alpha=scale)


def add_carried(video: Video, dual: Tensor, directions: Directions | None, scale: float) -> None:
    """Adds the rest of ``scale * D^T T p``: what differences in time bring to the next frame."""
    motion = None if directions is None else directions.motion
    for first in range(0, len(video) - 1, ADJOINT_FRAMES):
        last = min(first + ADJOINT_FRAMES, len(video) - 1)
        q = dual[first:last, 0]
        if directions is not None:
            q = q * directions.planes[first:last, :1]
        if motion is not None:
            q = motion.back(first, q.mul_(motion.seen[first:last].unsqueeze(1)))
        video[first + 1 : last + 1].add_(q, alpha=scale)


def weighted(dual: Tensor, directions: Directions | None, t: int, frames: int) -> Tensor:
    """``T p`` of a frame, 0 across the border."""
    if directions is None:
        return dual
    out = directions.applied(t, dual, torch.empty_like(dual))
    if t + 1 == frames:
        out[0].zero_()
    elif directions.motion is not None:
        out[0].mul_(directions.motion.seen[t])
    out[1, :, -1].zero_()
    out[2, ..., -1].zero_()
    return out


def _step_of_the_dual(
    video: Video, trial: Video, dual: Tensor, variation: Variation, tau: float, beyond: float
) -> float:
    """The step of the dual, and the next input of the data term; in place.

    A frame at a time.

    Args:
        video: ``x``; afterwards ``x + beyond * (trial - x)``.
        trial: the data term's output; afterwards ``x - tau D^T T p``, its next input.
        dual: ``p``; afterwards relaxed towards the projection of ``p + sigma T D (2 trial - x)``,
            which ``bend`` first shortens.
        variation: whose weight is the radius of the projection.
        tau: the video's step.
        beyond: the relaxation of the video.

    Returns:
        ``|trial - x| / |trial|``.
    """
    directions, weight, motion = variation.directions, variation.weight, variation.motion
    sigma = 1 / (variation.norm * tau)
    shorter = variation.bend * sigma / max(weight, TINY)
    steps = torch.empty_like(dual[0])
    # Added up where they are: to ask for each number would make a GPU wait at every frame.
    moved, size = video.new_zeros(2, dtype=torch.float64)
    ahead: Tensor | None = torch.lerp(video[0], trial[0], 2.0)
    for t, (frame, goal, q) in enumerate(zip(video, trial, dual, strict=True)):
        extrapolated = ahead
        assert extrapolated is not None  # only the last frame has none after it
        last = t + 1 == len(video)
        ahead = None if last else torch.lerp(video[t + 1], trial[t + 1], 2.0)
        differences(extrapolated, ahead, steps, t, motion)
        if directions is not None:
            steps = directions.applied(t, steps, torch.empty_like(steps)).mul_(directions.least[t])
        torch.add(q, steps, alpha=sigma, out=steps)
        if variation.bend > 0:
            steps.div_(1 + shorter * (1.0 if directions is None else directions.least[t]))
        steps.mul_(_shrinkage(steps, weight))
        q.lerp_(steps, RELAXATION)
        size += torch.dot(goal.flatten(), goal.flatten())
        goal.sub_(frame)
        moved += torch.dot(goal.flatten(), goal.flatten())
        frame.add_(goal, alpha=beyond)
        goal.copy_(frame)
        add_adjoint(goal, weighted(q, directions, t, len(video)), -tau)
    add_carried(trial, dual, directions, -tau)
    moved, size = moved.item(), size.item()
    return math.sqrt(moved / size) if size else 0.0


def _shrinkage(q: Tensor, radius: float) -> Tensor:
    """``min(1, radius / |q|)`` per pixel, (height, width)."""
    norm = torch.zeros_like(q[0, 0])
    for plane in q.flatten(0, 1):
        norm.addcmul_(plane, plane)
    return norm.sqrt_().clamp_(min=max(radius, TINY)).reciprocal_().mul_(radius)
