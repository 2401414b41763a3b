"""Windows of a clip: overlapping runs of frames, each a separate inverse problem.

The problem is exact: its video is some consecutive frames of the clip, its measurement the frames
of the clip's measurement that see no others. Only the core of its result is kept; the context
around it is restored a second time by the neighbouring windows.
"""

import math
from abc import abstractmethod
from numbers import Integral
from typing import Protocol, runtime_checkable

import torch
from attrs import evolve, field, frozen
from jaxtyping import Float
from torch import Tensor

from visionxl.errors import InputError, name_of
from visionxl.operators.cutting import KeepFrames, goes_round, operator_at, uncut
from visionxl.operators.reach import Reach, reach_of
from visionxl.protocols import (
    ForwardOperator,
    InverseProblem,
    Video,
    check_noise_std,
)
from visionxl.validators import check_count

CORE = 48
CONTEXT = 80  # if the operator couples frames, and through it the equations many more
NEAR = 24  # if only a consistency couples frames
LATER = 0.4  # the share of it that is enough once there are estimates of all frames


@runtime_checkable
class FrameSource(Protocol):
    """A measurement that is read some frames at a time, such as a tensor."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, frames: slice, /) -> Tensor:
        """The frames ``first:stop``, both given and inside, as floating point numbers."""
        ...


@frozen
class Window:
    """Some consecutive frames of a clip.

    Frames are counted from the clip's first. In a clip that is circular in time, negative numbers
    mean its last frames. The window's video holds its frames in the order of the clip, so a window
    that wraps around begins with frame 0: time is cut where the clip is cut, and the join of frames
    that are not consecutive is as far as possible from the core.

    Args:
        frames: of the clip.
        first: frame of the core.
        stop: the frame after the core.
        begin: first frame of the window, with its context.
        end: the frame after the window.
        measured: (first, stop) of the measured frames that see only the window's frames; ``stop``
            is excluded.
    """

    frames: int
    first: int
    stop: int
    begin: int
    end: int
    measured: tuple[int, int]

    def problem(
        self, operator: ForwardOperator, measurement: FrameSource, noise_std: float
    ) -> InverseProblem:
        """The window's own problem.

        Args:
            operator: of the clip; with its cut where the clip is itself a window.
            measurement: of the clip.
            noise_std: of the measurement.
        """
        operator, cut = uncut(operator)
        first, stop = self.measured
        missing = 0 if cut is None else cut.first  # of the measurement, before its first frame
        seen = frames_of(measurement, first - missing, stop - missing)
        if self.size != self.frames:
            own = sorted(t % self.frames for t in range(self.begin, self.end))
            operator = operator_at(operator, own, self.frames)
        if stop - first < self.size:
            place = self.place(first)
            operator = KeepFrames(place, place + stop - first, self.size) @ operator
        return InverseProblem(operator, seen, noise_std)

    @property
    def size(self) -> int:
        """Its frames, with the context."""
        return self.end - self.begin

    def place(self, frame: int) -> int:
        """Where a frame of the clip lies in the window's video."""
        if self.begin < 0:
            return frame % self.size
        beyond = self.end > self.frames
        return (frame - (self.frames if beyond else self.begin)) % self.size

    def cut(self, video: FrameSource) -> Video:
        """The window's frames of a video of the clip."""
        return self.ordered(frames_of(video, self.begin, self.end))

    def ordered(self, frames: Tensor) -> Tensor:
        """Frames from ``begin`` to ``end``, in the order that the window's video has them."""
        return frames.roll(-self._ahead, 0) if self._ahead else frames

    def in_turn(self, video: Tensor) -> Tensor:
        """The frames of the window's video from ``begin`` to ``end``: undoes ``ordered``."""
        return video.roll(self._ahead, 0) if self._ahead else video

    @property
    def _ahead(self) -> int:
        """How many of the frames from ``begin`` on are before the clip's first."""
        if self.begin < 0:
            return -self.begin
        return self.frames - self.begin if self.end > self.frames else 0

    def core(self, video: Video) -> Float[Tensor, "core channels height width"]:
        """The core of a video of the window."""
        place = self.place(self.first)
        return video[place : place + self.stop - self.first]


def least_context(operator: object) -> int:
    """Frames that a window needs on each side of its core: those that the operator sees.

    Twice as many if a window is cut again, whose outermost frames have no measurement.
    """
    operator, cut = uncut(operator)
    return reach_of(operator).frames * (1 if cut is None else 2)


def enough_context(operator: object) -> int:
    """Frames on each side of a core that suffice for invisible seams.

    ``CONTEXT`` or the operator's reach if it couples frames, ``NEAR`` if it does not.
    """
    least = least_context(operator)
    return max(CONTEXT, least) if least else NEAR


