"""The loop: one method for every prior, operator, consistency and initializer."""

import math
import time
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

import torch
from attrs import evolve, field, frozen
from torch import Generator

from visionxl.errors import InputError, located
from visionxl.memory import peak_bytes
from visionxl.operators.finite import unsolved
from visionxl.operators.lifting import lift
from visionxl.protocols import (
    Correction,
    DataConsistency,
    Denoised,
    Initializer,
    InverseProblem,
    Latent,
    LatentPrior,
    NoiseLevel,
    Passage,
    Restoration,
    State,
    Step,
    StepRecord,
    Video,
)
from visionxl.solvers.answers import (
    check_decoded,
    check_first,
    check_same_shape,
    check_schedule,
    check_start,
    corrected,
    first_seen,
)
from visionxl.solvers.consistency import Unchanged
from visionxl.solvers.contract import (
    check_given,
    check_linear,
    check_parts,
    check_problem,
    check_state,
)
from visionxl.solvers.frames import FrameByFrame
from visionxl.solvers.precision import check_precision, no_autocast
from visionxl.solvers.residual import check_result, data_residual
from visionxl.validators import entries, left_alone

LowPass = Callable[[Video, NoiseLevel], Video]
"""(video, level) -> video: filters a video before it is encoded again."""

Renoise = Callable[[Latent, Latent, Passage, Generator], Latent]
"""(clean, noise, passage, generator) -> latents at the passage's level; a Passage is a NoiseLevel.

It has ``shared = True`` if all frames share its draws: only then can a clip be cut into windows.
"""

Condition = Callable[[LatentPrior, InverseProblem, Latent, NoiseLevel], Denoised]
"""(prior, problem, latent, level) -> what a denoiser returns, given the measurement, too."""


@runtime_checkable
class Demanding(Protocol):
    """A part that needs more than the protocols guarantee, and checks it before a run begins."""

    @abstractmethod
    def check(self, problem: InverseProblem, prior: LatentPrior) -> None:
        """Raise InputError if the operator or the prior lacks it, naming what would work."""
        ...


def unfiltered(video: Video, level: NoiseLevel) -> Video:
    """A low-pass that leaves the video unchanged."""
    return video


def unconditioned(
    prior: LatentPrior, problem: InverseProblem, latent: Latent, level: NoiseLevel
) -> Denoised:
    """The prior's denoiser as it is: the measurement enters through the consistency alone."""
    return prior.denoise(latent, level)


def _times(value: Any) -> tuple[float, ...]:
    """Python's own numbers, of whatever kind they are given as."""
    times = entries("times", value, float, "numbers in (0, 1], falling")
    rising = any(a <= b for a, b in pairwise(times))
    if not times or rising or not all(0 < t <= 1 for t in times):
        raise InputError(f"times {times}: expected one or more times in (0, 1], falling")
    return times


@frozen
class Sampler:
    """A method, as a value: ``attrs.evolve(sampler, consistency=...)`` swaps one part.

    Args:
        times: of the schedule, in (0, 1], decreasing; the clean end follows the last.
        initializer: makes the latents at the first time.
        consistency: pulls each estimate towards the measurement.
        low_pass: ``(video, level) -> video``, before a video is encoded again.
        renoise: ``(clean, noise, passage, generator) -> latents`` at a lower level.
        condition: ``(prior, problem, latent, level) -> Denoised``, in place of the prior's
            denoiser: for methods that follow gradients of the measurement through it.
        finish: corrects the last estimate once more, after its consistency; None for nothing.
    """

    times: tuple[float, ...] = field(converter=_times)
    initializer: Initializer
    consistency: DataConsistency
    low_pass: LowPass
    renoise: Renoise
    condition: Condition = unconditioned
    finish: DataConsistency | None = None

    def __attrs_post_init__(self) -> None:
        check_parts(self)


