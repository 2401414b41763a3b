"""Clips of any length: overlapping windows of frames, each restored by itself.

A window is a problem of its own, and an exact one: its video is some consecutive frames of the
clip, its measurement the frames of the clip's measurement that see no others. Of its result only
the core is kept; the context around it is restored a second time by the windows beside it. All
windows draw the same noise, so that chance does not change from one to the next.
"""

import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, Protocol, runtime_checkable

import torch
from attrs import evolve, frozen
from jaxtyping import Float
from torch import Generator, Tensor

from visionxl.errors import InputError, name_of
from visionxl.init.inversion import BatchConsistentInversion
from visionxl.operators.cutting import KeepFrames, operator_at, uncut
from visionxl.operators.lifting import lift
from visionxl.operators.reach import Reach, reach_of
from visionxl.protocols import (
    ForwardOperator,
    InverseProblem,
    Latent,
    LatentPrior,
    State,
    Step,
    StepRecord,
    Video,
)
from visionxl.solvers.loop import Sampler, restore

CORE = 48
CONTEXT = 48

Place = Callable[[InverseProblem, Sampler], tuple[InverseProblem, Sampler]]
"""(problem, method) -> the same, computed somewhere else."""


@runtime_checkable
class FrameSource(Protocol):
    """A measurement that is read some frames at a time. A tensor is one."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, frames: slice, /) -> Tensor:
        """The frames ``first:stop``, both given and inside, as floating point numbers."""
        ...


@frozen
class Window:
    """Some consecutive frames of a clip.

    Frames are counted from the clip's first. In a clip that is circular in time those before the
    first, with negative numbers, are its last. The window's video holds its frames in the order of
    the clip, so one that goes round begins with frame 0: time is cut where the clip is cut, and the
    place where frames meet that do not follow one another is the farthest from the core.

    Args:
        frames: of the clip.
        first: frame of the core.
        stop: the frame after the core.
        begin: first frame of the window, with its context.
        end: the frame after the window.
        measured: (first, stop) of the measurement's frames that see the window's frames alone;
            ``stop`` is not among them.
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
        part = frames_of(video, self.begin, self.end)
        ahead = -self.begin if self.begin < 0 else max(0, self.frames - self.begin)
        return part.roll(-ahead, 0) if self.begin < 0 or self.end > self.frames else part

    def core(self, video: Video) -> Float[Tensor, "core channels height width"]:
        """The core of a video of the window."""
        place = self.place(self.first)
        return video[place : place + self.stop - self.first]


def least_context(operator: object) -> int:
    """Frames that a window needs on each side of its core: those that the operator sees.

    At the ends of a window that is cut again there are as many without a measurement.
    """
    operator, cut = uncut(operator)
    return reach_of(operator).frames * (1 if cut is None else 2)


