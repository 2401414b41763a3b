"""A long clip for the command line: a window at a time, each kept as soon as it is finished."""

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from attrs import asdict, evolve, frozen
from rich.console import Console

from visionxl.checkpoints import CheckpointFolder, last_state, save_state
from visionxl.cli import outputs
from visionxl.cli.outputs import beside
from visionxl.cli.progress import StepBar
from visionxl.cli.running import (
    Ready,
    Run,
    about_residual,
    place_for,
    ready,
    repeated_in,
    shared_by,
    words_of_place,
)
from visionxl.errors import InputError, told_of
from visionxl.measurements import Description, generator_of
from visionxl.operators import lift
from visionxl.planning import MemoryPlan
from visionxl.planning.plan import counted
from visionxl.protocols import LatentPrior, State, Step, StepRecord, Video
from visionxl.report import measures_in_pieces, write_page
from visionxl.report.record import versions
from visionxl.sizes import cover
from visionxl.solvers import Around, Sampler
from visionxl.solvers.long import RestoredWindow, restore_windows
from visionxl.solvers.windows import LongProblem, Window, enough_context
from visionxl.streaming import clip_in_pieces
from visionxl.writing import write_pieces

WINDOW = "window"


@frozen(eq=False)
class Long:
    """A long clip's restoration: its record, notes on it, and how to read it in pieces."""

    record: dict[str, Any]
    notes: list[str]
    pieces: Callable[[], Iterator[Video]]


def restored_in_windows(
    problem: LongProblem,
    description: Description,
    prior: LatentPrior,
    sampler: Sampler,
    run: Run,
) -> Long:
    """Restore every window that is not finished yet, and keep it in the checkpoints."""
    lengths = {window.size for window in problem.windows}
    shape = torch.Size((max(lengths), 3, description.height, description.width))
    networks = ready(prior, sampler, shape, run, lengths)
    if run.group.size > 1:
        run.group.check_same(videos=words_of_place(networks.plan))
    found = run.group.share(_what_is_missing(run.checkpoints, problem.windows, networks.notes))
    before = set(range(len(problem.windows))) - set(found.missing)
    earlier = sum(step.seconds for _, trace in found.begun.values() for step in trace)
    began = time.perf_counter()
    console = Console(stderr=True, emoji=False, quiet=not (run.show and run.group.first))
    device = networks.plan.video_device

    def attempt(plan: MemoryPlan) -> None:
        nonlocal found, device
        device = plan.video_device
        # What an attempt before this one has finished is in the checkpoints.
        left = found or _what_is_missing(run.checkpoints, problem.windows, networks.notes)
        found = None
        if left.missing:
            there = evolve(problem, device=device)
            _restore_missing(there, sampler, networks, plan, run, left, console)

    repeated_in(run, attempt, networks, console)
    record = _record(problem, sampler, run)
    finished = (entry["trace"] for i, entry in enumerate(record["windows"]) if i in before)
    earlier += sum(step["seconds"] for trace in finished for step in trace)
    record["seconds"] = round(earlier + time.perf_counter() - began, 3)
    record["memory_plan"] = str(networks.obeyed(device))
    record["video_shape"] = [len(problem.measurement), *shape[1:]]
    record["device"] = str(device)
    if run.warm:
        record["warm_up_seconds"] = round(networks.warm_up_seconds, 3)
    first = problem.problem(problem.windows[0])
    seen = lift(first.operator, first.measurement)
    notes = networks.notes + about_residual(record["data_residual"], first, seen)
    return Long(record, notes, lambda: _pieces(run.checkpoints, problem.windows))


@frozen(eq=False)
class Left:
    """What is left of a run.

    Args:
        missing: windows that are not finished.
        begun: the state of those that were begun, and their records so far, by window.
    """

    missing: list[int]
    begun: dict[int, tuple[State, list[StepRecord]]]


def _restore_missing(
    problem: LongProblem,
    sampler: Sampler,
    networks: Ready,
    plan: MemoryPlan,
    run: Run,
    left: Left,
    console: Console,
) -> None:
    """Restore the windows that are left, keep each as it is finished, and show the progress."""
    frames, count, steps = len(problem.measurement), len(problem.windows), len(sampler.times)
    to_make = steps * len(left.missing) - sum(len(trace) for _, trace in left.begun.values())
    index, trace, made, since = 0, [], 0, time.perf_counter()
    _, done = left.begun.get(left.missing[0], (None, []))
    longest = max(window.size for window in problem.windows)
    with StepBar(console, steps, longest, done=len(done)) as bar:

        def observe(step: Step) -> None:
            nonlocal made
            made += 1
            trace.append(step.record)
            if run.checkpoints is not None and step.following is not None:
                save_state(run.checkpoints, f"step-{index:05d}", step.following, trace)
            bar.observe(step)

        def shared(prior: LatentPrior) -> LatentPrior:
            return shared_by(run.group, Around(prior, bar.stage), plan.frames_at_once)

        restored = restore_windows(
            problem,
            shared(networks.full),
            sampler,
            generator=generator_of(run.seed),
            indices=left.missing,
            states={index: state for index, (state, _) in left.begun.items()},
            frames_at_once=None,
            observe=observe,
            inner=None if networks.quick is None else shared(networks.quick),
            place=place_for(run, plan, networks.notes),
        )
        for index in left.missing:
            _, trace = left.begun.get(index, (None, []))
            one = next(restored)
            if run.checkpoints is not None:
                _keep(run.checkpoints, one, trace)
            seconds = (time.perf_counter() - since) / made * (to_make - made)
            console.print(
                f"window {index + 1}/{count}: {one.window.stop} of {frames} frames restored, "
                f"about {seconds:.0f} s left"
            )
            bar.again()
            del one


