"""Every method on every clip, task, noise and seed."""

import tempfile
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from attrs import frozen
from clips import MULTIPLE, sized
from measuring import measures, run
from peers.case import Case, Method
from pictures import draw, keep, paths_of
from results import Record, key_of

from visionxl import Video
from visionxl.operators import Mask, lift, task_named
from visionxl.operators.composition import find_parts
from visionxl.protocols import LatentPrior
from visionxl.video import Clip


@frozen
class Sweep:
    """What is measured.

    Args:
        clips: by name.
        frames: at most so many of each.
        height: of the frames, in pixels; see :func:`clips.sized`.
        width: of the frames, in pixels.
        tasks: names in ``visionxl.operators.TASKS``.
        noises: standard deviations, in units of the range [-1, 1].
        seeds: how many, from 0.
        device: of the videos.
    """

    clips: Mapping[str, Path]
    frames: int
    height: int
    width: int
    tasks: Sequence[str]
    noises: Sequence[float]
    seeds: int
    device: torch.device

    def clip(self, path: Path) -> Clip:
        return sized(path, self.frames, self.height, self.width)


@frozen(eq=False)
class Job:
    """One case, and the methods that answer it.

    Args:
        clip: the truth.
        told: the fields of a record that say which case it is.
        methods: by name.
        device: where they run.
    """

    clip: Clip
    told: dict[str, Any]
    methods: Mapping[str, Method]
    device: torch.device

    def key(self, method: str) -> tuple[Any, ...]:
        return key_of(self.told | {"method": method})

    def case(self) -> Case:
        told = (self.told[name] for name in ("task", "noise", "seed"))
        return Case.make(self.clip.video, *told, device=self.device)

    @property
    def name(self) -> str:
        """Of its pictures."""
        return "{clip}_{task}_{noise:g}_{frames}x{height}x{width}".format(**self.told)


def differs_by_seed(task: str, noise: float) -> bool:
    """Whether there is chance in the measurement: noise, or a mask."""
    operator = task_named(task)(1, MULTIPLE, MULTIPLE, torch.Generator().manual_seed(0))
    return noise > 0 or bool(find_parts(operator, Mask))


def jobs(
    sweep: Sweep, classical: Mapping[str, Method], methods: Mapping[str, Method]
) -> Iterator[Job]:
    """Every case of a sweep, a clip at a time.

    Where the measurement has no chance in it, the ``classical`` methods, which have none either,
    would repeat themselves: they answer seed 0 alone.
    """
    chancy = {name: method for name, method in methods.items() if name not in classical}
    for name, path in sweep.clips.items():
        clip = sweep.clip(path)
        frames, _, height, width = clip.video.shape
        size = {"height": height, "width": width, "frames": frames}
        for task in sweep.tasks:
            for noise in sweep.noises:
                for seed in range(sweep.seeds):
                    told = {"clip": name, "task": task, "noise": noise, "seed": seed}
                    fresh = seed == 0 or differs_by_seed(task, noise)
                    yield Job(clip, told | size, methods if fresh else chancy, sweep.device)


def answer(
    job: Job,
    case: Case,
    name: str,
    prior: LatentPrior,
    made: Mapping[str, Any],
    show: Callable[[Record, Video], None],
) -> Record:
    """Run one method. ``show`` sees the video, which is let go before the next method runs."""
    result = run(job.methods[name], case, prior)
    estimate = result.estimate
    record = Record(
        **job.told,
        **measures(case, estimate),
        **made,
        method=name,
        evaluations=estimate.evaluations,
        seconds=round(result.seconds, 3),
        peak_bytes=result.peak_bytes,
        note=estimate.note,
    )
    show(record, estimate.video)
    return record


def records_of(
    job: Job,
    done: Container[tuple[Any, ...]],
    prior: Callable[[], LatentPrior],
    made: Mapping[str, Any],
    folder: Path | None,
) -> Iterator[Record]:
    """Run the methods of a case that are not done, and draw it.

    Args:
        job: the case.
        done: keys of the records that are there already.
        prior: loads it; called where something is run.
        made: the fields of a record that say what made it.
        folder: for the pictures of seed 0. A picture needs every method: a case that is not
            wholly done, or has no picture yet, runs all of them, and only new records are told.
    """
    missing = [name for name in job.methods if job.key(name) not in done]
    if folder is not None and job.told["seed"] == 0:
        if missing or not all(path.exists() for path in paths_of(folder, job.name)):
            for record in drawn(job, prior(), made, folder):
                if record.method in missing:
                    yield record
    elif missing:
        case = job.case()
        for name in missing:
            yield answer(job, case, name, prior(), made, lambda record, video: None)


def drawn(job: Job, prior: LatentPrior, made: Mapping[str, Any], folder: Path) -> Iterator[Record]:
    """Run every method of a case, and draw them beside the truth and the lifted measurement."""
    case = job.case()
    with tempfile.TemporaryDirectory() as place:
        tiles = {}

        def show(label: str, video: Video) -> None:
            tiles[label] = keep(Path(place) / f"{len(tiles)}.npy", video.cpu())

        def show_answer(record: Record, video: Video) -> None:
            figure = "not finite" if record.psnr is None else f"{record.psnr:.2f} dB"
            show(f"{record.method}, {figure}", video)

        show("truth", case.truth)
        show("measurement", lift(case.problem.operator, case.problem.measurement))
        for name in job.methods:
            yield answer(job, case, name, prior, made, show_answer)
        draw(folder, job.name, tiles, job.clip.rate)
