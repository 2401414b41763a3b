"""Checks of the outputs of a method's parts, at every step."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from visionxl.errors import InputError, name_of
from visionxl.memory import ran_out_of_memory
from visionxl.operators.finite import unsolved
from visionxl.operators.lifting import lift
from visionxl.protocols import (
    NOT_A_NUMBER,
    Correction,
    DataConsistency,
    InverseProblem,
    Latent,
    LatentPrior,
    NoiseLevel,
    NoiseSchedule,
    Video,
)
from visionxl.solvers.finite import check_finite
from visionxl.validators import left_alone


def check_answer(part: object, method: str, given: Tensor, answer: object) -> Tensor:
    """The answer of a part's method: a tensor of its argument's dtype, on its device."""
    if not isinstance(answer, Tensor):
        raise InputError(
            f"{name_of(part)}: {method} returned {type(answer).__name__}; make it return a tensor"
        )
    for name in ("dtype", "device"):
        expected, came = getattr(given, name), getattr(answer, name)
        if expected != came:
            raise InputError(
                f"{name_of(part)}: {method} returned {name} {came} for an argument of {expected}; "
                f"make it keep its argument's {name} (create constants with tensor.to(argument))"
            )
    return answer


def check_frames(prior: object, method: str, given: Tensor, answer: object) -> Tensor:
    """What a prior's method returned: a tensor of as many frames, of the same dtype and device."""
    checked = check_answer(prior, method, given, answer)
    if checked.ndim != 4 or len(checked) != len(given):
        raise InputError(
            f"{name_of(prior)}: {method} returned shape {tuple(checked.shape)} for {len(given)} "
            "frames; make it return four dimensions, the first one frames"
        )
    return checked


def corrected(
    consistency: DataConsistency, estimate: Video, problem: InverseProblem, level: NoiseLevel
) -> Correction:
    """A consistency's output: a finite video like the estimate, which must not be changed."""
    with left_alone(consistency, "correct", "estimate", estimate):
        correction: object = consistency.correct(estimate, problem, level)
    if not isinstance(correction, Correction):
        raise InputError(
            f"{name_of(consistency)}: correct returned {type(correction).__name__}; make it return "
            "Correction(video, iterations, residuals, stopped)"
        )
    video = check_answer(consistency, "correct", estimate, correction.video)
    if video.shape != estimate.shape:
        raise InputError(
            f"{name_of(consistency)}: correct returned a video of {tuple(video.shape)} for an "
            f"estimate of {tuple(estimate.shape)}; make it keep the shape"
        )
    check_finite("consistency", video)
    if correction.stopped == NOT_A_NUMBER:  # the solver kept what it had before
        raise unsolved(problem.operator, estimate)
    return correction


def check_decoded(prior: Any, initializer: object, problem: InverseProblem, decoded: Video) -> None:
    """Raise InputError if a prior decodes videos that do not fit operator and measurement."""
    expected, why = tuple(problem.measurement.shape), None
    try:
        measured = tuple(problem.operator.forward(decoded).shape)
        if measured == expected:
            return
        seen = f"turns that into {measured}, where the measurement has {expected}"
    except (RuntimeError, ValueError, IndexError) as error:
        if ran_out_of_memory(error):
            raise
        seen, why = f"cannot measure that ({error})", error
    frames = len(lift(problem.operator, problem.measurement))
    if len(decoded) != frames:
        raise wrong_count(initializer, len(decoded), frames) from why
    own = prior
    while hasattr(own, "prior") and type(own).__module__.startswith("visionxl.solvers"):
        own = own.prior  # and not FrameByFrame
    raise InputError(
        f"{name_of(own)}: decode returned shape {tuple(decoded.shape)} and "
        f"{name_of(problem.operator)} {seen}: make encode and decode keep height and width, and "
        "denoise the latents' shape (visionxl.testing.check_prior tests it); Padded(prior, ...) "
        "pads other sizes"
    ) from why


def wrong_count(initializer: object, found: int, expected: int) -> InputError:
    """The error for a start of too few or too many frames."""
    return InputError(
        f"initializer {name_of(initializer)}: start returned latents of {found} frames "
        f"for a video of {expected}; make it return as many, one per frame"
    )


def check_start(initializer: object, measurement: Tensor, latent: object) -> Latent:
    """The latents that an initializer returned, checked against the measurement."""
    if not isinstance(latent, Tensor) or latent.ndim != 4:
        what = tuple(latent.shape) if isinstance(latent, Tensor) else type(latent).__name__
        raise InputError(
            f"initializer {name_of(initializer)}: start returned {what}; make it return latents of "
            "4 dimensions, as prior.encode does, one per frame"
        )
    return check_finite("start", check_answer(initializer, "start", measurement, latent))


@contextmanager
def first_seen(initializer: object, latent: Latent) -> Iterator[None]:
    """Turns a RuntimeError of the first denoise into an InputError that names the initializer."""
    try:
        yield
    except RuntimeError as error:
        # A wrong shape is a plain one; the rest are others' or a device's.
        if type(error) is not RuntimeError or "memory" in str(error) or "CUDA" in str(error):
            raise
        raise InputError(
            f"initializer {name_of(initializer)}: start returned latents of {tuple(latent.shape)}, "
            f"and the prior's denoise raised {type(error).__name__} for them ({error}); make start "
            "return latents as prior.encode does, one per frame, or mend denoise"
        ) from error


def check_schedule(prior: LatentPrior) -> None:
    """Raise InputError for a prior whose ``schedule`` is not a noise schedule."""
    if isinstance(prior.schedule, type) or not isinstance(prior.schedule, NoiseSchedule):
        raise InputError(
            f"schedule of {name_of(prior)} is {name_of(prior.schedule)}: expected a value with "
            "level(time), such as visionxl.priors.DiscreteSchedule.stable_diffusion()"
        )


def check_first(level: NoiseLevel) -> None:
    """Raise InputError for a first level that is not a NoiseLevel, or is noise alone."""
    if not isinstance(level, NoiseLevel):
        raise InputError(
            f"the prior's schedule returned {type(level).__name__}: make its level(time) return "
            "NoiseLevel(time, signal, noise)"
        )
    if not level.signal > 0:
        raise InputError(
            f"time {level.time} is noise alone in the prior's schedule: begin nearer to the clean "
            "end, for instance at 0.9 (attrs.evolve(method, times=...)), or use a method that "
            "begins nearer to it, such as vision_tv"
        )


def check_same_shape(name: str, part: object, given: Tensor, answer: object) -> None:
    """Raise InputError where a low-pass or renoise does not keep shape, dtype and device."""
    checked = check_answer(part, name, given, answer)
    if checked.shape != given.shape:
        raise InputError(
            f"{name_of(part)}: {name} returned shape {tuple(checked.shape)} for an argument of "
            f"{tuple(given.shape)}; make it keep the shape"
        )
    check_finite(name, checked)
