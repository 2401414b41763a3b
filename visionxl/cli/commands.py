"""simulate, restore, evaluate: words into values, a call of the library, words again."""

from collections.abc import Iterator
from itertools import repeat
from pathlib import Path
from typing import Annotated, Any

import typer

from visionxl.cli.app import (
    FramesOption,
    JsonOption,
    MaskOption,
    NoiseOption,
    OverwriteOption,
    SeedOption,
    TaskOption,
    WindowOption,
    app,
    examples,
    say,
)
from visionxl.cli.reading import measurement_and_description, read_mask, resized
from visionxl.cli.told import Told
from visionxl.errors import InputError
from visionxl.files import check_output
from visionxl.measurements import Description, generator_of, save_measurement
from visionxl.operators import TASK_NAMES, Mask, TemporalAverage
from visionxl.operators.composition import find_parts
from visionxl.protocols import InverseProblem, Video
from visionxl.report import measures_in_pieces
from visionxl.simulation import simulate as make_problem
from visionxl.solvers.contract import data_residual
from visionxl.streaming import clip_in_pieces
from visionxl.video import is_lossy, read_clip
from visionxl.writing import check_kind, write_clip

PIECE = 16  # frames that are compared at once


@app.command(
    epilog=examples(
        "visionxl simulate clip.mp4 --task deblur+ --noise 0.01",
        "visionxl simulate clip.mp4 --task sr4 --size 384x640 --frames 25",
    )
)
def simulate(
    clip: Annotated[Path, typer.Argument(help="A video, a folder of images, or an image.")],
    task: TaskOption = None,
    noise: NoiseOption = None,
    seed: SeedOption = 0,
    output: Annotated[
        Path, typer.Option(help=".safetensors keeps every value and the task; or .mkv, .mp4.")
    ] = Path("measurement.safetensors"),
    window: WindowOption = None,
    mask: MaskOption = None,
    frames: FramesOption = None,
    size: Annotated[
        str | None, typer.Option(help="HEIGHTxWIDTH: resize and centre-crop the clip first.")
    ] = None,
    overwrite: OverwriteOption = False,
    json_: JsonOption = False,
) -> None:
    """Degrade a clip: make a measurement to restore."""
    check_kind(output)
    check_output(output, overwrite)
    source = read_clip(clip, frames)
    video = resized(source.video, size)
    if task is None:
        raise InputError("--task is missing: choose one of " + ", ".join(TASK_NAMES))
    count, _, height, width = video.shape
    known = read_mask(mask, count)
    description = Description(
        task, count, height, width, noise or 0.0, seed, window, source.rate, known
    )
    generator = generator_of(seed)
    operator = description.operator(generator)
    problem = make_problem(video, operator, description.noise_std, generator=generator)
    notes = []
    if output.suffix == ".safetensors":
        save_measurement(output, problem, description, overwrite)
    else:
        notes = write_clip(
            output, problem.measurement, source.rate, sound=source.sound, overwrite=overwrite
        )
        lossy = " after a lossy codec" if is_lossy(output) else ""
        drawn = mask is None and find_parts(operator, Mask)
        again = ", and --seed for a mask" if drawn else ""
        notes.append(
            f"{output.name} holds 8-bit values{lossy}, and does not tell how it was measured: give "
            f"restore --task{again}; a .safetensors file keeps all"
        )
    told = {
        "task": task,
        "operator": repr(operator),
        "noise_std": description.noise_std,
        "video_shape": list(video.shape),
        "measurement_shape": list(problem.measurement.shape),
        "output": str(output),
        "notes": notes,
    }
    longest = max((part.window for part in find_parts(operator, TemporalAverage)), default=1)
    if longest > count:
        notes.append(f"the average over {longest} frames is longer than the clip, {count} frames")
    if frames is not None and count < frames:
        notes.append(f"the clip has {count} frames, fewer than --frames {frames}")
    line = f"{count} frames of {height}x{width}, {operator!r}, noise {description.noise_std:g}"
    say(told, json_, line, notes, [output])


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
        Path | None, typer.Option(help="From simulate: also tell the data residual.")
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
            f"--measurement {measurement.name} does not tell how it was measured: give a "
            ".safetensors file of simulate, or leave it out"
        )
    notes: list[str] = []
    told: dict[str, Any] = dict(measures_in_pieces(_pairs(video, clip, size, frames, notes)))
    if measurement is not None:
        restored = read_clip(video, frames).video
        values, description = measurement_and_description(measurement, Told())
        operator = description.operator(generator_of(description.seed))
        problem = InverseProblem(operator, values, description.noise_std)
        made = operator.forward(restored).shape
        if made != values.shape:
            raise InputError(
                f"--measurement {measurement.name} has shape {tuple(values.shape)}, and of the "
                f"restored video {tuple(made)} would be measured: give the measurement that it was "
                "restored from"
            )
        told["data_residual"] = round(data_residual(problem, restored), 6)
        told["noise_std"] = description.noise_std
    lines = ", ".join(f"{name} {value}" for name, value in told.items())
    if video.suffix.lower() != ".safetensors" and is_lossy(video):
        notes.append(
            f"{video.name} went through a lossy codec, which lowers the figures: .mkv has none"
        )
    notes += [] if "lpips" in told else ["lpips is left out: its weights are not on this machine"]
    say({**told, "notes": notes}, json_, lines, notes, [])


def _pairs(
    video: Path, clip: Path, size: str | None, frames: int | None, notes: list[str]
) -> Iterator[tuple[Video, Video]]:
    """The restored video and the clip some frames at a time, in one size."""
    videos, truths = (clip_in_pieces(path, repeat(PIECE), frames) for path in (video, clip))
    compared, longer = 0, False
    for restored in videos:
        original = next(truths, restored[:0])
        there = len(restored)
        if len(original) < there:
            found = compared + len(original)
            raise InputError(
                f"the clip {clip.name} has {found} frames and the restored video more: "
                f"give the clip that was measured, or --frames {found}"
            )
        truth = resized(original[:there], size)
        if size is None and restored.shape[-2:] != truth.shape[-2:]:
            (height, width), (h, w) = restored.shape[-2:], truth.shape[-2:]
            cut = f"say how simulate cut it, --size {height}x{width}"
            way = "give the clip that was measured" if h < height or w < width else cut
            raise InputError(f"the restored video is {height}x{width} and the clip {h}x{w}: {way}")
        yield restored, truth
        compared += there
        longer = len(original) > there
    if longer or next(truths, None) is not None:
        notes.append(f"the clip is longer: its first {compared} frames are compared")
