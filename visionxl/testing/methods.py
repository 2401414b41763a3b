"""The contract test of methods."""

import warnings
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from attrs import evolve
from torch import Generator, Tensor

from visionxl.operators import lift
from visionxl.protocols import InverseProblem, LatentPrior, NoiseLevel, Passage
from visionxl.simulation import simulate
from visionxl.solvers import Sampler, restore, trajectory
from visionxl.testing.laws import ContractError, Draws, apart, require

NOTHING_KEPT = 1e-5  # share by which a consistency's answers differ by rounding
LEAST_ADDED, MOST_ADDED = 0.5, 1.5  # of the noise of a level


def check_method(
    sampler: object,
    operator: Any,
    prior: LatentPrior,
    shape: Sequence[int],
    *,
    noise_std: float = 0.05,
    tolerance: float = 1e-5,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> None:
    """Test a method, made of any parts, against what a run relies on.

    It restores a random video. All its randomness comes from the generator: the same seed gives
    the same result, whatever was drawn elsewhere. It goes on from the state after a step as if it
    had never been interrupted, so it keeps nothing from step to step, nor does its consistency.
    Its renoise returns latents with about as much noise as their level has; if it sets
    ``shared = True``, frames that are equal stay equal. The measurement is not changed.

    Args:
        sampler: the method.
        operator: that measures; one that keeps the laws of operators.
        prior: that keeps the laws of priors.
        shape: (frames, channels, height, width) of videos that both take.
        noise_std: of the measurement.
        tolerance: share by which two results may differ that should be equal.
        dtype: of the tensors.
        device: of the tensors.
        seed: of the random video and of the generator.

    Raises:
        InputError: a part is not of its kind, or cannot be used for this operator or prior.
        ContractError: a law is broken.
    """
    if not isinstance(sampler, Sampler):
        law, seen = "a method is a Sampler", f"it is {type(sampler).__name__}"
        raise ContractError(sampler, law, seen, "make one: Sampler(times=..., ...), or vision_xl()")
    fresh = deepcopy(sampler)  # knows nothing of the runs below
    video = Draws(seed, dtype, device).video(shape)
    chance = Generator().manual_seed(seed)
    problem = simulate(video, operator, noise_std, generator=chance)
    before = problem.measurement.clone()

    def run(elsewhere: int) -> Tensor:
        with torch.random.fork_rng(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a random video is restored badly is no fault
            torch.manual_seed(elsewhere)
            generator = Generator().manual_seed(seed)
            return restore(problem, prior, sampler, generator=generator).video

    first = run(0)
    _check_memory(sampler, fresh, problem, prior, video)
    again = run(1)
    require(
        torch.equal(problem.measurement, before),
        sampler,
        "a method leaves the measurement alone",
        "the run changed its values",
        "find the part that works in place, with the contract test of each part",
    )
    far = apart(first, again)
    require(
        far <= tolerance,
        sampler,
        "the same seed gives the same result: chance comes from the generator alone",
        f"a second run is {far:.1e} away, as a share of its size",
        "one of the parts keeps something from run to run, or draws elsewhere: keep no state, and "
        "draw with torch.randn(shape, generator=generator)",
    )
    _check_going_on(sampler, fresh, problem, prior, first, seed, tolerance)
    _check_level(sampler, problem, prior, seed)
    _check_shared(sampler, problem, prior, seed)


def _check_going_on(
    sampler: Sampler,
    fresh: Sampler,
    problem: Any,
    prior: LatentPrior,
    whole: Tensor,
    seed: int,
    tolerance: float,
) -> None:
    """Another process resumes, with parts that were never called."""
    # Frame by frame, as in restore: motion found in 8-bit frames is sensitive to rounding.
    steps = trajectory(problem, prior, sampler, generator=Generator().manual_seed(seed))
    states = [evolve(s, latent=s.latent.clone()) for s in (x.following for x in steps) if s]
    for state in dict.fromkeys((0, len(states) - 1)) if states else ():
        method, going_on = deepcopy(fresh), states[state]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            went_on = restore(problem, prior, method, generator=Generator(), state=going_on).video
        far = apart(whole, went_on)
        require(
            far <= tolerance,
            sampler,
            "a method goes on from the state after a step as if it had never been interrupted",
            f"resumed at step {going_on.index + 1} by parts that were asked nothing before, it "
            f"ends {far:.1e} away, as a share of its size",
            "keep nothing between steps: all that a part needs is in its arguments",
        )


def _check_memory(
    sampler: Sampler, fresh: Sampler, problem: InverseProblem, prior: LatentPrior, video: Tensor
) -> None:
    """What a consistency kept may hardly show in a run, but does in an estimate that is wrong."""
    level = prior.schedule.level(sampler.times[-1])
    other = evolve(problem, measurement=problem.operator.forward(-video))
    asked, anew = (
        method.consistency.correct(0.5 * video, other, level).video
        for method in (sampler, deepcopy(fresh))
    )
    away = apart(anew, asked)
    require(
        away <= NOTHING_KEPT,
        sampler,
        "its consistency depends on its arguments alone",
        f"after a run it answers {away:.1e} away from a copy that was asked nothing",
        "keep nothing between calls: a run that goes on has only the latents",
    )


def _check_level(sampler: Sampler, problem: InverseProblem, prior: LatentPrior, seed: int) -> None:
    """After a step that corrected nothing, a renoise adds the noise of the next level."""
    if len(sampler.times) < 2:
        return
    clean = prior.encode(lift(problem.operator, problem.measurement))
    noise = Draws(seed, clean.dtype, clean.device).noise(clean.shape)
    answer, level = _renoised(sampler, problem, prior, clean, noise, seed)
    added = (answer - level.signal * clean).square().mean().sqrt().item() / level.noise
    require(
        LEAST_ADDED <= added <= MOST_ADDED,
        sampler.renoise,
        "a renoise returns latents at its level, signal * clean + noise * eps with eps of unit "
        "variance",
        f"at time {level.time:g} eps has the root mean square {added:.2g}",
        "mix predicted and fresh noise with weights whose squares sum to 1",
    )


def _check_shared(sampler: Sampler, problem: InverseProblem, prior: LatentPrior, seed: int) -> None:
    """Where a renoise says that all frames share its draws, frames that are alike stay so."""
    if len(sampler.times) < 2 or not getattr(sampler.renoise, "shared", False):
        return
    video = lift(problem.operator, problem.measurement)
    clean = prior.encode(video[:1].expand(3, -1, -1, -1).contiguous())
    noise = Draws(seed, clean.dtype, clean.device).noise(clean[:1].shape).expand_as(clean)
    answer, _ = _renoised(sampler, problem, prior, clean, noise, seed)
    far = apart(answer[:1].expand_as(answer), answer)
    require(
        far <= 1e-4,
        sampler.renoise,
        "with shared = True all frames share the draws of a renoise, so that a clip can be cut",
        f"frames that were alike lie {far:.1e} apart afterwards, as a share of their size",
        "draw one frame's noise and add it to all, or leave shared = True out",
    )


def _renoised(
    sampler: Sampler,
    problem: InverseProblem,
    prior: LatentPrior,
    clean: Tensor,
    noise: Tensor,
    seed: int,
) -> tuple[Tensor, NoiseLevel]:
    """The latents at the second level, and that level."""
    before, after = (prior.schedule.level(time) for time in sampler.times[:2])
    passage = Passage(
        after.time,
        after.signal,
        after.noise,
        before=before,
        latent=before.signal * clean + before.noise * noise,
        denoised=clean,
        problem=problem,
        consistency=sampler.consistency,
    )
    return sampler.renoise(clean, noise, passage, Generator().manual_seed(seed)), after