def about_windows(problem: LongProblem, core: int) -> list[str]:
    """A note where other windows would do better than those that keep ``core`` frames."""
    frames, context = len(problem.measurement), enough_context(problem.operator)
    if len(problem.windows) == 1:
        return [
            f"the clip was one window, of {counted(frames)}: --windows {core} only cuts clips of "
            f"more than {core + 2 * context}, because a window sees {context} more on either side"
        ]
    if core >= context:
        return []
    longest = max(window.size for window in problem.windows)
    return [
        f"to keep {core} frames, a window restores up to {longest}, {context} on either side: "
        "larger --windows take less time in all, but more memory"
    ]


def write_long(
    output: Path,
    long: Long,
    problem: LongProblem,
    description: Description,
    truth: Path | None,
    overwrite: bool,
) -> list[Path]:
    """The video, a picture and a page of its first window, and the record."""
    picture, record_path, page = beside(output)

    def measured() -> Iterator[Video]:
        for window in problem.windows:
            own = problem.problem(window)
            yield window.core(lift(own.operator, own.measurement))

    def true() -> Iterator[Video]:
        assert truth is not None
        sizes = (window.stop - window.first for window in problem.windows)
        for video in clip_in_pieces(truth, sizes):
            yield cover(video, description.height, description.width)

    if truth is not None:
        long.record["measures"] = measures_in_pieces(zip(long.pieces(), true(), strict=True))
        before = measures_in_pieces(zip(measured(), true(), strict=True))
        long.record["measurement_measures"] = before
        long.notes.extend(outputs.about_measures(long.record))
    long.record["notes"] = long.notes
    long.notes.extend(
        write_pieces(
            output,
            long.pieces,
            len(problem.measurement),
            description.rate,
            sound=description.sound,
            overwrite=overwrite,
        )
    )
    video = next(long.pieces())
    columns = {"measurement": next(measured()), "restored": video}
    if truth is not None:
        columns["truth"] = next(true())
    outputs.write_picture(picture, columns)
    written = [output, picture, page, record_path]
    long.record["outputs"] = [str(path) for path in written]
    remark = f"These are the {len(video)} frames of the first of {len(problem.windows)} windows."
    write_page(page, columns, description.rate, long.record, remarks=[remark])
    outputs.write_json(record_path, long.record)
    return written


def _what_is_missing(
    checkpoints: CheckpointFolder | None, windows: tuple[Window, ...], notes: list[str]
) -> Left:
    """The windows that are not finished, and how far those are that were begun."""
    if checkpoints is None:
        return Left(list(range(len(windows))), {})
    kept = checkpoints.names(WINDOW)
    missing = [i for i in range(len(windows)) if checkpoints.load(_name(i)) is None]
    for index in missing:
        if _name(index) in kept:
            words = f"checkpoint {checkpoints.path.name}/{_name(index)} is damaged: made again"
            notes.append(words)
    begun, within = {}, ""
    for index in missing:
        state, trace, words = last_state(checkpoints, f"step-{index:05d}")
        notes += words
        if state is not None:
            begun[index] = state, trace
            within = f", and step {state.index} of window {index + 1}"
    done = len(windows) - len(missing)
    if not missing:
        notes.append(f"all {done} windows were finished")
    elif done or begun:
        notes.append(f"went on after {done} of {len(windows)} windows{within}")
    return Left(missing, begun)


def _name(index: int) -> str:
    return f"{WINDOW}-{index:05d}"


def _keep(checkpoints: CheckpointFolder, restored: RestoredWindow, trace: list[StepRecord]) -> None:
    facts = {"first": restored.window.first, "trace": [asdict(record) for record in trace]}
    checkpoints.save(_name(restored.index), {"video": restored.video.cpu()}, facts)
    for name in checkpoints.names(f"step-{restored.index:05d}"):
        checkpoints.drop(name)


def _pieces(checkpoints: CheckpointFolder | None, windows: tuple[Window, ...]) -> Iterator[Video]:
    assert checkpoints is not None  # only the process that has them writes
    for index in range(len(windows)):
        part = checkpoints.load(_name(index))
        if part is None:
            raise InputError(
                f"checkpoint {checkpoints.path.name}/{_name(index)} was damaged after it was "
                "written: run the same command with --resume to make it again"
            )
        yield part.tensors["video"]


def _record(problem: LongProblem, sampler: Sampler, run: Run) -> dict[str, Any]:
    entries, squares = [], 0.0
    for index, window in enumerate(problem.windows):
        facts = run.checkpoints.facts(_name(index)) if run.checkpoints is not None else None
        trace = [] if facts is None else facts["trace"]
        entries.append({"first": window.first, "stop": window.stop, "trace": trace})
        if trace:
            squares += (window.stop - window.first) * trace[-1]["data_residual"] ** 2
    source: Any = problem.measurement
    return {
        "command": outputs.command_line(),
        "settings": run.settings,
        "operator": told_of(problem.operator),
        "method": told_of(sampler),
        "noise_std": problem.noise_std,
        "measurement_shape": list(source.shape),
        "data_residual": math.sqrt(squares / len(source)),
        "threads": torch.get_num_threads(),
        "processes": run.group.size,
        "versions": versions(),
        "context": enough_context(problem.operator),
        "windows": entries,
    }