def trajectory(
    problem: InverseProblem,
    prior: LatentPrior,
    sampler: Sampler,
    *,
    generator: Generator,
    frames_at_once: int | None = 1,
    inner: LatentPrior | None = None,
    state: State | None = None,
) -> Iterator[Step]:
    """The method, a step at a time (VISION-XL, arXiv 2412.00156); the arguments of :func:`restore`.

    It ends with a consistency step and the method's finish: the last step's ``corrected`` is the
    result. Iterate over it for progress, previews, checkpoints and early stopping. Gradients are
    off unless the method needs them: no consistency is written to be differentiated. With the
    ``following`` of an earlier step as ``state`` it resumes there, as if never interrupted.
    :func:`restore` also checks the measurement and the adjoint, and warns of a result that does not
    explain its measurement.

    Raises:
        InputError: at once, for an argument of the wrong kind or one that does not fit the others;
            while iterating, for an unusable output of a part.
        NotFiniteError: while iterating: a stage returned NaN or infinity.
    """
    check_arguments(problem, prior, sampler, generator, inner)
    check_schedule(prior)
    for named in (sampler.consistency, sampler.finish, sampler.condition):
        if named is not None and named is not unconditioned:
            check_linear(problem, named)
    frugal = FrameByFrame(prior, frames_at_once)
    quick = frugal if inner is None else FrameByFrame(inner, frames_at_once)
    with no_autocast(), torch.no_grad():
        if state is not None:
            check_state(state, sampler.times, len(lift(problem.operator, problem.measurement)))
        parts = (sampler.initializer, sampler.consistency, sampler.renoise, sampler.condition)
        for part in (*parts, sampler.finish):
            if isinstance(part, Demanding):
                part.check(problem, frugal)
    return _steps(problem, frugal, quick, sampler, generator, state)


def check_arguments(
    problem: object, prior: object, sampler: object, generator: object, inner: object
) -> None:
    """Raise InputError for an argument of :func:`restore` that is of the wrong kind."""
    check_given(
        problem=(problem, InverseProblem, "make one, or simulate() it"),
        prior=(prior, LatentPrior, "give a value, such as PocketPrior.load()"),
        sampler=(sampler, Sampler, "give a method's value, such as vision_xl()"),
        generator=(generator, Generator, "give torch.Generator().manual_seed(0)"),
    )
    if inner is not None:
        check_given(inner=(inner, LatentPrior, "give a prior of the same latents, or None"))


def first_state(
    problem: InverseProblem, prior: LatentPrior, sampler: Sampler, generator: Generator
) -> State:
    """The state before the first step: the latents that the initializer makes."""
    levels = [prior.schedule.level(t) for t in sampler.times]
    check_first(levels[0])
    with torch.no_grad(), no_autocast():
        latent = sampler.initializer.start(problem, prior, levels, generator)
        latent = check_start(sampler.initializer, problem.measurement, latent)
    return State(0, latent, generator.get_state(), sampler.times[0])


def _steps(
    problem: InverseProblem,
    full: LatentPrior,
    quick: LatentPrior,
    sampler: Sampler,
    generator: Generator,
    state: State | None,
) -> Iterator[Step]:
    """The steps, the last with ``full`` and those before with ``quick``."""
    last = len(sampler.times) - 1
    if state is None:
        state = first_state(problem, quick if last else full, sampler, generator)
    first, latent = state.index, state.latent
    generator.set_state(state.chance)
    del state  # or its latents would stay
    prior = quick if first < last else full
    levels = [prior.schedule.level(t) for t in sampler.times]
    for index in range(first, len(levels)):
        level, began, following = levels[index], time.perf_counter(), None
        changed = first < index == last and quick is not full
        if changed:
            prior = full
        with located(step=index), torch.no_grad(), no_autocast():
            new = index == 0 and sampler.condition is unconditioned
            with first_seen(sampler.initializer, latent) if new else nullcontext():
                denoised = sampler.condition(prior, problem, latent, level)
            decoded = prior.decode(denoised.clean)
            if index == first or changed:
                check_decoded(prior, sampler.initializer, problem, decoded)
            answer = corrected(sampler.consistency, decoded, problem, level)
            if index == last and sampler.finish is not None:
                answer = _finished(sampler.finish, answer, problem, level)
            if index < last:
                with left_alone(sampler.low_pass, "low-pass", "video", answer.video):
                    filtered = sampler.low_pass(answer.video, level)
                check_same_shape("low-pass", sampler.low_pass, answer.video, filtered)
                # An unchanged video need not be encoded again.
                clean = denoised.clean if filtered is decoded else prior.encode(filtered)
                del filtered
                after = levels[index + 1]
                alone = denoised.clean if denoised.unmeasured is None else denoised.unmeasured
                passage = Passage(
                    after.time,
                    after.signal,
                    after.noise,
                    before=level,
                    latent=latent,
                    denoised=alone,
                    problem=problem,
                    consistency=sampler.consistency,
                )
                latent = sampler.renoise(clean, denoised.noise, passage, generator)
                check_same_shape("renoise", sampler.renoise, clean, latent)
                chance = generator.get_state()
                following = State(index + 1, latent, chance, sampler.times[index + 1])
            residual = data_residual(problem, answer.video)
            if not math.isfinite(residual):  # a correction so large that it is none
                raise unsolved(problem.operator, answer.video)
        record = StepRecord(
            index=index,
            time=level.time,
            data_residual=residual,
            iterations=answer.iterations,
            residuals=answer.residuals,
            stopped=answer.stopped,
            seconds=time.perf_counter() - began,
            peak_bytes=peak_bytes(problem.measurement.device),
        )
        yield Step(level, decoded, answer.video, record, following)
        del denoised, decoded, answer  # the next step needs none of them, and the memory