def windows_of(
    operator: object, frames: int, core: int = CORE, context: int | None = None
) -> tuple[Window, ...]:
    """The windows of a clip, their cores one after another.

    A clip that is not longer than a window is a single window, without any cut.

    Args:
        operator: of the clip, or of a window that is to be cut again, unless that wraps around the
            ends of the clip. Raises InputError for an operator that cannot be cut.
        frames: of the clip.
        core: frames kept of each window; the last may keep fewer.
        context: frames on each side that a consistency also sees, so that the ends of the window do
            not affect the core; None for as many as are enough (:func:`enough_context`). That is in
            the start: the steps take ``LATER`` times as many. At the ends of a clip that is not
            circular there are none.
    """
    check_count("core", core)
    if not isinstance(frames, Integral) or isinstance(frames, bool):
        raise InputError(f"frames {frames!r} is not a whole number")
    if context is not None and (not isinstance(context, Integral) or isinstance(context, bool)):
        raise InputError(f"context {context!r} is not a whole number, or None")
    least = least_context(operator)
    context = enough_context(operator) if context is None else context
    if goes_round(operator):
        raise InputError(
            f"{operator!r} goes round the ends of a clip, and cannot be cut into windows again"
        )
    operator, cut = uncut(operator)
    reach, seen = reach_of(operator), (0, frames)
    if cut is not None:  # what it keeps sees none of the window's ends: time does not go round
        reach, seen = Reach(reach.frames), (cut.first, cut.stop)
    if context < least or frames < 1:
        raise InputError(
            f"frames {frames}, context {context}: expected at least 1 frame, and a context of at "
            f"least {least}, because the operator's reach is {reach.frames}"
        )
    if frames <= core + 2 * context:
        return (Window(frames, 0, frames, 0, frames, seen),)
    windows = []
    for first in range(0, frames, core):
        stop = min(first + core, frames)
        begin, end = first - context, stop + context
        if not reach.circular:
            begin, end = max(begin, 0), min(end, frames)
        starts = begin if begin == 0 and not reach.circular else begin + reach.frames
        ends = end if end == frames and not reach.circular else end - reach.frames
        if cut is not None:
            starts, ends = max(starts, seen[0]), min(ends, seen[1])
        windows.append(Window(frames, first, stop, begin, end, (starts, ends)))
    return tuple(windows)


@frozen(eq=False)
class LongProblem:
    """A clip's inverse problem, cut into windows.

    Args:
        operator: of the clip.
        measurement: of the clip: a tensor, or a source that reads its frames when they are needed.
        noise_std: of the measurement.
        windows: of :func:`windows_of`, for ``len(measurement)`` frames.
        device: where the windows' videos are; None for where the measurement's frames are.
    """

    operator: ForwardOperator
    measurement: FrameSource = field(repr=lambda m: f"<{len(m)} frames>")
    noise_std: float
    windows: tuple[Window, ...] = field(repr=lambda w: f"<{len(w)} windows>")
    device: str | torch.device | None = None

    def __attrs_post_init__(self) -> None:
        check_noise_std(self.noise_std)
        if uncut(self.operator)[1] is not None:
            raise InputError(
                f"operator {name_of(self.operator)} does not measure a clip's first or last "
                "frames: give the clip's own operator and the whole measurement"
            )
        frames = len(self.measurement)
        if not self.windows or self.windows[0].frames != frames:
            found = self.windows[0].frames if self.windows else 0
            raise InputError(
                f"windows are for {found} frames and the measurement has {frames}: make them with "
                f"windows_of(operator, {frames}), or use LongProblem.of"
            )

    @classmethod
    def of(
        cls,
        operator: ForwardOperator,
        measurement: FrameSource,
        noise_std: float,
        core: int = CORE,
        context: int | None = None,
    ) -> "LongProblem":
        """The problem with the windows of :func:`windows_of`."""
        windows = windows_of(operator, len(measurement), core, context)
        return cls(operator, measurement, noise_std, windows)

    def problem(self, window: Window) -> InverseProblem:
        """A window's own problem."""
        problem = window.problem(self.operator, self.measurement, self.noise_std)
        there = problem.measurement if self.device is None else self.device
        return evolve(problem, measurement=problem.measurement.to(there))


def later_windows(problem: LongProblem) -> tuple[Window, ...]:
    """The windows of the steps, which see fewer frames around their cores than those of the start.

    There are estimates of all frames, and a consistency that uses them couples frames less.
    """
    first = problem.windows[0]
    if len(problem.windows) == 1:
        return problem.windows
    context = max(math.ceil(LATER * (first.end - first.stop)), least_context(problem.operator))
    later = windows_of(problem.operator, first.frames, first.stop, context)
    if [(w.first, w.stop) for w in later] != [(w.first, w.stop) for w in problem.windows]:
        raise InputError(
            f"windows have the cores {[(w.first, w.stop) for w in problem.windows]}: expected all "
            "frames in order, as many in each; make them with windows_of, or use LongProblem.of"
        )
    return later


def frames_of(source: FrameSource, first: int, stop: int, device: str | None = None) -> Tensor:
    """The frames ``first:stop`` of a circular clip, at most once around, on ``device`` or where
    they are."""
    frames, parts = len(source), []
    while first < stop:
        here = first % frames
        there = min(here + stop - first, frames)
        part = source[here:there]
        # Put together there: in host memory it would be in memory that is not pinned.
        parts.append(part if device is None else part.to(device))
        first += there - here
    return parts[0] if len(parts) == 1 else torch.cat(parts)
