"""A step of a method over the windows of a clip, in which the networks see every frame once.

A window's consistency needs the estimates of the frames around its core, and those are the cores of
its neighbours: the windows of a clip go through each step together, in the order of the clip.
"""

import warnings
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import AbstractContextManager, nullcontext

import torch
from attrs import evolve, frozen
from torch import Generator

from visionxl.errors import InputError, located
from visionxl.init.inversion import (
    BatchConsistentInversion,
    CorrectedInversion,
    PseudoBatchInversion,
    frame_in,
)
from visionxl.init.noise import EncodedBackProjection, Noise
from visionxl.protocols import InverseProblem, LatentPrior, State, Step, StepRecord, Video
from visionxl.solvers.answers import wrong_count
from visionxl.solvers.contract import check_problem
from visionxl.solvers.gain import gain_of
from visionxl.solvers.loop import Sampler, check_outcome, first_state, trajectory, unconditioned
from visionxl.solvers.precision import check_precision, no_autocast
from visionxl.solvers.window_prior import CoreOnly, InSweep, RenoisedCore, Strip
from visionxl.solvers.windows import LongProblem, Window

Place = Callable[[InverseProblem, Sampler], tuple[InverseProblem, Sampler]]
"""(problem, method) -> the same, computed somewhere else."""

SAME = "give the mapping that a call with the same windows and times has filled, or an empty one"
BY_FRAME = (CorrectedInversion, EncodedBackProjection, Noise, PseudoBatchInversion)
"""Starts whose networks see each frame by itself, whatever they are called with."""


@frozen(eq=False)
class WindowState:
    """Where a window stands.

    Args:
        state: of the loop, with the latents of the window's core alone.
        trace: the records of its steps so far.
    """

    state: State
    trace: tuple[StepRecord, ...] = ()


States = MutableMapping[tuple[int, int], WindowState]
"""The windows' states before a step: ``states[step, window]``."""


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


@frozen(eq=False)
class Sweep:
    """What all steps of all windows share: the arguments of :func:`restore_windows`.

    ``later`` are the windows of the steps, ``quick`` is the prior of all steps but the last, and
    ``chance`` a generator in the state that every window begins with.
    """

    problem: LongProblem
    later: tuple[Window, ...]
    full: LatentPrior
    quick: LatentPrior
    sampler: Sampler
    chance: Generator
    states: States
    place: Place | None

    def results(
        self, wanted: list[int], observe: Callable[[int, Step], object] | None
    ) -> Iterator[RestoredWindow]:
        windows, states, last = self.later, self.states, len(self.sampler.times) - 1
        begun = step_begun(states, last + 1, len(windows))
        if begun is None:
            self._begin()
        for step in range(begun or 0, last + 1):
            strips = Strip(windows), Strip(windows)
            for index in wanted if step == last else range(len(windows)):
                if step < last and (step + 1, index) in states:  # of a call that was cut off
                    continue
                made = self._step(step, index, strips)
                trace = (*states[step, index].trace, made.record)
                core = windows[index].core
                if made.following is not None:
                    latent = core(made.following.latent).clone()
                    after = evolve(made.following, latent=latent)
                    states[step + 1, index] = WindowState(after, trace)
                if observe is not None:
                    observe(index, made)
                # A copy, so that the context does not stay in memory.
                video = core(made.corrected).clone() if step == last else None
                del made
                if video is not None:
                    yield RestoredWindow(index, self.problem.windows[index], video, trace)
                    del video
            for old in [key for key in states if key[0] < step < last]:
                del states[old]

    def _begin(self) -> None:
        """The states before the first step."""
        windows, method = self.problem.windows, self.sampler
        prior = self.quick if len(method.times) > 1 else self.full
        common = None
        for index, window in enumerate(windows):
            if (0, index) in self.states:
                continue
            problem = self.problem.problem(window)
            with no_autocast():
                check_problem(problem)
                check_precision(problem.measurement.device)
            if len(windows) > 1 and type(method.initializer) is BatchConsistentInversion:
                common = common or self._common_start(method.initializer, prior)
                latent = common.latent.expand(window.stop - window.first, -1, -1, -1)
                state = evolve(common, latent=latent)
            else:
                state = self._start(window, problem, prior)
            self.states[0, index] = WindowState(state)

    def _start(self, window: Window, problem: InverseProblem, prior: LatentPrior) -> State:
        """The start of a window."""
        problem, method = self._placed(problem, self.sampler)
        if type(method.initializer) in BY_FRAME:
            prior = CoreOnly(prior, window)
        trajectory(problem, prior, method, generator=self._chance())  # refuses what it must
        with _told(window, self.problem.windows):
            state = first_state(problem, prior, method, self._chance())
        if len(state.latent) != window.size:
            raise wrong_count(method.initializer, len(state.latent), window.size)
        return evolve(state, latent=window.core(state.latent).clone())

    def _common_start(self, initializer: BatchConsistentInversion, prior: LatentPrior) -> State:
        """The start of all windows, of one frame, computed in the one that holds its frame."""
        windows = self.problem.windows
        frame = frame_in(initializer.frame, windows[0].frames)
        holding = next(w for w in windows if w.first <= frame < w.stop)
        there = BatchConsistentInversion(holding.place(frame))
        method = evolve(self.sampler, initializer=there)
        with _told(holding, windows):
            start = first_state(self.problem.problem(holding), prior, method, self._chance())
        return evolve(start, latent=start.latent[:1])

    def _step(self, step: int, index: int, strips: tuple[Strip, Strip]) -> Step:
        """One step of a window."""
        windows, last = self.later, len(self.sampler.times) - 1
        window = windows[index]
        state = latents_of(self.states, step, windows, index)
        own = self.problem.problem(window)
        state = evolve(state, latent=state.latent.to(own.measurement.device))
        placed, method = self._placed(own, self.sampler)
        prior = self.full if step == last else self.quick
        if method.condition is unconditioned:
            prior = InSweep(prior, window, index, *strips)
            method = evolve(method, renoise=RenoisedCore(method.renoise, window))
        with _told(window, windows):
            steps = trajectory(
                placed,
                prior,
                method,
                generator=self._chance(),
                frames_at_once=None,
                state=state,
            )
            made = next(steps)
        if made.record.broke_down:
            warnings.warn(f"step {step}: {made.record.stopped}", stacklevel=3)
        if step == last:
            with no_autocast():
                gain = gain_of(own.operator, made.corrected)
                check_outcome(own, method, made.corrected, made.record.data_residual, gain)
        return made

    def _placed(self, problem: InverseProblem, sampler: Sampler) -> tuple[InverseProblem, Sampler]:
        return (problem, sampler) if self.place is None else self.place(problem, sampler)

    def _chance(self) -> Generator:
        return Generator(self.chance.device).set_state(self.chance.get_state())