def _finished(
    finish: DataConsistency, before: Correction, problem: InverseProblem, level: NoiseLevel
) -> Correction:
    """The finished video with the consistency's other outputs, unless the finish broke down."""
    last = corrected(finish, before.video, problem, level)
    return last if last.broke_down else evolve(before, video=last.video)


@torch.no_grad()
def restore(
    problem: InverseProblem,
    prior: LatentPrior,
    sampler: Sampler,
    *,
    generator: Generator,
    frames_at_once: int | None = 1,
    observe: Callable[[Step], object] | None = None,
    inner: LatentPrior | None = None,
    state: State | None = None,
) -> Restoration:
    """Restore a video: run :func:`trajectory` to its end and keep the last estimate.

    Gradients are off unless the method needs them.

    Args:
        problem: what was measured, and how.
        prior: what images look like.
        sampler: the method, such as ``vision_xl()``.
        generator: the only source of chance; the same seed gives the same result, on a GPU to
            rounding.
        frames_at_once: frames in one call of the prior, None for all. More is faster if memory
            allows; the result is the same to rounding, or differs slightly more if the method
            follows the motion, which is estimated from 8-bit frames.
        observe: called with every step.
        inner: a faster prior over the same latents, for all steps but the last: usually ``prior``
            with a tiny autoencoder.
        state: the ``following`` of a step of an earlier run, to resume from.

    Returns:
        The video, (frames, channels, height, width) in about [-1, 1], on the measurement's
        device and in its dtype, and the record of every step that was made.

    Raises:
        InputError: the operator breaks its contract, or the measurement is not finite.
        NotFiniteError: a stage returned NaN or infinity.
    """
    check_arguments(problem, prior, sampler, generator, inner)
    if observe is not None and not callable(observe):
        raise InputError(f"observe {observe!r} is no function: give one that takes a Step, or None")
    with no_autocast():
        gain = check_problem(problem)
        check_precision(problem.measurement.device)
    steps = trajectory(
        problem,
        prior,
        sampler,
        generator=generator,
        frames_at_once=frames_at_once,
        inner=inner,
        state=state,
    )
    trace = []
    video = None
    for step in steps:
        video = step.corrected if step.following is None else None
        trace.append(step.record)
        if step.record.broke_down:
            warnings.warn(f"step {step.record.index}: {step.record.stopped}", stacklevel=3)
        if observe is not None:
            observe(step)
        del step
    assert video is not None  # that of the last step, which nothing follows
    with no_autocast():
        check_outcome(problem, sampler, video, trace[-1].data_residual, gain)
    return Restoration(video, tuple(trace))


def check_outcome(
    problem: InverseProblem, sampler: Sampler, video: Video, residual: float, gain: float
) -> None:
    """:func:`~visionxl.solvers.residual.check_result` for a method that uses its measurement."""
    told = sampler.finish is not None or sampler.condition is not unconditioned
    if told or not isinstance(sampler.consistency, Unchanged):
        check_result(problem, sampler.consistency, video, residual, gain)
