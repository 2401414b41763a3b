"""Clips of any length, restored in windows that go through a method's steps together.

All windows draw the same noise, so that it does not change from one to the next.
"""

from collections.abc import Callable, Iterator, Sequence
from numbers import Integral

from torch import Generator

from visionxl.errors import InputError
from visionxl.operators.lifting import lift
from visionxl.operators.reach import has_reach
from visionxl.protocols import (
    LatentPrior,
    Measurement,
    Step,
    Video,
    check_noise_std,
)
from visionxl.randomness import check_generator
from visionxl.simulation import check_measures, check_truth, noisy
from visionxl.solvers.contract import check_given
from visionxl.solvers.frames import FrameByFrame
from visionxl.solvers.hosted_operator import pieces_of
from visionxl.solvers.loop import Sampler, check_arguments
from visionxl.solvers.pieces import check_pieces
from visionxl.solvers.sweep import Place, RestoredWindow, States, Sweep, check_states
from visionxl.solvers.windows import FrameSource, LongProblem, later_windows


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


def restore_windows(
    problem: LongProblem,
    prior: LatentPrior,
    sampler: Sampler,
    *,
    generator: Generator,
    indices: Sequence[int] | None = None,
    states: States | None = None,
    frames_at_once: int | None = 1,
    observe: Callable[[int, Step], object] | None = None,
    inner: LatentPrior | None = None,
    place: Place | None = None,
) -> Iterator[RestoredWindow]:
    """Restore a clip in windows, with the memory of a window and the latents of the clip.

    All windows make a step before any makes the next, so that the networks see every frame once a
    step: what a window needs of the frames around its core, its neighbours have made. Their results
    come one after another in the last step. One window is exactly :func:`restore`.

    Args:
        problem: the clip's, cut into windows.
        prior: what images look like.
        sampler: the method. With a ``condition`` of its own, the networks see whole windows.
        generator: of the noise; every window draws what its present state gives, and it is not
            changed.
        indices: of the windows whose results are needed, which come in the clip's order; None for
            all.
        states: where the windows stand, filled while they are restored; the last two steps are
            kept. With those of a call that was cut off, another of the same problem, prior,
            sampler and state of the generator goes on, to the same result. None for a dictionary;
            :class:`~visionxl.checkpoints.StatesOnDisk` keeps them in a folder.
        frames_at_once: in one call of the prior, None for all.
        observe: called with a window's index and its step, for every step of every window; what is
            given to ``states`` tells of the starts, too.
        inner: a quicker prior for all steps but the last.
        place: applied to each window's problem and method, to compute it elsewhere, such as
            ``partial(hosted, device="cuda")``.

    Raises:
        InputError: as :func:`restore`; a sampler that draws noise for each frame by itself; an
            index that no window has.
    """
    check_given(problem=(problem, LongProblem, "make it by LongProblem.of(operator, ...)"))
    first = problem.problem(problem.windows[0])
    check_arguments(first, prior, sampler, generator, inner)
    count = len(problem.windows)
    wanted = range(count) if indices is None else indices
    if not isinstance(wanted, Sequence):
        raise InputError(f"indices {indices!r}: expected several, such as [0, 2]")
    if wrong := [i for i in wanted if not isinstance(i, Integral) or i not in range(count)]:
        raise InputError(f"indices has {wrong[0]!r}: there are the windows 0 to {count - 1}")
    for name, given in (("observe", observe), ("place", place)):
        if given is not None and not callable(given):
            raise InputError(f"{name} {given!r} is no function: give one, or None")
    states = {} if states is None else states
    check_states(states, len(sampler.times), problem.windows)
    if count > 1:
        check_shared(sampler)
        seen = lift(first.operator, first.measurement)
        shape = (len(problem.measurement), *seen.shape[1:])
        check_pieces(problem.operator, shape, first.measurement)
        del seen
    del first
    sweep = Sweep(
        problem,
        later_windows(problem),
        FrameByFrame(prior, frames_at_once),
        FrameByFrame(prior if inner is None else inner, frames_at_once),
        sampler,
        Generator(generator.device).set_state(generator.get_state()),
        states,
        place,
    )
    return sweep.results(sorted({int(index) for index in wanted}), observe)


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
