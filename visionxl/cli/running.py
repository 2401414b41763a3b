"""One run of a method for the command line, and what it leaves behind."""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, TypeVar

import torch
from attrs import evolve, field, frozen
from rich.console import Console

from visionxl.checkpoints import CheckpointFolder, last_state, save_state
from visionxl.cli import outputs
from visionxl.cli.memory import check_memory
from visionxl.cli.outputs import Restored
from visionxl.cli.priors import fitted_like, prior_for
from visionxl.cli.progress import StepBar, Watching
from visionxl.distributed import Processes, SplitFrames
from visionxl.errors import InputError, told_of
from visionxl.files import checksum_of
from visionxl.measurements import generator_of
from visionxl.operators import TASK_NAMES, TASKS, lift, task_named
from visionxl.planning import MemoryPlan, Persistent, repeated
from visionxl.planning.choice import VIDEO_DEVICES, fastest, plans, uncounted
from visionxl.planning.obey import networks_of
from visionxl.planning.plan import counted
from visionxl.priors import warm_up
from visionxl.priors.network import NetworkPrior
from visionxl.protocols import (
    InverseProblem,
    LatentPrior,
    Restoration,
    State,
    Step,
    StepRecord,
    Video,
)
from visionxl.report import Album, run_record
from visionxl.solvers import Around, FrameByFrame, Sampler, hosted, restore
from visionxl.solvers.gain import gain_of
from visionxl.solvers.long import Place
from visionxl.solvers.placing import WindowSize
from visionxl.solvers.residual import is_near

T = TypeVar("T")
STEPS = "step"  # what checkpoints of a run's steps are called
SHARE = 0.85  # of a GPU's memory: kernels need room that no count sees, and so may others


@frozen(eq=False)
class Run:
    """How a restoration is run, beside the problem, the prior and the method.

    Args:
        settings: of the command, for the record.
        seed: of everything random.
        show: whether to show progress.
        frames_at_once: in one call of a network; None for what the plan chooses, or 1.
        memory: bytes that the networks' device has for the run; None for most of a GPU's.
        device: of the networks.
        inner: a quicker prior for all steps but the last.
        checkpoints: where every step is kept, and from where the run goes on.
        warm: run the networks once before the clock starts: those that compile do it then.
        group: the processes that share the frames.
        truth: what the steps of a whole clip are measured against.
        command: its words, for the record; None for those of this process.
        task: what was measured, by which the memory plan counts; None, or one of the user's own,
            counts as a blur and a temporal average.
    """

    settings: dict[str, Any]
    seed: int
    show: bool
    frames_at_once: int | None = None
    memory: int | None = None
    device: torch.device = field(factory=lambda: torch.device("cpu"))
    inner: NetworkPrior | None = None
    checkpoints: CheckpointFolder | None = None
    warm: bool = False
    group: Processes = field(factory=Processes)
    truth: Video | None = None
    command: Sequence[str] | None = None
    task: str | None = None


@frozen(eq=False)
class Ready:
    """Networks that obey a plan, for frames of one size.

    Args:
        plan: that is obeyed.
        full: the prior.
        quick: that of the inner steps, if there is one.
        notes: on the prior, and on plans that had to become smaller.
        warm_up_seconds: that their first calls took.
    """

    plan: MemoryPlan
    full: Persistent
    quick: Persistent | None
    notes: list[str]
    warm_up_seconds: float

    def obeyed(self, video_device: torch.device) -> MemoryPlan:
        """The plan at the end of a run, which is a smaller one where memory ran out."""
        return evolve(self.full.plan, video_device=video_device)


def ready(
    prior: LatentPrior,
    sampler: Sampler,
    shape: torch.Size,
    run: Run,
    lengths: Iterable[int] = (),
) -> Ready:
    """The networks for videos of a shape, padded, planned and warm.

    Args:
        prior: with the networks.
        sampler: the method.
        shape: of the videos, the longest of them.
        run: how it is run.
        lengths: frames that there are in others.
    """
    frames, channels, height, width = shape
    check_memory(frames, channels, height, width)
    fitted, notes = prior_for(prior, height, width)
    plan = plan_for(fitted, sampler, shape, run)
    full, quick, seconds = Persistent(fitted, plan, tell=notes.append), None, 0.0
    if run.inner is not None:
        quick = Persistent(fitted_like(fitted, run.inner), plan, tell=notes.append)
    for network in (full, quick) if run.warm else ():
        if network is not None:
            parts = (run.group.part(n) for n in {frames, *lengths})
            own = {part.stop - part.start for part in parts}
            seconds += warmed(network, (height, width), own, plan)
    return Ready(plan, full, quick, notes, seconds)


