"""Long videos in host memory, computed on a device some frames at a time.

The networks see a few frames at a time anyway. These values do the same for the rest of a step, so
that the device never holds a whole long video: :func:`hosted` puts them in place.
"""

from typing import Any

from attrs import evolve, frozen

from visionxl.init.inversion import CorrectedInversion
from visionxl.operators.cutting import goes_round, uncut
from visionxl.operators.factors import Factored
from visionxl.operators.reach import has_reach, reach_of
from visionxl.protocols import (
    DataConsistency,
    ForwardOperator,
    InverseProblem,
    NoiseLevel,
    Video,
)
from visionxl.solvers.consistency import ClosedForm, NoiseAware
from visionxl.solvers.hosted_closed_form import HostedClosedForm
from visionxl.solvers.hosted_operator import FRAMES, HostedOperator, chunks
from visionxl.solvers.loop import LowPass, Sampler
from visionxl.solvers.parts import ScheduledLowPass
from visionxl.solvers.pieces import check_pieces, is_own
from visionxl.solvers.placing import DEVICE_CONTEXT, DEVICE_CORE, ByWindow, WindowSize
from visionxl.solvers.shrinkage import MotionShrinkage
from visionxl.solvers.space_time import SpaceTimeTV
from visionxl.transfer import pinned, room

WINDOWED = (SpaceTimeTV, MotionShrinkage)  # couple distant frames little
EXACT = (NoiseAware, ClosedForm)  # in closed form where the operator has factors


@frozen
class HostedLowPass:
    """A low-pass that sees one frame at a time, computed on ``device``.

    Args:
        low_pass: ``(video, level) -> video``.
        device: such as ``cuda``.
    """

    low_pass: LowPass
    device: str

    def __call__(self, video: Video, level: NoiseLevel) -> Video:
        """The filtered video, where it was."""
        result = room(video, *video.shape)
        for chunk in chunks(len(video)):
            result[chunk] = self.low_pass(video[chunk].to(self.device), level)
        return result


def hosted(
    problem: InverseProblem, sampler: Sampler, device: str, core: int | WindowSize = DEVICE_CORE
) -> tuple[InverseProblem, Sampler]:
    """The same problem and method, for videos that stay in host memory, computed on a device.

    ``problem, sampler = hosted(problem, sampler, "cuda")``, then ``restore`` as usual; the prior
    moves frames to the networks. An exact consistency stays exact; total variation and shrinkage
    work in windows, by default of 25 frames. Parts without such a form (conjugate gradients, a
    user-defined consistency or low-pass) stay in host memory, with the operator on the device.

    Args:
        problem: with its measurement in host memory. Problem and method are returned unchanged if
            the operator's reach in time is not known, if it is not linear, or if it is that of a
            window that wraps around the ends of a circular clip.
        sampler: the method.
        device: such as ``cuda``, but not ``mps``, which lacks the float64 used for sums.
        core: frames kept of each window. The 7 on either side are computed twice, or more if the
            operator sees farther: larger windows are faster, and take more memory. If it
            runs out, they are halved; a :class:`WindowSize` reports it.
    """
    operator = uncut(problem.operator)[0]
    if not has_reach(operator) or not isinstance(operator, ForwardOperator):
        return problem, sampler
    if goes_round(problem.operator):
        return problem, sampler
    if is_own(operator):
        shape = problem.operator.adjoint(problem.measurement).shape
        check_pieces(operator, shape, problem.measurement)
    start, windows = sampler.initializer, WindowSize.of(core)
    if isinstance(start, CorrectedInversion):
        start = evolve(start, consistency=_hosted(start.consistency, problem, device, windows))
    low_pass = sampler.low_pass
    if isinstance(low_pass, ScheduledLowPass):
        low_pass = HostedLowPass(low_pass, device)
    consistency = _hosted(sampler.consistency, problem, device, windows)
    finish = _hosted(sampler.finish, problem, device, windows)
    method = evolve(
        sampler, consistency=consistency, initializer=start, low_pass=low_pass, finish=finish
    )
    measurement = pinned(problem.measurement)  # it goes to the device more than once a step
    there = HostedOperator(problem.operator, device)
    return evolve(problem, operator=there, measurement=measurement), method


def frames_together(sampler: Sampler, operator: object) -> int:
    """The most frames that the consistency of a hosted method has on the device at once.

    If it works in windows, their core is taken to be ``DEVICE_CORE``.
    """
    if not has_reach(operator):  # then nothing is hosted
        return 0
    if not in_windows(sampler):
        return FRAMES
    return DEVICE_CORE + 2 * max(DEVICE_CONTEXT, reach_of(operator).frames)


def in_windows(sampler: Sampler) -> bool:
    """Whether a hosted method works in windows of frames."""
    return any(isinstance(part, WINDOWED) for part in _consistencies(sampler))


def keeps_modes(sampler: Sampler) -> bool:
    """Whether a hosted method may keep two videos' modes of a channel on the device."""
    return any(isinstance(part, EXACT) for part in _consistencies(sampler))


def _consistencies(sampler: Sampler) -> list[DataConsistency | None]:
    start = sampler.initializer
    first = [start.consistency] if isinstance(start, CorrectedInversion) else []
    return [*first, sampler.consistency, sampler.finish]


def _hosted(part: Any, problem: InverseProblem, device: str, windows: WindowSize) -> Any:
    if isinstance(part, WINDOWED):
        return ByWindow(part, device, windows)
    if isinstance(part, EXACT) and isinstance(problem.operator, Factored):
        return HostedClosedForm(part, device)
    return part
