"""The record of a run: what it was, and what is needed to judge and repeat it."""

import math
import platform
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from attrs import asdict

from visionxl.errors import InputError, told_of
from visionxl.metrics import WINDOW, difference_psnr, lpips, psnr, ssim
from visionxl.protocols import InverseProblem, Restoration, Video
from visionxl.report.watching import Album
from visionxl.solvers import Sampler

DECIDING = (
    "visionxl",
    "torch",
    "diffusers",
    "transformers",
    "safetensors",
    "av",
    "opencv-python-headless",
)


def run_record(
    problem: InverseProblem,
    sampler: Sampler,
    restoration: Restoration,
    seconds: float,
    *,
    command: Sequence[str],
    album: Album | None = None,
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Everything needed to judge and repeat a run, as values that JSON can hold.

    Args:
        problem: that was solved.
        sampler: the method.
        restoration: its result; the whole trace is stored.
        seconds: that the run took.
        command: its arguments, such as ``["python", *sys.argv]``.
        album: of the run: the cost of each step's stages, and how near it came to the truth.
        settings: other choices, by name: ``task``, ``prior``, ``method`` and ``seed`` are shown at
            the top of the page.
    """
    record = {
        "command": list(command),
        "settings": dict(settings or {}),
        "operator": told_of(problem.operator),
        "method": told_of(sampler),
        "noise_std": problem.noise_std,
        "video_shape": list(restoration.video.shape),
        "measurement_shape": list(problem.measurement.shape),
        "data_residual": restoration.trace[-1].data_residual,
        "steps": len(restoration.trace),
        "seconds": round(seconds, 3),
        "device": str(restoration.video.device),
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "trace": [asdict(step) for step in restoration.trace],
        "outputs": [],
    }
    if album is not None:
        record["start_seconds"] = album.start_seconds
        record["stages"] = album.stages(len(restoration.trace))
        record["psnr"] = album.psnr(len(restoration.trace))
    return record


def measures(video: Video, truth: Video) -> dict[str, float | None]:
    """Every metric of ``visionxl.metrics`` that is available here.

    Args:
        video: (frames, channels, height, width), values in [-1, 1].
        truth: likewise.

    Returns:
        By name ``psnr``, ``ssim`` (frames of at least 11 pixels a side) and ``difference_psnr`` (at
        least two frames), and ``lpips`` if its weights are on this machine. JSON has no infinity:
        the PSNR of equal videos is None.
    """
    return measures_in_pieces([(video, truth)])


def measures_in_pieces(pieces: Iterable[tuple[Video, Video]]) -> dict[str, float | None]:
    """:func:`measures` of all frames of a clip that does not fit in memory, to rounding.

    Args:
        pieces: of the video and of the truth, of equal length, in order.
    """
    sums: dict[str, float] = defaultdict(float)
    counts: dict[str, int] = defaultdict(int)

    def add(name: str, value: float | None, frames: int) -> None:
        if value is not None:
            sums[name] += value * frames
            counts[name] += frames

    last: tuple[Video, Video] | None = None
    for video, truth in pieces:
        frames = len(video)
        add("psnr", psnr(video, truth), frames)
        if min(video.shape[-2:]) >= WINDOW:
            add("ssim", ssim(video, truth), frames)
        # The first difference is that to the last frame of the piece before.
        joined = video if last is None else torch.cat([last[0], video])
        true = truth if last is None else torch.cat([last[1], truth])
        if len(joined) > 1:
            add("difference_psnr", difference_psnr(joined, true), len(joined) - 1)
        add("lpips", lpips(video, truth), frames)
        last = video[-1:].clone(), truth[-1:].clone()
    means = {name: total / counts[name] for name, total in sums.items()}
    if any(math.isnan(x) for x in means.values()):
        raise InputError("a video or its truth has values that are not numbers: look at both")
    return {name: round(x, 4) if math.isfinite(x) else None for name, x in means.items()}


def versions() -> dict[str, str]:
    """Versions of the packages that affect the numbers of a run."""
    return {"python": platform.python_version(), **{name: version_of(name) for name in DECIDING}}


def version_of(package: str) -> str:
    """The installed version, or ``not installed``."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
