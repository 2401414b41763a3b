"""An operator on a device, for videos in host memory."""

from collections.abc import Iterator
from typing import Any

from attrs import frozen
from torch import Tensor

from visionxl.operators.cutting import operator_at, uncut
from visionxl.operators.factors import Factors, Shape, factors_of
from visionxl.operators.lifting import lift
from visionxl.operators.reach import has_reach, reach_of
from visionxl.protocols import Measurement, Video
from visionxl.solvers.windows import FrameSource, frames_of
from visionxl.transfer import moved, room

FRAMES = 8  # at once, of what sees one frame at a time


def chunks(frames: int) -> Iterator[slice]:
    """``0:FRAMES``, ``FRAMES:2 FRAMES`` and so on."""
    return (slice(first, min(first + FRAMES, frames)) for first in range(0, frames, FRAMES))


def pieces_of(operator: Any, video: FrameSource) -> Iterator[tuple[slice, Measurement]]:
    """Yields slices of the measurement's frames, and these frames measured.

    A few frames at a time if the operator can be cut in time, otherwise all together.

    Args:
        operator: linear or not.
        video: in host memory, or where its frames are read.
    """
    if has_reach(uncut(operator)[0]):
        yield from HostedOperator(operator, "cpu").pieces(video)
        return
    measurement = operator.forward(video[0 : len(video)])
    yield slice(0, len(measurement)), measurement


@frozen
class HostedOperator:
    """An operator that is computed on ``device``, some frames at a time, for videos elsewhere.

    The result is the operator's: each piece has all the frames that it sees. If the operator is
    circular, pieces wrap around.

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

    def pieces(self, video: FrameSource) -> Iterator[tuple[slice, Measurement]]:
        """Yields slices of the measurement's frames, and these frames measured, on the device.

        Args:
            video: all of it, or where its frames are read.
        """
        operator, cut = uncut(self.operator)
        first, stop = (0, len(video)) if cut is None else (cut.first, cut.stop)
        context = reach_of(operator).frames
        for core, piece in self._pieces(lambda part, x: part.forward(x), video, context):
            for turn in (0, len(video)):  # a cut may go round
                begin, end = max(core.start + turn, first), min(core.stop + turn, stop)
                if begin < end:
                    seen = piece[begin - core.start - turn :][: end - begin]
                    yield slice(begin - first, end - first), seen

    def _pieces(
        self, action: Any, frames: FrameSource, context: int
    ) -> Iterator[tuple[slice, Tensor]]:
        operator = uncut(self.operator)[0]
        count, circular = len(frames), reach_of(operator).circular
        if count <= FRAMES + 2 * context:
            yield slice(0, count), action(operator, frames[0:count].to(self.device))
            return
        for core in chunks(count):
            begin, end = core.start - context, core.stop + context
            if not circular:
                begin, end = max(begin, 0), min(end, count)
            part = operator_at(operator, [t % count for t in range(begin, end)], count)
            piece = action(part, frames_of(frames, begin, end, self.device))
            yield core, piece[core.start - begin : core.stop - begin]


def unhosted(operator: Any) -> Any:
    """The operator itself, where it is computed on a device for videos elsewhere."""
    return operator.operator if isinstance(operator, HostedOperator) else operator


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