def restored(
    problem: InverseProblem,
    prior: LatentPrior,
    sampler: Sampler,
    run: Run,
    watching: Watching | None = None,
) -> Restored:
    """Run the method.

    Args:
        problem: what was measured.
        prior: with the networks.
        sampler: the method.
        run: how it is run.
        watching: receives the progress; by default a progress bar does.
    """
    shape = lift(problem.operator, problem.measurement).shape
    if len(shape) == 4 and shape[1] != 3:
        raise InputError(
            f"the measured video has {shape[1]} channels: expected 3 (red, green, blue), as the "
            "prior needs; give the measurement of a colour video"
        )
    networks = ready(prior, sampler, shape, run)
    plan, notes = networks.plan, networks.notes
    if run.group.size > 1:
        run.group.check_same(
            problem=checksum_of(problem.measurement),
            operator=told_of(problem.operator),
            videos=words_of_place(plan),
        )
    device = plan.video_device
    state, trace = _where_it_stopped(run, len(sampler.times), notes)
    earlier = sum(step.seconds for step in trace)  # of a run that was interrupted
    album = Album(plan.video_device, run.checkpoints, len(trace), run.truth)
    if album.missing:
        lost = ", ".join(str(index + 1) for index in album.missing)
        notes.append(f"the page does not show step {lost}: its checkpoint is damaged or gone")
    began = time.perf_counter()
    quiet = Console(stderr=True, emoji=False, quiet=not (run.show and run.group.first))
    bar = StepBar(quiet, len(sampler.times), shape[0], done=float(len(trace)))
    with bar if watching is None else nullcontext(watching) as shown:

        def observe(step: Step) -> None:
            nonlocal state
            album.observe(step)
            trace.append(step.record)
            state = step.following or state
            if run.checkpoints is not None and step.following is not None:
                save_state(run.checkpoints, STEPS, step.following, trace)
                album.keep()
            shown.observe(step, album.looks[-1])

        def shared(prior: LatentPrior) -> LatentPrior:
            watched = Around(prior, shown.stage)
            return album.timed(shared_by(run.group, watched, plan.frames_at_once))

        def attempt(plan: MemoryPlan) -> Restoration:
            nonlocal device
            device, done = plan.video_device, 0 if state is None else state.index
            del trace[done:]
            album.again(done, device)
            there = evolve(problem, measurement=problem.measurement.to(device))
            method, begun = sampler, state and evolve(state, latent=state.latent.to(device))
            if (place := place_for(run, plan, notes)) is not None:
                there, method = place(there, sampler)
            return restore(
                there,
                shared(networks.full),
                method,
                generator=generator_of(run.seed),
                frames_at_once=None,
                observe=observe,
                inner=None if networks.quick is None else shared(networks.quick),
                state=begun,
            )

        result = repeated_in(run, attempt, networks, quiet)
    seconds = earlier + time.perf_counter() - began
    result = evolve(result, trace=tuple(trace))
    record = run_record(
        problem,
        sampler,
        result,
        seconds,
        command=run.command or outputs.command_line(),
        album=album,
        settings=run.settings,
    )
    record["memory_plan"] = str(networks.obeyed(device))
    record["processes"] = run.group.size
    if run.warm:
        record["warm_up_seconds"] = round(networks.warm_up_seconds, 3)
    video = result.video.cpu()
    notes += about_residual(record["data_residual"], problem, video)
    return Restored(video, record, notes, album.looks)


