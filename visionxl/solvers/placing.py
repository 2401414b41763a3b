"""Consistency on another device than the videos, by channels and by windows of frames."""

import torch
from attrs import frozen

from visionxl.errors import InputError
from visionxl.operators.factors import factors_of
from visionxl.protocols import Correction, DataConsistency, InverseProblem, NoiseLevel, Video
from visionxl.solvers.windows import least_context, windows_of
from visionxl.transfer import moved, room

# Frames of a window of the total variation that are kept, and those on each side. Together they are
# 25: so many of 768x1280 fit into 9 GB beside the weights of SDXL.
CORE, CONTEXT = 11, 7


@frozen
class OnDevice:
    """``consistency`` computed on ``device``, for videos that are kept elsewhere.

    The videos come back to where they were, so the device holds them only meanwhile.

    Args:
        consistency: to compute there.
        device: such as ``cuda``.
    """

    consistency: DataConsistency
    device: str

    def correct(self, estimate: Video, problem: InverseProblem, level: NoiseLevel) -> Correction:
        there = InverseProblem(
            problem.operator, problem.measurement.to(self.device), problem.noise_std
        )
        found = self.consistency.correct(estimate.to(self.device), there, level)
        video = moved(found.video, estimate)
        return Correction(video, found.iterations, found.residuals, found.stopped)


@frozen
class ByChannel:
    """``consistency`` asked one colour channel at a time: a third of its memory.

    The answer is the same to rounding where the operator leaves channels alone and the
    consistency has a closed form (``ClosedForm``, ``NoiseAware``). An iterative one is exact as
    well, but stops for each channel by itself. Total variation couples the colours, so
    ``SpaceTimeTV`` is another method channel by channel.

    Args:
        consistency: to ask.
    """

    consistency: DataConsistency

    def correct(self, estimate: Video, problem: InverseProblem, level: NoiseLevel) -> Correction:
        operator, measurement = problem.operator, problem.measurement
        frames, channels, height, width = estimate.shape
        factors = factors_of(operator, (frames, channels, height, width))
        masked = factors is not None and factors.mask is not None and factors.mask.shape[1] > 1
        if factors is None or factors.axes[1] is not None or masked:
            raise InputError(
                f"ByChannel needs an operator whose factors leave the channels alone, and "
                f"{operator!r} is none: use the consistency without ByChannel"
            )
        video, found = torch.empty_like(estimate), []
        for c in range(channels):
            one = slice(c, c + 1)
            part = InverseProblem(operator, measurement[:, one].contiguous(), problem.noise_std)
            answer = self.consistency.correct(estimate[:, one].contiguous(), part, level)
            video[:, one] = answer.video
            found.append((answer.iterations, answer.residuals, answer.stopped))
            del part, answer
        return Correction(video, *max(found, key=lambda told: told[0]))


@frozen
class ByWindow:
    """``consistency`` on ``device``, a window of frames at a time.

    Of a window the core is kept; the frames around it are computed twice. A clip that is not longer
    than a window is computed whole. For a consistency that couples distant frames little, as
    :class:`SpaceTimeTV` does; the operator's reach in time has to be known.

    Args:
        consistency: to ask.
        device: such as ``cuda``.
        core: frames of a window that are kept.
        context: frames on each side of it.
    """

    consistency: DataConsistency
    device: str
    core: int = CORE
    context: int = CONTEXT

    def correct(self, estimate: Video, problem: InverseProblem, level: NoiseLevel) -> Correction:
        operator, there = problem.operator, OnDevice(self.consistency, self.device)
        video, found = room(estimate, *estimate.shape), []
        context = max(self.context, least_context(operator))
        for window in windows_of(operator, len(video), self.core, context):
            part = window.problem(operator, problem.measurement, problem.noise_std)
            answer = there.correct(window.cut(estimate), part, level)
            video[window.first : window.stop] = window.core(answer.video)
            found.append((answer.iterations, answer.residuals, answer.stopped))
            del part, answer
        return Correction(video, *max(found, key=lambda told: told[0]))