def windows_of(
    operator: object, frames: int, core: int = CORE, context: int = CONTEXT
) -> tuple[Window, ...]:
    """The windows of a clip, their cores one after another.

    A clip that is not longer than a window is one window, without any cut.

    Args:
        operator: of the clip, or of a window that is to be cut again, unless that goes round the
            ends of the clip. Raises InputError for one that cannot be cut.
        frames: of the clip.
        core: frames of a window that are kept; the last may keep fewer.
        context: frames on each side that are restored as well, so that the core does not know
            where the window ends. At the ends of a clip that is not circular there are none.
    """
    least = least_context(operator)
    operator, cut = uncut(operator)
    reach, seen = reach_of(operator), (0, frames)
    if cut is not None:
        reach, seen = _cut_again(cut, reach)
    if core < 1 or context < least or frames < 1:
        raise InputError(
            f"frames {frames}, core {core}, context {context}: expected at least 1 frame, a core "
            f"of at least 1, and a context of at least {least}, for the operator's reach is "
            f"{reach.frames}"
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


def _cut_again(cut: KeepFrames, reach: Reach) -> tuple[Reach, tuple[int, int]]:
    """How far a window's operator sees, and which frames of its measurement there are.

    None of them sees the window's ends, so time does not go round.
    """
    if cut.stop > cut.frames:
        raise InputError(
            f"{cut!r} goes round the ends of a clip, and cannot be cut into windows again"
        )
    return Reach(reach.frames), (cut.first, cut.stop)


def frames_of(source: FrameSource, first: int, stop: int) -> Tensor:
    """The frames ``first:stop`` of a circular clip, at most one round."""
    frames, parts = len(source), []
    while first < stop:
        here = first % frames
        there = min(here + stop - first, frames)
        parts.append(source[here:there])
        first += there - here
    return parts[0] if len(parts) == 1 else torch.cat(parts)


@frozen(eq=False)
class CommonStart:
    """Every frame starts from the same latents, which are given.

    Args:
        latent: of one frame, at the first level.
        frames: of the video.
    """

    latent: Latent
    frames: int

    def start(
        self, problem: InverseProblem, prior: LatentPrior, levels: Any, generator: Generator
    ) -> Latent:
        return self.latent.expand(self.frames, -1, -1, -1)


def with_common_start(
    sampler: Sampler,
    windows: tuple[Window, ...],
    problem_of: Callable[[Window], InverseProblem],
    prior: LatentPrior,
) -> Callable[[Window], Sampler]:
    """The sampler of every window.

    It is the clip's own, but where all frames start from the latents of one
    (:class:`BatchConsistentInversion`): they are found once, in the window that has this frame.
    """
    initializer = sampler.initializer
    if len(windows) == 1 or not isinstance(initializer, BatchConsistentInversion):
        return lambda window: sampler
    frames = windows[0].frames
    if not -frames <= initializer.frame < frames:
        raise InputError(
            f"frame {initializer.frame} is not in the measurement: it has {frames} frames, 0 to "
            f"{frames - 1}"
        )
    frame = initializer.frame % frames
    holding = next(w for w in windows if w.first <= frame < w.stop)
    problem = problem_of(holding)
    levels = [prior.schedule.level(t) for t in sampler.times]
    there = BatchConsistentInversion(holding.place(frame))
    with torch.no_grad():
        conditioned = sampler.condition(prior, problem)
        latent = there.start(problem, conditioned, levels, Generator())[:1]
    return lambda window: evolve(sampler, initializer=CommonStart(latent, window.size))


@frozen(eq=False)
class RestoredWindow:
    """The core of a window, restored.

    Args:
        index: of the window.
        window: what part of the clip it is.
        video: of the core alone.
        trace: the record of every step of the window.
    """

    index: int
    window: Window
    video: Video
    trace: tuple[StepRecord, ...]


def restore_windows(
    operator: ForwardOperator,
    measurement: FrameSource,
    noise_std: float,
    prior: LatentPrior,
    sampler: Sampler,
    windows: tuple[Window, ...],
    *,
    generator: Generator,
    begin: int = 0,
    frames_at_once: int = 1,
    observe: Callable[[Step], object] | None = None,
    inner: LatentPrior | None = None,
    device: str | torch.device = "cpu",
    place: Place | None = None,
    state: State | None = None,
) -> Iterator[RestoredWindow]:
    """Restore a clip a window at a time, with the memory of a window.

    The result of a window depends on the measurement, the generator's state at the start and the
    window alone: what was interrupted goes on with ``begin``, to the same result. One window is
    exactly :func:`restore`.

    Args:
        operator: of the clip.
        measurement: of the clip: a tensor, or what reads its frames when they are asked for.
        noise_std: of the measurement.
        prior: what images look like.
        sampler: the method.
        windows: of :func:`windows_of`, for ``len(measurement)`` frames.
        generator: of the noise; every window begins with its present state, and it is left as
            it is.
        begin: index of the window to begin with.
        frames_at_once: frames in one call of the prior.
        observe: called with every step of every window.
        inner: a quicker prior for all steps but the last.
        device: where the windows' videos are.
        place: of each window's problem and method, to compute it elsewhere, such as
            ``partial(hosted, device="cuda")``.
        state: of an earlier run of window ``begin``, to go on from.

    Raises:
        InputError: as :func:`restore`; a sampler that draws noise for each frame by itself.
    """
    if windows[0].frames != len(measurement):
        raise InputError(
            f"windows are for {windows[0].frames} frames and the measurement has "
            f"{len(measurement)}: make them with windows_of(operator, {len(measurement)})"
        )
    if not 0 <= begin < len(windows):
        raise InputError(f"begin {begin}: there are the windows 0 to {len(windows) - 1}")
    if len(windows) > 1:
        check_shared(sampler)
    chance = generator.get_state()

    def problem_of(window: Window) -> InverseProblem:
        problem = window.problem(operator, measurement, noise_std)
        return evolve(problem, measurement=problem.measurement.to(device))

    if len(windows) > 1:
        _warn_unlike(operator, problem_of(windows[0]), len(measurement))
    sampler_of = with_common_start(sampler, windows, problem_of, prior)
    for index, window in enumerate(windows[begin:], begin):
        own = Generator(generator.device)
        problem, method = problem_of(window), sampler_of(window)
        if place is not None:
            problem, method = place(problem, method)
        restored = restore(
            problem,
            prior,
            method,
            generator=own.set_state(chance),
            frames_at_once=frames_at_once,
            observe=observe,
            inner=inner,
            state=state if index == begin else None,
        )
        # A copy, so that the context does not stay in memory.
        core = window.core(restored.video).clone()
        yield RestoredWindow(index, window, core, restored.trace)
        del restored, core, problem, method


def _warn_unlike(operator: Any, window: InverseProblem, count: int) -> None:
    """Warn of an operator that measures the same frames otherwise at another time."""
    operator, _ = uncut(operator)
    shape, reach = lift(window.operator, window.measurement).shape, reach_of(operator).frames
    frames = 2 * reach + 2
    chance = Generator().manual_seed(0)
    video = torch.rand(frames, *shape[1:], generator=chance).to(window.measurement)
    parts = (operator_at(operator, range(first, frames), count) for first in (0, 1))
    whole, later = (part.forward(x) for part, x in zip(parts, (video, video[1:]), strict=True))
    one, same = whole[reach + 1], later[reach]
    if (one - same).norm() > 1e-3 * one.norm():
        warnings.warn(
            f"{name_of(operator)} measures the same frames otherwise at another time, so windows "
            "are wrong: give it a method at(frames, count) that tells it for some frames "
            "(visionxl.testing.check_operator examines it)",
            stacklevel=3,
        )


def check_shared(sampler: Sampler) -> None:
    """Raise InputError for a sampler whose frames do not share their noise.

    A start or a renoise that draws for each frame by itself says so: it has ``shared = False``.
    """
    for name in ("initializer", "renoise"):
        part = getattr(sampler, name)
        if not getattr(part, "shared", True):
            raise InputError(
                f"{name} {part!r} draws noise for each frame by itself, which windows cannot "
                "share: take one with shared=True, or restore the clip as a whole"
            )
