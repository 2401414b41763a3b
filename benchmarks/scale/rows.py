"""The rows of the benchmark: what runs side by side.

- ``paper``: VISION-XL as its public code runs it (:mod:`peers.published`): 8 steps, the guided and
  the unguided evaluation in one call, frame by frame, 10 conjugate gradient steps, everything on
  the device, in the networks' dtype and in PyTorch's usual order of values.
- ``exact``: ``vision_xl()``, the same 8 steps as the library makes them.
- ``default``: ``vision_tv()``.
- ``fast``: ``exact`` with the tiny autoencoder in all steps but the last.
- ``default-fast``: ``default`` likewise.
"""

from collections.abc import Callable

import torch
from attrs import evolve, frozen
from peers.published import PublishedCG, PublishedInversion, PublishedOperator, PublishedPrior

from scale.watching import Watch, WatchedConsistency, watched
from visionxl import (
    Correction,
    InverseProblem,
    LatentPrior,
    NoiseLevel,
    Sampler,
    Video,
    restore,
    trajectory,
    vision_tv,
    vision_xl,
)
from visionxl.init import CorrectedInversion
from visionxl.protocols import DataConsistency


@frozen(eq=False)
class Run:
    """What a row is given.

    Args:
        problem: with the measurement on the device that keeps the videos.
        prior: with the full autoencoder.
        tiny: with the tiny one.
        frames_at_once: in one call of a network; the paper's row has one.
        place: the problem and the method, put where videos are computed.
        watch: that tells the stages.
    """

    problem: InverseProblem
    prior: LatentPrior
    tiny: LatentPrior
    frames_at_once: int
    place: Callable[[InverseProblem, Sampler], tuple[InverseProblem, Sampler]]
    watch: Watch


def paper(run: Run) -> int:
    problem = evolve(run.problem, operator=PublishedOperator(run.problem.operator))
    prior = PublishedPrior.of(watched(run.prior, run.watch), 1)
    sampler = vision_xl(consistency=Bounded(PublishedCG()), initializer=PublishedInversion())
    iterations = 0
    problem, sampler = placed(problem, sampler, run)
    for step in trajectory(problem, prior, sampler, generator=chance(), frames_at_once=None):
        iterations += step.record.iterations
        del step
    return iterations


def restored(run: Run, sampler: Sampler, *, tiny: bool = False) -> int:
    """A method of the library."""
    problem, method = placed(run.problem, sampler, run)
    result = restore(
        problem,
        watched(run.prior, run.watch),
        method,
        generator=chance(),
        frames_at_once=run.frames_at_once,
        inner=watched(run.tiny, run.watch, "tiny ") if tiny else None,
    )
    return sum(record.iterations for record in result.trace)


def placed(problem: InverseProblem, sampler: Sampler, run: Run) -> tuple[InverseProblem, Sampler]:
    """Both put in their place, with every consistency watched, the start's and the finish too."""
    problem, sampler = run.place(problem, sampler)
    start, consistency = sampler.initializer, WatchedConsistency(sampler.consistency, run.watch)
    if isinstance(start, CorrectedInversion):
        start = evolve(start, consistency=WatchedConsistency(start.consistency, run.watch))
    finish = sampler.finish and WatchedConsistency(sampler.finish, run.watch)
    return problem, evolve(sampler, consistency=consistency, initializer=start, finish=finish)


def chance() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@frozen
class Bounded:
    """A consistency whose answer is kept within [-1, 1], and 0 where it is not finite.

    The paper's may diverge in half precision, which would end the run.
    """

    consistency: DataConsistency

    def correct(self, estimate: Video, problem: InverseProblem, level: NoiseLevel) -> Correction:
        answer = self.consistency.correct(estimate, problem, level)
        return evolve(answer, video=answer.video.nan_to_num_(0.0).clamp_(-1, 1))


ROWS: dict[str, Callable[[Run], int]] = {
    "paper": paper,
    "exact": lambda run: restored(run, vision_xl()),
    "default": lambda run: restored(run, vision_tv()),
    "fast": lambda run: restored(run, vision_xl(), tiny=True),
    "default-fast": lambda run: restored(run, vision_tv(), tiny=True),
}
"""Each tells the iterations of its consistency, all steps together."""
