"""evaluate: a restored video held against the original."""

from collections.abc import Iterator
from itertools import repeat
from pathlib import Path
from typing import Annotated, Any

import typer

from visionxl.cli.checking import check_original
from visionxl.cli.measurement_options import MeasurementOptions, outermost_mask
from visionxl.cli.options import (
    FramesOption,
    JsonOption,
    app,
    examples,
    say,
)
from visionxl.cli.reading import clip_in_frames, measurement_in_frames, resized
from visionxl.errors import InputError
from visionxl.measurements import generator_of
from visionxl.operators.reach import has_reach
from visionxl.protocols import Video
from visionxl.report import measures_in_pieces
from visionxl.solvers.hosted_operator import pieces_of
from visionxl.solvers.residual import residual_in_pieces
from visionxl.streaming import clip_in_pieces, cut, masked
from visionxl.video import is_lossy

PIECE = 16  # frames that are compared at once
NO_LPIPS = "lpips is left out: its weights are not on this machine, or the frames are too small"


@app.command(
    short_help="Measure a restored video against the original.",
    epilog=examples(
        "visionxl evaluate x.mp4 clip.mp4",
        "visionxl evaluate x.mp4 clip.mp4 --measurement y.safetensors --json",
    ),
)
def evaluate(
    video: Annotated[Path, typer.Argument(help="The restored video.")],
    clip: Annotated[Path, typer.Argument(help="The original clip.")],
    measurement: Annotated[
        Path | None, typer.Option(help="From simulate: adds the data residual.")
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="FILE.py:FUNCTION, if it was measured by your own task.")
    ] = None,
    size: Annotated[
        str | None, typer.Option(help="HEIGHTxWIDTH of the clip, as given to simulate.")
    ] = None,
    frames: FramesOption = None,
    json_: JsonOption = False,
) -> None:
    """Measure a restored video against the original: PSNR, SSIM, flicker, residual."""
    if measurement is not None and measurement.suffix.lower() != ".safetensors":
        raise InputError(
            f"--measurement {measurement.name} does not say how it was measured: give a "
            ".safetensors file from simulate, or leave it out"
        )
    if measurement is None and task is not None:
        raise InputError(f"--task {task!r} is for --measurement: give both, or none")
    notes: list[str] = []
    figures: dict[str, Any] = dict(measures_in_pieces(_pairs(video, clip, size, frames, notes)))
    if measurement is not None:
        options = MeasurementOptions(task)
        values, description = measurement_in_frames(measurement, options, kept=0)
        operator = description.operator(generator_of(description.seed))
        source = clip_in_frames(video, frames).frames
        own = description.height, description.width
        padded = video.suffix.lower() == ".mp4" and _is_padded(source.shape[-2:], own)
        restored = cut(source, *own) if padded else source
        first = next(pieces_of(operator, restored))[1]
        made = len(restored) if has_reach(operator) else len(first), *first.shape[1:]
        if made != values.shape:
            raise InputError(
                f"--measurement {measurement.name} has shape {values.shape}, but measuring the "
                f"restored video gives {made}: give the measurement that the video was restored "
                f"from{', and leave --frames out' if frames is not None else ''}"
            )
        mask = outermost_mask(operator)
        seen = values if mask is None else masked(values, mask.mask)
        residual = residual_in_pieces(pieces_of(operator, restored), seen)
        figures["data_residual"] = round(residual, 6)
        figures["noise_std"] = description.noise_std
    named = {k: "infinite" if v is None else v for k, v in figures.items()}  # of equal videos
    lines = ", ".join(f"{name} {value}" for name, value in named.items())
    if video.suffix.lower() != ".safetensors" and is_lossy(video):
        notes.append(
            f"{video.name} went through a lossy codec, which lowers the figures: .mkv has none"
        )
    notes += [] if "lpips" in figures else [NO_LPIPS]
    say({**figures, "notes": notes}, json_, lines, notes, [])


def _is_padded(size: tuple[int, ...], own: tuple[int, ...]) -> bool:
    """Whether .mp4 has made a size even."""
    return tuple(size) != tuple(own) and tuple(size) == tuple(side + side % 2 for side in own)


def _pairs(
    video: Path, clip: Path, size: str | None, frames: int | None, notes: list[str]
) -> Iterator[tuple[Video, Video]]:
    """The restored video and the clip some frames at a time, in one size."""
    videos, truths = (clip_in_pieces(path, repeat(PIECE), frames) for path in (video, clip))
    compared, longer = 0, False
    for restored in videos:
        original = next(truths, restored[:0])
        there = len(restored)
        check_original(f"the restored video {video.name}", restored, (1, 3))
        if len(original) < there:
            found = compared + len(original)
            raise InputError(
                f"the clip {clip.name} has {found} frames and the restored video has more: "
                f"give the clip that was measured, or --frames {found}"
            )
        check_original(f"the clip {clip.name}", original, (1, 3))
        truth = resized(original[:there], size)
        height, width = truth.shape[-2:]
        mp4 = video.suffix.lower() == ".mp4"
        padded = mp4 and _is_padded(restored.shape[-2:], (height, width))
        if padded:
            restored = restored[..., :height, :width]
        if padded and not compared:
            notes.append(f"{video.name} was padded to an even size: the padding is cut off")
        if restored.shape[-2:] != truth.shape[-2:]:
            (height, width), (h, w) = restored.shape[-2:], truth.shape[-2:]
            cut = f"give the size that simulate cut it to, --size {height}x{width}"
            smaller = size is None and (h < height or w < width)
            way = "give the clip that was measured" if smaller else cut
            other = "the clip" if size is None else "with --size the clip is"
            raise InputError(f"the restored video is {height}x{width} and {other} {h}x{w}: {way}")
        yield restored, truth
        compared += there
        longer = len(original) > there
    if longer or next(truths, None) is not None:
        notes.append(f"the clip is longer: its first {compared} frames are compared")
