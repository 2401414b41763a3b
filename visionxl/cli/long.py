"""A long clip for the command line: a window at a time, each kept as soon as it is finished."""

import math
import time
from collections.abc import Callable, Collection, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from attrs import asdict, frozen
from rich.console import Console

from visionxl.checkpoints import CheckpointFolder, last_state, save_state
from visionxl.cli import outputs
from visionxl.cli.outputs import beside
from visionxl.cli.progress import StepBar
from visionxl.cli.running import (
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
from visionxl.protocols import ForwardOperator, LatentPrior, State, Step, StepRecord, Video
from visionxl.report import measures_in_pieces, write_page
from visionxl.report.record import versions
from visionxl.sizes import cover
from visionxl.solvers import Around, Sampler
from visionxl.solvers.long import RestoredWindow, restore_windows
from visionxl.solvers.windows import Window, enough_context, windows_of
from visionxl.streaming import FrameStream, clip_in_pieces
from visionxl.writing import write_pieces

WINDOW = "window"


@frozen(eq=False)
class Long:
    """A long clip's restoration: its record, words on it, and how to read it in pieces."""

    record: dict[str, Any]
    notes: list[str]
    pieces: Callable[[], Iterator[Video]]
    windows: tuple[Window, ...]


def restored_in_windows(
    source: FrameStream,
    operator: ForwardOperator,
    description: Description,
    prior: LatentPrior,
    sampler: Sampler,
    run: Run,
) -> Long:
    """Restore every window that is not finished yet, and keep it in the checkpoints."""
    frames, core = len(source), run.windows or len(source)
    context = enough_context(operator)
    windows = windows_of(operator, frames, core, context)
    lengths = {w.end - w.begin for w in windows}
    longest = max(lengths)
    shape = torch.Size((longest, 3, description.height, description.width))
    networks = ready(prior, sampler, shape, run, lengths)
    plan, notes = networks.plan, networks.notes
    if run.group.size > 1:
        run.group.check_same(videos=words_of_place(plan))
    found = run.group.share(_what_is_missing(run.checkpoints, windows, notes))
    before = set(range(len(windows))) - set(found[0])
    earlier = sum(step.seconds for _, trace in found[1].values() for step in trace)
    if len(windows) == 1:
        notes.append(
            f"the clip was one window, of {counted(frames)}: --windows {core} only cuts clips of "
            f"more than {core + 2 * context}, because a window sees {context} more on either side"
        )
    elif run.windows is not None and run.windows < context:
        notes.append(
            f"to keep {core} frames, a window restores up to {longest}, {context} on either side: "
            "larger --windows take less time in all, but more memory"
        )
    began = time.perf_counter()
    console = Console(stderr=True, emoji=False, quiet=not (run.show and run.group.first))
    steps, device = len(sampler.times), plan.video_device

    def attempt(plan: MemoryPlan) -> None:
        nonlocal found, device
        device = plan.video_device
        # What an attempt before this one has finished is in the checkpoints.
        missing, begun = found or _what_is_missing(run.checkpoints, windows, notes)
        found = None
        to_make = steps * len(missing) - sum(len(trace) for _, trace in begun.values())
        now: dict[str, Any] = {}
        done = len(begun[missing[0]][1]) if missing and missing[0] in begun else 0
        made, since = 0, time.perf_counter()
        with StepBar(console, steps, longest, done=done) as bar:

            def observe(step: Step) -> None:
                nonlocal made
                made += 1
                now["trace"].append(step.record)
                if run.checkpoints is not None and step.following is not None:
                    kind = f"step-{now['index']:05d}"
                    save_state(run.checkpoints, kind, step.following, now["trace"])
                bar.observe(step)

            def shared(prior: LatentPrior) -> LatentPrior:
                return shared_by(run.group, Around(prior, bar.stage), plan.frames_at_once)

            for first, stop in _stretches(missing, begun):
                state, trace = begun.get(first, (None, []))
                now = {"index": first, "trace": trace}
                restored = restore_windows(
                    operator,
                    source,
                    description.noise_std,
                    shared(networks.full),
                    sampler,
                    windows,
                    generator=generator_of(run.seed),
                    begin=first,
                    frames_at_once=None,
                    observe=observe,
                    inner=None if networks.quick is None else shared(networks.quick),
                    device=device,
                    place=place_for(run, plan, notes),
                    state=state,
                )
                for one in islice(restored, stop - first):
                    if run.checkpoints is not None:
                        _keep(run.checkpoints, one, now["trace"])
                    now = {"index": one.index + 1, "trace": []}
                    left = (time.perf_counter() - since) / made * (to_make - made)
                    console.print(
                        f"window {one.index + 1}/{len(windows)}: {one.window.stop} of "
                        f"{frames} frames restored, about {left:.0f} s left"
                    )
                    bar.again()
                    del one

    repeated_in(run, attempt, networks, console)
    record = _record(operator, source, sampler, windows, run)
    finished = (entry["trace"] for i, entry in enumerate(record["windows"]) if i in before)
    earlier += sum(step["seconds"] for trace in finished for step in trace)
    record["seconds"] = round(earlier + time.perf_counter() - began, 3)
    record["memory_plan"] = str(networks.obeyed(device))
    record["context"] = context
    record["video_shape"] = [frames, *shape[1:]]
    record["noise_std"] = description.noise_std
    record["device"] = str(device)
    notes += about_residual(record["data_residual"], description.noise_std)
    if run.warm:
        record["warm_up_seconds"] = round(networks.warm_up_seconds, 3)
    return Long(record, notes, lambda: _pieces(run.checkpoints, windows), windows)


def write_long(
    output: Path,
    long: Long,
    source: FrameStream,
    operator: ForwardOperator,
    description: Description,
    truth: Path | None,
    overwrite: bool,
) -> list[Path]:
    """The video, a picture and a page of its first window, and the record."""
    picture, record_path, page = beside(output)
    frames = len(source)

    def measured() -> Iterator[Video]:
        for window in long.windows:
            problem = window.problem(operator, source, description.noise_std)
            yield window.core(lift(problem.operator, problem.measurement))

    def true() -> Iterator[Video]:
        assert truth is not None
        sizes = (window.stop - window.first for window in long.windows)
        for video in clip_in_pieces(truth, sizes):
            yield cover(video, description.height, description.width)

    if truth is not None:
        long.record["measures"] = measures_in_pieces(zip(long.pieces(), true(), strict=True))
        before = measures_in_pieces(zip(measured(), true(), strict=True))
        long.record["measurement_measures"] = before
    long.record["notes"] = long.notes
    long.notes.extend(
        write_pieces(
            output,
            long.pieces,
            frames,
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
    remark = f"These are the {len(video)} frames of the first of {len(long.windows)} windows."
    write_page(page, columns, description.rate, long.record, remarks=[remark])
    outputs.write_json(record_path, long.record)
    return written


def _what_is_missing(
    checkpoints: CheckpointFolder | None, windows: tuple[Window, ...], notes: list[str]
) -> tuple[list[int], dict[int, tuple[State, list[StepRecord]]]]:
    """The windows that are not finished, and how far those are that were begun."""
    if checkpoints is None:
        return list(range(len(windows))), {}
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
    return missing, begun


def _stretches(missing: list[int], begun: Collection[int]) -> list[tuple[int, int]]:
    """Windows that are made one after another, as (first, stop); one that was begun is a first."""
    found: list[tuple[int, int]] = []
    for index in missing:
        if found and found[-1][1] == index and index not in begun:
            found[-1] = found[-1][0], index + 1
        else:
            found.append((index, index + 1))
    return found


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


def _record(
    operator: ForwardOperator,
    source: FrameStream,
    sampler: Sampler,
    windows: tuple[Window, ...],
    run: Run,
) -> dict[str, Any]:
    entries, squares = [], 0.0
    for index, window in enumerate(windows):
        facts = run.checkpoints.facts(_name(index)) if run.checkpoints is not None else None
        trace = [] if facts is None else facts["trace"]
        entries.append({"first": window.first, "stop": window.stop, "trace": trace})
        if trace:
            squares += (window.stop - window.first) * trace[-1]["data_residual"] ** 2
    return {
        "command": outputs.command_line(),
        "settings": run.settings,
        "operator": told_of(operator),
        "method": told_of(sampler),
        "measurement_shape": list(source.shape),
        "data_residual": math.sqrt(squares / len(source)),
        "threads": torch.get_num_threads(),
        "processes": run.group.size,
        "versions": versions(),
        "windows": entries,
    }