def repeated_in(
    run: Run, attempt: Callable[[MemoryPlan], T], networks: Ready, console: Console
) -> T:
    """:func:`repeated`, where possible: in one process, with networks whose device is known."""
    if run.group.size > 1 or networks_of(networks.full.prior) is None:
        return attempt(networks.plan)

    def tell(sentence: str) -> None:
        networks.notes.append(sentence)
        console.print(sentence, soft_wrap=True, highlight=False)

    return repeated(attempt, networks.plan, tell)


def about_residual(residual: float, problem: InverseProblem, video: Video) -> list[str]:
    """A note on a result that is farther from its measurement than the noise.

    Args:
        residual: of the whole clip.
        problem: of the clip, or of one of its windows.
        video: like one that the problem's operator measures.
    """
    if is_near(residual, problem.noise_std, gain_of(problem.operator, video)):
        return []
    return [
        f"the data residual {residual:.4f} is above the noise {problem.noise_std:g}: is it the "
        "right task, and the right noise?"
    ]


def shared_by(group: Processes, prior: LatentPrior, frames_at_once: int) -> LatentPrior:
    """The prior, whose frames are shared out over processes."""
    return SplitFrames(FrameByFrame(prior, frames_at_once, checks=False), group)


def words_of_place(plan: MemoryPlan) -> str:
    """Where the videos are, and the window size, which affects the result: the same for all."""
    return f"on {plan.video_device.type}, windows of {plan.core} frames"


def place_for(run: Run, plan: MemoryPlan, notes: list[str]) -> Place | None:
    """What makes a GPU compute videos in host memory; None if they are elsewhere."""
    if run.device.type in ("cpu", plan.video_device.type, *VIDEO_DEVICES):
        return None
    core = WindowSize(plan.core, notes.append)
    return partial(hosted, device=str(run.device), core=core)


def plan_for(prior: LatentPrior, sampler: Sampler, shape: torch.Size, run: Run) -> MemoryPlan:
    """The plan that fits the memory, with the number of frames at once that was asked for.

    Where neither was said, a GPU's own memory is what has to be enough.
    """
    frames, _, height, width = shape
    memory, countable = run.memory, networks_of(prior) is not None
    if memory is not None and not countable:
        raise InputError(
            "--memory: the memory of a prior of your own cannot be counted; leave it out, or give "
            "--frames-at-once"
        )
    if memory is None and countable and run.frames_at_once is None and run.device.type == "cuda":
        memory = round(SHARE * torch.cuda.get_device_properties(run.device).total_memory)
    if memory is None:
        return uncounted(prior, height, width, run.frames_at_once or 1, run.device)
    task: Any = task_named(run.task) if run.task in TASK_NAMES else TASKS["deblur+"]
    options = partial(
        plans,
        prior,
        height,
        width,
        frames,
        sampler=sampler,
        task=task,
        device=run.device,
        frames_at_once=run.frames_at_once,
    )
    try:
        return fastest(options(), memory, f"{counted(frames)} of {height}x{width}")[0]
    except InputError as error:
        if run.memory is not None:
            raise InputError(str(error).replace("budget", "--memory", 1)) from error
        return min(options(), key=lambda option: option[1].peak)[0]  # the count is an estimate


def _where_it_stopped(
    run: Run, steps: int, notes: list[str]
) -> tuple[State | None, list[StepRecord]]:
    """What the first process finds in the checkpoints, for all of them."""
    found: tuple[State | None, list[StepRecord]] = (None, [])
    if run.checkpoints is not None:
        state, trace, words = last_state(run.checkpoints, STEPS)
        notes += words
        found = (state, trace)
    state, trace = run.group.share(found)
    if state is not None:
        notes.append(f"went on after step {state.index} of {steps}")
    return state, trace


def warmed(prior: LatentPrior, size: tuple[int, int], frames: set[int], plan: MemoryPlan) -> float:
    """Seconds to warm up for one frame, as some starts have it, whole chunks, and the rest.

    Args:
        prior: to warm up.
        size: height and width of the frames, in pixels.
        frames: that a run, or each of its windows, has.
        plan: of the run.
    """
    at_once = plan.frames_at_once
    chunks = {1} | {min(at_once, n) for n in frames} | {n % at_once for n in frames}
    return sum(warm_up(prior, n, *size, plan.video_device) for n in sorted(chunks - {0}))
