"""The loop: one method for every prior, operator, consistency and initializer."""

import time
import warnings
from collections.abc import Callable, Iterator
from itertools import pairwise, zip_longest

from attrs import field, frozen
from torch import Generator

from visionxl.errors import InputError
from visionxl.protocols import (
    DataConsistency,
    Initializer,
    InverseProblem,
    Latent,
    LatentPrior,
    NoiseLevel,
    Restoration,
    Step,
    StepRecord,
    Video,
)
from visionxl.solvers.contract import check_correction, check_problem, data_residual, peak_bytes
from visionxl.solvers.frames import FrameByFrame

LowPass = Callable[[Video, NoiseLevel], Video]
"""(video, level) -> video: what is taken off before a video is encoded again."""

Renoise = Callable[[Latent, Latent, NoiseLevel, Generator], Latent]
"""(clean, noise, level, generator) -> latents at ``level``."""


def _falling(_: object, __: object, times: tuple[float, ...]) -> None:
    rising = any(a <= b for a, b in pairwise(times))
    if not times or rising or not all(0 < t <= 1 for t in times):
        raise InputError(f"times {times}: expected one or more times in (0, 1], falling")


@frozen
class Sampler:
    """A method, as a value: ``attrs.evolve(sampler, consistency=...)`` swaps one part.

    Args:
        times: of the schedule, in (0, 1], falling; the clean end follows the last.
        initializer: makes the latents at the first time.
        consistency: pulls each estimate towards the measurement.
        low_pass: ``(video, level) -> video``, before a video is encoded again.
        renoise: ``(clean, noise, level, generator) -> latents`` at a lower level.
    """

    times: tuple[float, ...] = field(converter=tuple, validator=_falling)
    initializer: Initializer
    consistency: DataConsistency
    low_pass: LowPass
    renoise: Renoise


def trajectory(
    problem: InverseProblem, prior: LatentPrior, sampler: Sampler, generator: Generator
) -> Iterator[Step]:
    """The method, a step at a time (VISION-XL, arXiv 2412.00156).

    It ends with a consistency step: the last step's ``corrected`` is the result. Progress,
    previews and early stopping are what somebody does while iterating.
    """
    levels = [prior.schedule.level(t) for t in sampler.times]
    latent = sampler.initializer.start(problem, prior, levels, generator)
    for index, (level, following) in enumerate(zip_longest(levels, levels[1:])):
        began = time.perf_counter()
        denoised = prior.denoise(latent, level)
        decoded = prior.decode(denoised.clean)
        corrected = sampler.consistency.correct(decoded, problem, level)
        check_correction(sampler.consistency, decoded, corrected)
        record = StepRecord(
            index=index,
            time=level.time,
            data_residual=data_residual(problem, corrected.video),
            iterations=corrected.iterations,
            residuals=corrected.residuals,
            stopped=corrected.stopped,
            seconds=time.perf_counter() - began,
            peak_bytes=peak_bytes(problem.measurement.device),
        )
        yield Step(level, decoded, corrected.video, record)
        if following is None:
            return
        encoded = prior.encode(sampler.low_pass(corrected.video, level))
        latent = sampler.renoise(encoded, denoised.noise, following, generator)


def restore(
    problem: InverseProblem,
    prior: LatentPrior,
    sampler: Sampler,
    *,
    generator: Generator,
    frames_at_once: int = 1,
    observe: Callable[[Step], object] | None = None,
) -> Restoration:
    """Restore a video: drain :func:`trajectory` and keep its last estimate.

    Args:
        problem: what was measured, and how.
        prior: what images look like.
        sampler: the method, such as ``vision_xl()``.
        generator: the only source of chance; the same seed gives the same result.
        frames_at_once: frames in one call of the prior. More is faster where memory allows; the
            result is the same to rounding.
        observe: called with every step.

    Returns:
        The video, (frames, channels, height, width) in about [-1, 1], on the measurement's
        device and in its dtype, and the record of every step.

    Raises:
        InputError: the operator breaks its contract, or the measurement is not finite.
    """
    check_problem(problem)
    frugal = FrameByFrame(prior, frames_at_once)
    trace = []
    video = None
    for step in trajectory(problem, frugal, sampler, generator):
        video = step.corrected
        trace.append(step.record)
        if step.record.stopped.startswith("breakdown"):
            warnings.warn(f"step {step.record.index}: {step.record.stopped}", stacklevel=2)
        if observe is not None:
            observe(step)
        del step
    assert video is not None  # a sampler has at least one time
    return Restoration(video, tuple(trace))
