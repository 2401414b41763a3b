"""Consistency on another device than the videos, by windows of frames."""

import warnings
from collections.abc import Callable

import torch
from attrs import define, evolve, field, frozen

from visionxl.memory import ran_out_of_memory
from visionxl.protocols import Correction, DataConsistency, InverseProblem, NoiseLevel, Video
from visionxl.solvers.hosted_operator import unhosted
from visionxl.solvers.windows import least_context, windows_of
from visionxl.transfer import room

# Frames of a window of the total variation that are kept, at least, and those on each side.
# Together they are 25: so many of 768x1280 fit into 9 GB beside the weights of SDXL.
DEVICE_CORE, DEVICE_CONTEXT = 11, 7


def _warn(sentence: str) -> None:
    warnings.warn(sentence, stacklevel=4)


@define(eq=False)
class WindowSize:
    """How many frames each window keeps.

    The number is halved, for the rest of the run, each time the device's memory runs out. Several
    consistencies of a run may share one ``WindowSize``.

    Args:
        core: the frames.
        tell: called with a sentence each time the number is halved; by default a warning.
    """

    core: int
    tell: Callable[[str], object] = _warn

    @classmethod
    def of(cls, core: "int | WindowSize") -> "WindowSize":
        return core if isinstance(core, WindowSize) else cls(core)


@frozen
class ByWindow:
    """``consistency`` on ``device``, a window of frames at a time.

    Only the core of a window is kept; the frames around it are computed twice. A clip that is not
    longer than a window is computed whole. For a consistency that couples distant frames weakly, as
    :class:`SpaceTimeTV` does; the operator's reach in time has to be known.

    Args:
        consistency: to apply.
        device: such as ``cuda``.
        core: frames kept of each window, or a :class:`WindowSize` that several share. If the
            device's memory runs out it is halved, down to ``DEVICE_CORE``.
        context: frames on each side of it, or more if the operator sees farther.
    """

    consistency: DataConsistency
    device: str
    core: WindowSize = field(
        factory=lambda: WindowSize(DEVICE_CORE), converter=WindowSize.of, eq=False
    )
    context: int = DEVICE_CONTEXT

    @property
    def fits_noise(self) -> bool:
        return getattr(self.consistency, "fits_noise", False)

    def correct(self, estimate: Video, problem: InverseProblem, level: NoiseLevel) -> Correction:
        while True:
            core = self.core.core
            try:
                return self._correct(core, estimate, problem, level)
            except (RuntimeError, MemoryError) as error:
                if core <= DEVICE_CORE or not ran_out_of_memory(error):
                    raise
            # Only here is the error gone, and with it the tensors that its frames held.
            torch.cuda.empty_cache()
            self.core.core = smaller = max(core // 2, DEVICE_CORE)
            self.core.tell(f"memory ran out with windows of {core} frames: went on with {smaller}")

    def _correct(
        self, core: int, estimate: Video, problem: InverseProblem, level: NoiseLevel
    ) -> Correction:
        operator, measured = unhosted(problem.operator), problem.measurement
        video, found = room(estimate, *estimate.shape), []
        context = max(self.context, least_context(operator))
        for window in windows_of(operator, len(video), core, context):
            part = window.problem(operator, measured, problem.noise_std)
            part = evolve(part, measurement=part.measurement.to(self.device))
            there = window.cut(estimate).to(self.device)
            answer = self.consistency.correct(there, part, level)
            video[window.first : window.stop] = window.core(answer.video)
            found.append(evolve(answer, video=video))
            del part, there, answer
        # Of the one that took longest; a breakdown in any window is the clip's.
        return max(found, key=lambda one: (one.broke_down, one.iterations))
