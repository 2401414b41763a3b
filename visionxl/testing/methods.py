"""The contract test of methods."""

from collections.abc import Sequence
from typing import Any

import torch
from attrs import evolve
from torch import Generator, Tensor

from visionxl.protocols import LatentPrior
from visionxl.simulation import simulate
from visionxl.solvers import Sampler, restore, trajectory
from visionxl.testing.laws import ContractError, Draws, apart, require


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
    """Hold a method, made of parts of anybody, against what a run relies on.

    It restores a random video. All its chance comes from the generator: the same seed gives the
    same result, whatever was drawn elsewhere. It goes on from the state after any step as if it
    had never been interrupted, so it keeps nothing from step to step. The measurement is left
    alone.

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
        InputError: a part is none, or cannot be used for this operator or prior.
        ContractError: a law is broken.
    """
    if not isinstance(sampler, Sampler):
        law, seen = "a method is a Sampler", f"it is {type(sampler).__name__}"
        raise ContractError(sampler, law, seen, "make one: Sampler(times=..., ...), or vision_xl()")
    video = Draws(seed, dtype, device).video(shape)
    chance = Generator().manual_seed(seed)
    problem = simulate(video, operator, noise_std, generator=chance)
    before = problem.measurement.clone()

    def run(elsewhere: int) -> Tensor:
        with torch.random.fork_rng():
            torch.manual_seed(elsewhere)
            generator = Generator().manual_seed(seed)
            return restore(problem, prior, sampler, generator=generator).video

    first, again = run(0), run(1)
    require(
        torch.equal(problem.measurement, before),
        sampler,
        "a method leaves the measurement alone",
        "it had other values after the run",
        "find the part that works in place, with the contract test of each",
    )
    far = apart(first, again)
    require(
        far <= tolerance,
        sampler,
        "the same seed gives the same result: chance comes from the generator alone",
        f"a second run is {far:.1e} away, as a share of its size",
        "draw with torch.randn(shape, generator=generator) in every part, and keep no state",
    )
    _check_going_on(sampler, problem, prior, first, seed, tolerance)


def _check_going_on(
    sampler: Sampler, problem: Any, prior: LatentPrior, whole: Tensor, seed: int, tolerance: float
) -> None:
    if len(sampler.times) < 2:
        return
    steps = trajectory(problem, prior, sampler, Generator().manual_seed(seed))
    state = next(steps).following
    assert state is not None  # there is a step after the first
    state = evolve(state, latent=state.latent.clone())
    went_on = restore(problem, prior, sampler, generator=Generator(), state=state).video
    far = apart(whole, went_on)
    require(
        far <= tolerance,
        sampler,
        "a method goes on from the state after a step as if it had never been interrupted",
        f"begun with the second step it ends {far:.1e} away, as a share of its size",
        "keep nothing between steps: all that a part needs is in its arguments",
    )
