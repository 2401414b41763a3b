"""The closed form on a device, for videos in host memory."""

import math
from collections.abc import Callable

import torch
from attrs import evolve, frozen
from torch import Tensor

from visionxl.protocols import Correction, InverseProblem, NoiseLevel, Video
from visionxl.solvers.consistency import ClosedForm, NoiseAware
from visionxl.solvers.decomposition import AxisSVD, least_damping
from visionxl.solvers.hosted_operator import chunks
from visionxl.solvers.modes import Modes
from visionxl.solvers.spread import damping_of
from visionxl.transfer import room

STRIP = 2**21  # values at once, where all frames are needed
MODES_KEPT = 200 * 768 * 1280  # most values of a video's modes kept on the device: 0.8 GB, twice


@frozen
class HostedClosedForm:
    """An exact consistency on ``device``: axes of a frame some frames at a time, time in strips.

    The result is that of ``consistency`` to rounding. No long video is on the device as a whole:
    if the operator does not mix colours, the modes (:class:`Modes`) of one channel at a time
    are; modes of more than ``MODES_KEPT`` values stay in host memory.

    Args:
        consistency: whose result is computed; used directly if the operator has no factors.
        device: such as ``cuda``.
    """

    consistency: ClosedForm | NoiseAware
    device: str

    def correct(self, estimate: Video, problem: InverseProblem, level: NoiseLevel) -> Correction:
        modes = Modes.of(problem.operator, estimate, weak=True)
        if modes is None:
            return self.consistency.correct(estimate, problem, level)
        modes = _placed(modes, self.device)
        damping = damping_of(problem, level, self.consistency.spread, self.consistency.least_noise)
        damping = max(damping, least_damping(modes.axes, estimate.dtype))
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
        within = evolve(modes, axes=(None, *modes.axes[1:]))  # a frame
        plane = within.values.expand(1, *known.shape[1:]).flatten()
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
        """``action`` within frames, not along time; the result is on the device or, if too large,
        where the frames are."""
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
        # No synchronization: what uses the copies is queued after them, and the sources stay as is.
        unwatched = torch.cuda.is_initialized() and frames.is_pinned()
        for target, frame in zip(there, frames, strict=True):
            target.copy_(frame, non_blocking=unwatched)
        return there


def _placed(modes: Modes, device: str) -> Modes:
    """The modes on a device, but for their mask, which may be as long as the video."""
    axes = tuple(
        None if svd is None else AxisSVD(*(t.to(device) for t in (svd.left, svd.values, svd.right)))
        for svd in modes.axes
    )
    return evolve(modes, axes=axes, unit=modes.unit.to(device))
