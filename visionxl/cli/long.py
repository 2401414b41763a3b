"""A long clip for the command line: in windows, each kept after every step."""

import math
import time
from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import torch
from attrs import asdict, evolve, frozen
from rich.console import Console

from visionxl.checkpoints import CheckpointFolder, StatesOnDisk
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
from visionxl.distributed import Processes
from visionxl.errors import InputError, told_of
from visionxl.measurements import Description, generator_of
from visionxl.operators import lift
from visionxl.planning import MemoryPlan
from visionxl.planning.plan import counted
from visionxl.protocols import LatentPrior, Step, Video
from visionxl.report import measures_in_pieces, write_page
from visionxl.report.record import versions
from visionxl.sizes import cover
from visionxl.solvers import Around, Sampler
from visionxl.solvers.long import restore_windows
from visionxl.solvers.sweep import WindowState, step_begun
from visionxl.solvers.windows import LongProblem, Window, enough_context, later_windows
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
    """Restore what is not finished yet, and keep it in the checkpoints."""
    lengths = {window.size for window in problem.windows}
    shape = torch.Size((max(lengths), 3, description.height, description.width))
    networks = ready(prior, sampler, shape, run, lengths)
    if run.group.size > 1:
        run.group.check_same(videos=words_of_place(networks.plan))
    own = StatesOnDisk(run.checkpoints, networks.notes.append) if run.checkpoints else None
    states, count, steps = ForAll(own, run.group), len(problem.windows), len(sampler.times)
    earlier = _seconds_of(run.checkpoints)
    missing = run.group.share(_missing(run.checkpoints, count, networks.notes))
    if missing and (done := _where_it_stopped(states, steps, count, missing)) != (None, 0):
        step, more = done
        within = "the start" if step is None else f"step {step + 1} of {steps}"
        networks.notes.append(f"went on in {within}, after {more} of {count} windows")
    began = time.perf_counter()
    console = Console(stderr=True, emoji=False, quiet=not (run.show and run.group.first))
    device = networks.plan.video_device

    def attempt(plan: MemoryPlan) -> None:
        nonlocal device, missing
        device = plan.video_device
        there = evolve(problem, device=device)
        for index in _restored(there, sampler, networks, plan, run, states, missing, console):
            missing = [other for other in missing if other != index]

    if missing:
        repeated_in(run, attempt, networks, console)
    record = _record(problem, sampler, run)
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
class ForAll(MutableMapping[tuple[int, int], WindowState]):
    """The first process's states, for all processes of a group, which ask at the same time.

    ``kept`` is called with the key of every state that is kept.
    """

    own: StatesOnDisk | None
    group: Processes
    kept: Callable[[tuple[int, int]], object] = lambda key: None

    def __getitem__(self, key: tuple[int, int]) -> WindowState:
        found = self.group.share(None if self.own is None else self.own.get(key))
        if found is None:
            raise KeyError(key)
        return found

    def __contains__(self, key: object) -> bool:
        return self.group.share(self.own is not None and key in self.own)

    def __setitem__(self, key: tuple[int, int], value: WindowState) -> None:
        if self.own is not None:
            self.own[key] = value
        self.kept(key)

    def __delitem__(self, key: tuple[int, int]) -> None:
        if self.own is not None:
            del self.own[key]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        yield from self.group.share(None if self.own is None else list(self.own))

    def __len__(self) -> int:
        return self.group.share(None if self.own is None else len(self.own))


def _restored(
    problem: LongProblem,
    sampler: Sampler,
    networks: Ready,
    plan: MemoryPlan,
    run: Run,
    states: ForAll,
    missing: list[int],
    console: Console,
) -> Iterator[int]:
    """Restore what is left, show the progress, and yield each window when it is kept."""
    frames, count, steps = len(problem.measurement), len(problem.windows), len(sampler.times)
    done, more = _where_it_stopped(states, steps, count, missing)
    whole = float(done or 0) if done in (None, steps - 1) else done + more / count
    # What comes before the last step, and the last one of those that are missing.
    to_make = round((steps - 1 - whole) * count) + len(missing)
    current, made, in_step, began = -1, 0, 0, time.perf_counter()
    later = later_windows(problem)
    seen = 2 * (later[-1].end - later[0].begin) + frames  # by the three networks in a step
    with StepBar(console, steps, frames, done=whole, seen=seen) as bar:

        def observe(index: int, step: Step) -> None:
            nonlocal current, made, in_step, began
            if step.record.index != current:  # the last takes longer, and the start
                current, in_step = step.record.index, 0
                began = time.perf_counter() - step.record.seconds
            made, in_step = made + 1, in_step + 1
            left = (time.perf_counter() - began) / in_step * (to_make - made)
            bar.observe(step, part=f", window {index + 1}/{count}", left=left)

        def kept(key: tuple[int, int]) -> None:
            if key[0] == 0:
                bar.begin(f"window {key[1] + 1}/{count}")

        def shared(prior: LatentPrior) -> LatentPrior:
            return shared_by(run.group, Around(prior, bar.stage), plan.frames_at_once)

        for one in restore_windows(
            problem,
            shared(networks.full),
            sampler,
            generator=generator_of(run.seed),
            indices=missing,
            states=evolve(states, kept=kept),
            frames_at_once=None,
            observe=observe,
            inner=None if networks.quick is None else shared(networks.quick),
            place=place_for(run, plan, networks.notes),
        ):
            if run.checkpoints is not None:
                facts = {
                    "first": one.window.first,
                    "trace": [asdict(record) for record in one.trace],
                }
                run.checkpoints.save(_name(one.index), {"video": one.video.cpu()}, facts)
            console.print(
                f"window {one.index + 1}/{count}: {one.window.stop} of {frames} frames restored"
            )
            yield one.index
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
        f"to keep {core} frames, a window sees up to {longest}, {context} on either side: "
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


def _missing(checkpoints: CheckpointFolder | None, count: int, notes: list[str]) -> list[int]:
    """The windows that are not finished, with notes on damaged ones."""
    if checkpoints is None:
        return list(range(count))
    kept = checkpoints.names(WINDOW)
    missing = [index for index in range(count) if checkpoints.load(_name(index)) is None]
    for index in missing:
        if _name(index) in kept:
            words = f"checkpoint {checkpoints.path.name}/{_name(index)} is damaged: made again"
            notes.append(words)
    if not missing:
        notes.append(f"all {count} windows were finished")
    return missing


def _where_it_stopped(
    states: ForAll, steps: int, count: int, missing: list[int]
) -> tuple[int | None, int]:
    """How many steps all windows have made, and how many windows have made the next.

    None where not even all starts are there, and how many are.
    """
    step = step_begun(states, steps, count)
    if step == steps - 1:
        return step, count - len(missing)
    following = 0 if step is None else step + 1
    return step, sum((following, window) in states for window in range(count))


def _seconds_of(checkpoints: CheckpointFolder | None) -> float:
    """How long the steps took that were made before."""
    found: dict[int, Any] = {}
    if checkpoints is not None:
        for name in (*checkpoints.names("step-"), *checkpoints.names(WINDOW)):
            facts = checkpoints.facts(name)
            if facts is not None:
                found[int(name.rsplit("-", 1)[1])] = facts["trace"]
    return sum((step["seconds"] for trace in found.values() for step in trace), 0.0)


def _name(index: int) -> str:
    return f"{WINDOW}-{index:05d}"


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
