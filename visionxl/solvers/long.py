"""Clips of any length, restored a window at a time.

All windows draw the same noise, so that it does not change from one to the next.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Integral
from typing import Any

import torch
from attrs import evolve, frozen
from torch import Generator

from visionxl.errors import InputError, NotFiniteError
from visionxl.init.inversion import BatchConsistentInversion, frame_in
from visionxl.operators.lifting import lift
from visionxl.operators.reach import has_reach
from visionxl.protocols import (
    InverseProblem,
    Latent,
    LatentPrior,
    Measurement,
    State,
    Step,
    StepRecord,
    Video,
    check_noise_std,
)
from visionxl.randomness import check_generator
from visionxl.simulation import check_measures, check_truth, noisy
from visionxl.solvers.contract import check_given
from visionxl.solvers.frames import FrameByFrame
from visionxl.solvers.hosted_operator import pieces_of
from visionxl.solvers.loop import Sampler, restore
from visionxl.solvers.pieces import check_pieces
from visionxl.solvers.precision import no_autocast
from visionxl.solvers.windows import FrameSource, LongProblem, Window


def simulate_long(
    frames: FrameSource, operator: object, noise_std: float = 0.0, *, generator: Generator
) -> Iterator[Measurement]:
    """As :func:`~visionxl.simulation.simulate`, with the memory of a few frames.

    Args:
        frames: of the truth, read on demand.
        operator: linear or not; one that does not state its reach in time gets all frames at once.
            A user-defined operator that does is first tested on a whole video of noise, unless
            that would have more than 10⁸ values.
        noise_std: of white noise, in units of the measurement.
        generator: of the noise, on the CPU. Noise is drawn in order: the measurement is the same,
            unless a frame of it has an odd number of values, or fewer than 16.
    """
    check_measures(operator)
    check_noise_std(noise_std)
    if noise_std > 0:
        check_generator(generator)
    video = _Checked(frames)
    if len(video) and has_reach(operator):
        first = video[0:1]
        check_pieces(operator, (len(video), *first.shape[1:]), first)
    for _, piece in pieces_of(operator, video):
        yield noisy(piece, noise_std, generator)


class _Checked:
    """Frames that are checked to be a video's as they are read."""

    def __init__(self, frames: FrameSource) -> None:
        self._frames = frames

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, frames: slice) -> Video:
        video = self._frames[frames]
        check_truth(video)
        return video


Place = Callable[[InverseProblem, Sampler], tuple[InverseProblem, Sampler]]
"""(problem, method) -> the same, computed somewhere else."""


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
    sampler: Sampler, problem: LongProblem, prior: LatentPrior
) -> Callable[[Window], Sampler]:
    """The sampler of every window.

    With :class:`BatchConsistentInversion` all windows share one start, computed once, in the
    window that holds its frame; otherwise it is the clip's own sampler.
    """
    initializer, windows = sampler.initializer, problem.windows
    if len(windows) == 1 or not isinstance(initializer, BatchConsistentInversion):
        return lambda window: sampler
    frame = frame_in(initializer.frame, windows[0].frames)
    holding = next(w for w in windows if w.first <= frame < w.stop)
    levels = [prior.schedule.level(t) for t in sampler.times]
    there = BatchConsistentInversion(holding.place(frame))
    with torch.no_grad(), no_autocast(), _placed(holding, windows):
        start = there.start(problem.problem(holding), FrameByFrame(prior), levels, Generator())
    latent = start[:1]
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
    problem: LongProblem,
    prior: LatentPrior,
    sampler: Sampler,
    *,
    generator: Generator,
    indices: Sequence[int] | None = None,
    states: Mapping[int, State] | None = None,
    frames_at_once: int | None = 1,
    observe: Callable[[Step], object] | None = None,
    inner: LatentPrior | None = None,
    place: Place | None = None,
) -> Iterator[RestoredWindow]:
    """Restore a clip a window at a time, with the memory of a window.

    The result of a window depends only on the problem, the generator's state at the call and the
    window: an interrupted clip is continued with the ``indices`` that are missing, to the same
    result. One window is exactly :func:`restore`.

    Args:
        problem: the clip's, cut into windows.
        prior: what images look like.
        sampler: the method.
        generator: of the noise; every window begins with its present state, and it is not changed.
        indices: of the windows to restore, in this order; None for all.
        states: from which windows go on that an earlier run has begun, by index.
        frames_at_once: in one call of the prior, None for all.
        observe: called with every step of every window.
        inner: a quicker prior for all steps but the last.
        place: applied to each window's problem and method, to compute it elsewhere, such as
            ``partial(hosted, device="cuda")``.

    Raises:
        InputError: as :func:`restore`; a sampler that draws noise for each frame by itself; an
            index that no window has.
    """
    check_given(problem=(problem, LongProblem, "make it by LongProblem.of(operator, ...)"))
    check_generator(generator)
    count = len(problem.windows)
    indices = range(count) if indices is None else indices
    states = {} if states is None else states
    for name, given in (("indices", indices), ("states", states)):
        kind, such = (Mapping, "{0: state}") if name == "states" else (Sequence, "[0, 2]")
        if not isinstance(given, kind):
            raise InputError(f"{name} {given!r}: expected several, such as {such}")
        own = range(count)
        if wrong := [i for i in given if not isinstance(i, Integral) or i not in own]:
            raise InputError(f"{name} has {wrong[0]!r}: there are the windows 0 to {count - 1}")
    if count > 1:
        check_shared(sampler)
        first = problem.problem(problem.windows[0])
        seen = lift(first.operator, first.measurement)
        shape = (len(problem.measurement), *seen.shape[1:])
        check_pieces(problem.operator, shape, first.measurement)
        del first, seen
    chance = generator.get_state()

    def restored() -> Iterator[RestoredWindow]:
        sampler_of = with_common_start(sampler, problem, prior)
        for index in indices:
            window = problem.windows[index]
            own, method, state = problem.problem(window), sampler_of(window), states.get(index)
            if state is not None:
                state = evolve(state, latent=state.latent.to(own.measurement.device))
            if place is not None:
                own, method = place(own, method)
            with _placed(window, problem.windows):
                whole = restore(
                    own,
                    prior,
                    method,
                    generator=Generator(generator.device).set_state(chance),
                    frames_at_once=frames_at_once,
                    observe=observe,
                    inner=inner,
                    state=state,
                )
            # A copy, so that the context does not stay in memory.
            core = window.core(whole.video).clone()
            yield RestoredWindow(index, window, core, whole.trace)
            del whole, core, own, method

    return restored()


@contextmanager
def _placed(window: Window, windows: tuple[Window, ...]) -> Iterator[None]:
    """Adds the window and the clip's frame number to a NotFiniteError."""
    try:
        yield
    except NotFiniteError as error:
        if len(windows) == 1:
            raise
        numbers = sorted(t % window.frames for t in range(window.begin, window.end))
        frame = None if error.frame is None else numbers[error.frame]
        raise error.at(frame=frame, window=windows.index(window)) from None


def check_shared(sampler: Sampler) -> None:
    """Raise InputError for a sampler whose frames do not share their noise.

    A renoise must declare ``shared = True``. A start is assumed to share it, as most draw none
    or one for all frames, unless it has ``shared = False``.
    """
    for name, unless_told in (("initializer", True), ("renoise", False)):
        part = getattr(sampler, name)
        if not getattr(part, "shared", unless_told):
            raise InputError(
                f"{name} {part!r} draws noise for each frame by itself, or does not say that all "
                "frames share it, as windows require: use one with shared=True, give yours that "
                "attribute, or restore the clip as a whole"
            )
