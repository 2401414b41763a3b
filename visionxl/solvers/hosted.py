"""Long videos in host memory, computed on a device some frames at a time.

The networks see a few frames at a time anyway. These values do the same for the rest of a step, so
that a device holds no long video whole: :func:`hosted` puts them in place.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from attrs import evolve, frozen
from torch import Tensor

from visionxl.errors import InputError
from visionxl.init.inversion import CorrectedInversion
from visionxl.operators.cutting import operator_at, uncut
from visionxl.operators.factors import Factored, Factors, Shape, factors_of
from visionxl.operators.lifting import lift
from visionxl.operators.reach import reach_of
from visionxl.protocols import (
    Correction,
    DataConsistency,
    ForwardOperator,
    InverseProblem,
    Measurement,
    NoiseLevel,
    Video,
)
from visionxl.solvers.closed_form import AxisSVD, ClosedForm
from visionxl.solvers.consistency import NoiseAware
from visionxl.solvers.loop import LowPass, Sampler
from visionxl.solvers.modes import Modes
from visionxl.solvers.parts import ScheduledLowPass
from visionxl.solvers.placing import DEVICE_CONTEXT, DEVICE_CORE, ByWindow
from visionxl.solvers.shrinkage import MotionShrinkage
from visionxl.solvers.space_time import SpaceTimeTV
from visionxl.solvers.spread import damping_of
from visionxl.solvers.windows import frames_of
from visionxl.transfer import moved, room

FRAMES = 8  # at once, of what sees one frame at a time
STRIP = 2**21  # values at once, of what sees all frames
MODES_KEPT = 200 * 768 * 1280  # values of a video's modes that stay on the device: 0.8 GB, twice
WINDOWED = (SpaceTimeTV, MotionShrinkage)  # couple distant frames little
EXACT = (NoiseAware, ClosedForm)  # in closed form where the operator has factors


def chunks(frames: int, size: int = FRAMES) -> Iterator[slice]:
    """``0:size``, ``size:2 size`` and so on."""
    return (slice(first, min(first + size, frames)) for first in range(0, frames, size))


@frozen
class HostedOperator:
    """An operator that is computed on ``device``, some frames at a time, for videos elsewhere.

    The result is the operator's: each piece has all the frames that it sees. Where the operator is
    circular, the piece goes round.

    Args:
        operator: whose reach in time is known (:func:`~visionxl.operators.reach.reach_of`), or
            that of a window, with its cut.
        device: such as ``cuda``.
    """

    operator: Any
    device: str

    def forward(self, video: Video) -> Measurement:
        cut = uncut(self.operator)[1]
        count = len(video) if cut is None else cut.stop - cut.first
        return _together(self.pieces(video), count, video)

    def adjoint(self, measurement: Measurement) -> Video:
        operator, cut = uncut(self.operator)
        if cut is not None:
            measurement = cut.adjoint(measurement)
        # Twice the reach: frames within one of a cut see a border that is none.
        context = 2 * reach_of(operator).frames
        pieces = self._pieces(lambda part, y: part.adjoint(y), measurement, context)
        return _together(pieces, len(measurement), measurement)

    def lift(self, measurement: Measurement) -> Video:
        return lift(self.operator, measurement)

    def factors(self, shape: Shape) -> Factors | None:
        return factors_of(self.operator, shape)

    def pieces(self, video: Video) -> Iterator[tuple[slice, Measurement]]:
        """Which frames of the measurement, and they, on the device."""
        operator, cut = uncut(self.operator)
        first, stop = (0, len(video)) if cut is None else (cut.first, cut.stop)
        context = reach_of(operator).frames
        for core, piece in self._pieces(lambda part, x: part.forward(x), video, context):
            begin, end = max(core.start, first), min(core.stop, stop)
            if begin < end:
                yield slice(begin - first, end - first), piece[begin - core.start :][: end - begin]

    def _pieces(self, action: Any, frames: Tensor, context: int) -> Iterator[tuple[slice, Tensor]]:
        operator = uncut(self.operator)[0]
        count, circular = len(frames), reach_of(operator).circular
        if count <= FRAMES + 2 * context:
            yield slice(0, count), action(operator, frames.to(self.device))
            return
        for core in chunks(count):
            begin, end = core.start - context, core.stop + context
            if not circular:
                begin, end = max(begin, 0), min(end, count)
            part = operator_at(operator, [t % count for t in range(begin, end)], count)
            piece = action(part, frames_of(frames, begin, end).to(self.device))
            yield core, piece[core.start - begin : core.stop - begin]


def _together(pieces: Iterator[tuple[slice, Tensor]], count: int, like: Tensor) -> Tensor:
    """The pieces of ``count`` frames, where ``like`` is."""
    result = None
    for frames, piece in pieces:
        if len(piece) == count:
            return moved(piece, like)
        if result is None:
            result = room(like, count, *piece.shape[1:])
        result[frames] = piece
    assert result is not None  # there is at least one frame
    return result


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


@frozen
class HostedClosedForm:
    """:class:`ClosedForm` on ``device``: the axes of frames some frames at a time, time in strips.

    The result is that of :class:`ClosedForm` to rounding, but for modes too weak for float32
    (:class:`Modes`), which tell at high noise levels. No long video is on the device as a whole:
    where the operator leaves colours alone, the modes of one channel at a time are; those of more
    than ``MODES_KEPT`` values stay in host memory.

    Args:
        exact: to compute.
        device: such as ``cuda``.
        otherwise: asked where the operator has no factors, with the operator on the device.
    """

    exact: ClosedForm
    device: str
    otherwise: DataConsistency

    def correct(self, estimate: Video, problem: InverseProblem, level: NoiseLevel) -> Correction:
        modes = Modes.of(problem.operator, estimate)
        if modes is None:
            there = evolve(problem, operator=HostedOperator(problem.operator, self.device))
            return self.otherwise.correct(estimate, there, level)
        modes = _placed(modes, self.device)
        damping = damping_of(problem, level, self.exact.spread, self.exact.least_noise)
        video = room(estimate, *estimate.shape)
        if modes.axes[1] is None:
            parts = [(modes.of_channel(c), slice(c, c + 1)) for c in range(estimate.shape[1])]
        else:
            parts = [(modes, slice(None))]
        for part, channels in parts:
            seen = self._gathered(Modes.measured, part, problem.measurement[:, channels])
            known = self._gathered(Modes.analyse, part, estimate[:, channels])
            found = self._solve(part, seen, known, damping)
            del seen, known
            for chunk in chunks(len(video)):
                frames = self._copy(estimate[chunk, channels])
                part_of = self._of_frames(part, chunk)
                corrected = part_of.add_synthesis(frames, found[chunk].to(frames))
                for target, frame in zip(video[chunk, channels], corrected, strict=True):
                    target.copy_(frame)
            del found
        return Correction(video, iterations=0, residuals=(), stopped="exact")

    def _solve(self, modes: Modes, seen: Tensor, known: Tensor, damping: float) -> Tensor:
        """``V^T (x - x0)`` from ``U^T y`` and ``V^T x0``, into the memory of the latter."""
        plane = _plane_values(modes, known).to(self.device)
        time, flat_seen, flat = modes.axes[0], seen.flatten(1), known.flatten(1)
        places = max(1, STRIP // len(flat))
        for first in range(0, flat.shape[1], places):
            strip = slice(first, first + places)
            y, x = (v[:, strip].to(self.device) for v in (flat_seen, flat))
            gain = plane[strip]
            if time is not None:
                y, x, gain = time.left.T @ y, time.right.T @ x, time.values[:, None] * gain
            y = torch.addcmul(y, gain, x, value=-1).mul_(gain / (gain.square() + damping))
            flat[:, strip] = y if time is None else time.right @ y
        return flat.view(known.shape)

    def _gathered(
        self, action: Callable[[Modes, Tensor], Tensor], modes: Modes, frames: Tensor
    ) -> Tensor:
        """``action`` on the frames, but for time, together on the device or, if too many, where
        they are."""
        result = None
        for chunk in chunks(len(frames)):
            piece = action(self._of_frames(modes, chunk), self._copy(frames[chunk]))
            if result is None:
                shape = (len(frames), *piece.shape[1:])
                result = room(piece if math.prod(shape) <= MODES_KEPT else frames, *shape)
            result[chunk] = piece
        assert result is not None  # there is at least one frame
        return result

    def _of_frames(self, modes: Modes, chunk: slice) -> Modes:
        """The modes of some frames, each by itself, with their mask on the device."""
        mask = modes.mask
        if mask is not None:
            mask = (mask[chunk] if len(mask) > 1 else mask).to(self.device)
        return evolve(modes, axes=(None, *modes.axes[1:]), mask=mask)

    def _copy(self, frames: Tensor) -> Tensor:
        """Frames on the device, frame by frame: each is in one piece, of all channels or of one."""
        there = frames.new_empty(frames.shape, device=self.device)
        for target, frame in zip(there, frames, strict=True):
            target.copy_(frame)
        return there


def _placed(modes: Modes, device: str) -> Modes:
    """The modes on a device, but for their mask, which may be as long as the video."""
    axes = tuple(
        None if svd is None else AxisSVD(*(t.to(device) for t in (svd.left, svd.values, svd.right)))
        for svd in modes.axes
    )
    return evolve(modes, axes=axes, values=modes.values.to(device))


def _plane_values(modes: Modes, like: Tensor) -> Tensor:
    """The singular values of a frame, flat."""
    values = modes.values.new_ones(like.shape[1:])
    for axis, svd in enumerate(modes.axes[1:]):
        if svd is not None:
            values = values * svd.values.view([-1 if i == axis else 1 for i in range(3)])
    return values.flatten()


@frozen
class _Plain:
    """A consistency that is asked with the operator itself."""

    consistency: DataConsistency

    def correct(self, estimate: Video, problem: InverseProblem, level: NoiseLevel) -> Correction:
        operator = problem.operator
        plain = operator.operator if isinstance(operator, HostedOperator) else operator
        return self.consistency.correct(estimate, evolve(problem, operator=plain), level)


def hosted(
    problem: InverseProblem, sampler: Sampler, device: str, core: int = DEVICE_CORE
) -> tuple[InverseProblem, Sampler]:
    """The same problem and method, for videos that stay in host memory, computed on a device.

    ``problem, sampler = hosted(problem, sampler, "cuda")``, and then ``restore`` as ever; frames go
    to the networks by the prior. An exact consistency stays exact; total variation and shrinkage
    work in windows, by default of 25 frames. What has no such form (conjugate gradients, a
    consistency or a low-pass of one's own) stays in host memory, with the operator on the device.

    Args:
        problem: with its measurement in host memory. An operator whose reach in time is not known
            is left alone, and so is all consistency; likewise one that is not linear, and that of
            a window that goes round the ends of a circular clip.
        sampler: the method.
        device: such as ``cuda``, but not ``mps``: it has no float64, in which sums are taken.
        core: frames of a window that are kept. The 7 on either side are computed twice, or more,
            where the operator sees farther: larger windows are faster, and take more memory.
    """
    operator, cut = uncut(problem.operator)
    try:
        reach_of(operator)
    except InputError:
        return problem, sampler
    goes_round = cut is not None and cut.stop > cut.frames
    if goes_round or not isinstance(operator, ForwardOperator):
        return problem, sampler
    start = sampler.initializer
    if isinstance(start, CorrectedInversion):
        start = evolve(start, consistency=_hosted(start.consistency, problem, device, core))
    low_pass = sampler.low_pass
    if isinstance(low_pass, ScheduledLowPass):
        low_pass = HostedLowPass(low_pass, device)
    consistency = _hosted(sampler.consistency, problem, device, core)
    finish = sampler.finish
    if finish is not None:
        finish = _hosted(finish, problem, device, core)
    method = evolve(
        sampler, consistency=consistency, initializer=start, low_pass=low_pass, finish=finish
    )
    return evolve(problem, operator=HostedOperator(problem.operator, device)), method


def frames_together(sampler: Sampler, operator: object) -> int:
    """The most frames that the consistency of a hosted method has on the device at once.

    Where it works in windows their core counts as ``DEVICE_CORE``.
    """
    try:
        reach = reach_of(operator).frames
    except InputError:  # then nothing is hosted
        return 0
    return DEVICE_CORE + 2 * max(DEVICE_CONTEXT, reach) if in_windows(sampler) else FRAMES


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


def _hosted(
    consistency: DataConsistency, problem: InverseProblem, device: str, core: int
) -> DataConsistency:
    if isinstance(consistency, WINDOWED):
        return _Plain(ByWindow(consistency, device, core))
    if isinstance(consistency, EXACT) and isinstance(problem.operator, Factored):
        exact = ClosedForm(consistency.spread, consistency.least_noise)
        return _Plain(HostedClosedForm(exact, device, otherwise=consistency))
    return consistency