def _told(window: Window, windows: tuple[Window, ...]) -> AbstractContextManager[None]:
    """Adds the window and the clip's frame number to a NotFiniteError."""
    if len(windows) == 1:
        return nullcontext()
    numbers = sorted(t % window.frames for t in range(window.begin, window.end))
    return located(numbers.__getitem__, window=windows.index(window))


def latents_of(states: States, step: int, windows: tuple[Window, ...], index: int) -> State:
    """The state of a whole window before a step, of the states of the cores in it."""
    own, parts = windows[index], []
    for other, window in enumerate(windows):
        for lap in (-own.frames, 0, own.frames):  # of a circular clip
            first, stop = window.first + lap, window.stop + lap
            begin, end = max(own.begin, first), min(own.end, stop)
            if begin < end:
                parts.append((begin, other, slice(begin - first, end - first)))
    parts.sort(key=lambda part: part[0])
    try:
        cores = [states[step, other].state for _, other, _ in parts]
    except KeyError as error:
        raise InputError(
            f"states has nothing for step and window {error}, which window {index} needs: give the "
            "mapping that an earlier call has filled, or an empty one"
        ) from None
    pairs = zip(cores, parts, strict=True)
    latent = torch.cat([core.latent[frames] for core, (_, _, frames) in pairs])
    return State(step, own.ordered(latent), cores[0].chance, cores[0].time)


def check_states(states: object, steps: int, windows: tuple[Window, ...]) -> None:
    """Raise InputError for what is no mapping of these windows' states before these steps."""
    if not isinstance(states, MutableMapping):
        raise InputError(f"states {states!r}: expected a mapping, such as {{}}, that is filled")
    for key in list(states):
        pair = isinstance(key, tuple) and len(key) == 2
        if not pair or key[0] not in range(steps) or key[1] not in range(len(windows)):
            raise InputError(
                f"states has {key!r}: expected (step, window), of {steps} steps and "
                f"{len(windows)} windows; {SAME}"
            )
        value = states.get(key)  # None if it is damaged
        if value is not None and not isinstance(value, WindowState):
            raise InputError(
                f"states[{key}] is {type(value).__name__}: expected a WindowState; {SAME}"
            )
        count = windows[key[1]].stop - windows[key[1]].first
        if value is not None and len(value.state.latent) != count:
            raise InputError(
                f"states has {len(value.state.latent)} frames for window {key[1]}, and its core "
                f"{count}; {SAME}"
            )


def step_begun(states: States, steps: int, windows: int) -> int | None:
    """The last step before which every window's state is known; None if there is none."""
    for step in reversed(range(steps)):
        if all((step, window) in states for window in range(windows)):
            return step
    return None
