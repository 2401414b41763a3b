"""The commands. Each turns words into values, calls the library and says what it wrote."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import click
import torch
import typer
from rich.console import Console

from visionxl.cli import report
from visionxl.cli.memory import check_memory, machine_memory, working_bytes
from visionxl.cli.progress import StepBar, Watched
from visionxl.cli.reading import (
    measurement_and_description,
    prior_for,
    prior_named,
    read_mask,
    resized,
)
from visionxl.errors import InputError
from visionxl.files import check_output
from visionxl.measurements import Description, generator_of, save_measurement
from visionxl.operators import TASKS, lift
from visionxl.protocols import InverseProblem, Video
from visionxl.simulation import simulate as make_problem
from visionxl.solvers import restore as run
from visionxl.solvers import vision_xl
from visionxl.video import Clip, read_clip
from visionxl.writing import check_kind, write_clip

DEMO_CLIP = Path(__file__).parent.parent / "assets" / "flower.mp4"

app = typer.Typer(
    help="Restore video with an image latent diffusion model.",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
)
err = Console(stderr=True, highlight=False)

TaskOption = Annotated[str | None, typer.Option(help="One of: " + ", ".join(TASKS) + ".")]
NoiseOption = Annotated[
    float | None, typer.Option(help="Standard deviation, in units of the range [-1, 1].")
]
SeedOption = Annotated[int, typer.Option(help="Of everything random.")]
WindowOption = Annotated[
    int | None, typer.Option(help="Frames of the temporal average, where not the task's 7.")
]
MaskOption = Annotated[
    Path | None, typer.Option(help="Picture of the known pixels (white), for inpaint tasks.")
]
FramesOption = Annotated[int | None, typer.Option(min=1, help="Use the first frames only.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace what exists.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print a report for machines.")]


@app.command(
    epilog="Example: visionxl simulate clip.mp4 --task deblur+ --noise 0.01 --output y.safetensors"
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
    source = resized(read_clip(clip, frames), size)
    if task is None:
        raise InputError("--task is missing: choose one of " + ", ".join(TASKS))
    count, _, height, width = source.video.shape
    description = Description(
        task, count, height, width, noise or 0.0, seed, window, source.rate, read_mask(mask)
    )
    generator = generator_of(seed)
    operator = description.operator(generator)
    problem = make_problem(source.video, operator, description.noise_std, generator=generator)
    notes = []
    if output.suffix == ".safetensors":
        save_measurement(output, problem, description, overwrite)
    else:
        notes = write_clip(
            output, problem.measurement, source.rate, sound=source.sound, overwrite=overwrite
        )
        notes.append(f"{output.name} holds 8-bit values: restore needs --task, --noise and --seed")
    told = {
        "task": task,
        "operator": repr(operator),
        "noise_std": description.noise_std,
        "video_shape": list(source.video.shape),
        "measurement_shape": list(problem.measurement.shape),
        "output": str(output),
        "notes": notes,
    }
    _say(told, json_, f"{operator!r}, noise {description.noise_std}", notes, [output])


@app.command(epilog="Example: visionxl restore y.safetensors --output x.mp4")
def restore(
    measurement: Annotated[Path, typer.Argument(help="From simulate, or any video.")],
    task: TaskOption = None,
    noise: NoiseOption = None,
    seed: SeedOption = 0,
    prior: Annotated[
        str, typer.Option(help="pocket, a folder in diffusers' layout, or a hub id.")
    ] = "pocket",
    prompt: Annotated[str, typer.Option(help="For priors that read text.")] = "",
    output: Annotated[
        Path, typer.Option(help=".mp4, .mkv (lossless), .safetensors, or a folder of PNG.")
    ] = Path("restored.mp4"),
    truth: Annotated[
        Path | None, typer.Option(help="The original clip, to measure against.")
    ] = None,
    window: WindowOption = None,
    mask: MaskOption = None,
    steps: Annotated[int, typer.Option(min=1, max=1000, help="Times of the whole schedule.")] = 25,
    frames_at_once: Annotated[
        int, typer.Option(min=1, help="In one network call: more is faster and takes more memory.")
    ] = 1,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps, ...")] = "cpu",
    dtype: Annotated[
        str, typer.Option(help="Of the networks: float32, bfloat16, float16.")
    ] = "float32",
    overwrite: OverwriteOption = False,
    json_: JsonOption = False,
) -> None:
    """Restore a measurement; write the video, a picture and a record beside it."""
    check_kind(output)
    for path in (output, *_beside(output)):
        check_output(path, overwrite)
    values, description = measurement_and_description(
        measurement, task, noise, seed, window, read_mask(mask)
    )
    problem = InverseProblem(
        description.operator(generator_of(description.seed)), values, description.noise_std
    )
    loaded = prior_named(prior, prompt, dtype, device)
    sampler = vision_xl(count=steps)
    settings = {
        "measurement": str(measurement),
        "task": description.task,
        "seed": seed,
        "prior": prior,
        "prompt": prompt,
        "steps": steps,
        "frames_at_once": frames_at_once,
        "dtype": dtype,
        "output": str(output),
    }
    reference = None if truth is None else read_clip(truth, description.frames)
    shown = _restored(problem, loaded, sampler, settings, seed, frames_at_once, not json_)
    restored, record, notes = shown
    if reference is not None:
        reference = resized(reference, f"{restored.shape[-2]}x{restored.shape[-1]}")
        record["measures"] = report.measures(restored, reference.video)
    sound = measurement if measurement.suffix != ".safetensors" and measurement.is_file() else None
    clip = Clip(restored, description.rate, _sound(sound))
    written = _write_all(output, clip, problem, reference, record, notes, overwrite)
    _say(record, json_, _summary(record), notes, written)


@app.command(epilog="Example: visionxl evaluate x.mp4 clip.mp4 --measurement y.safetensors")
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
    restored = read_clip(video, frames).video
    truth = resized(read_clip(clip, frames or len(restored)), size).video
    told: dict[str, Any] = dict(report.measures(restored, truth))
    if measurement is not None:
        values, description = measurement_and_description(measurement, None, None, 0, None, None)
        operator = description.operator(generator_of(description.seed))
        problem = InverseProblem(operator, values, description.noise_std)
        told["data_residual"] = round(report.data_residual(problem, restored), 6)
        told["noise_std"] = description.noise_std
    lines = ", ".join(f"{name} {value}" for name, value in told.items())
    notes = [] if "lpips" in told else ["lpips is left out: its weights are not on this machine"]
    _say(told, json_, lines, notes, [])


@app.command(epilog="Example: visionxl demo --output demo-output")
def demo(
    output: Annotated[Path, typer.Option(help="Folder for what it writes.")] = Path("demo-output"),
    overwrite: OverwriteOption = False,
    json_: JsonOption = False,
) -> None:
    """Blur, average and add noise to a real clip, and restore it with the pocket prior."""
    target = output / "restored.mp4"
    if output.exists() and not overwrite:
        check_output(output, overwrite)
    check_output(output.absolute(), overwrite=True)
    output.mkdir(exist_ok=True)
    clip = read_clip(DEMO_CLIP)
    count, _, height, width = clip.video.shape
    description = Description("deblur+", count, height, width, 0.01, 0, rate=clip.rate)
    generator = generator_of(0)
    operator = description.operator(generator)
    problem = make_problem(clip.video, operator, description.noise_std, generator=generator)
    if not json_:
        err.print(f"{count} frames of {height}x{width}, {operator!r}, noise 0.01")
    loaded = prior_named("pocket", "", "float32", "cpu")
    settings = {"clip": DEMO_CLIP.name, "task": "deblur+", "seed": 0, "prior": "pocket"}
    restored, record, notes = _restored(problem, loaded, vision_xl(), settings, 0, 4, not json_)
    record["measures"] = report.measures(restored, clip.video)
    record["measurement_measures"] = report.measures(problem.measurement, clip.video)
    written = _write_all(
        target, Clip(restored, clip.rate), problem, clip, record, notes, overwrite=True
    )
    columns = _columns(problem, restored, clip.video)
    for name, video in (
        ("measurement.mp4", problem.measurement),
        ("comparison.mp4", report.side_by_side(columns)),
    ):
        notes += write_clip(output / name, video, clip.rate, overwrite=True)
        written.append(output / name)
    _say(record, json_, _summary(record), notes, written)


@app.command(epilog="Example: visionxl info --json")
def info(json_: JsonOption = False) -> None:
    """Versions, devices, tasks, priors, and the memory that sizes take."""
    devices = ["cpu"] + [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps")
    sizes = [(25, 288, 512), (25, 768, 1280), (25, 1024, 1024)]
    told = {
        "versions": report.versions(),
        "devices": devices,
        "memory_bytes": machine_memory(),
        "tasks": list(TASKS),
        "priors": ["pocket", "a folder in diffusers' layout", "a hub id"],
        "memory_estimate_bytes": {
            f"{f} frames of {h}x{w}": working_bytes(f, h, w) for f, h, w in sizes
        },
    }
    if json_:
        print(json.dumps(told, indent=2))
        return
    for name, value in told.items():
        title = name.replace("_bytes", "").replace("_", " ")
        if isinstance(value, dict):
            print(f"{title}:")
            for key, entry in value.items():
                print(
                    f"  {key}: {entry / 1e9:.1f} GB"
                    if isinstance(entry, int)
                    else f"  {key} {entry}"
                )
        elif isinstance(value, int):
            print(f"{title}: {value / 1e9:.1f} GB")
        else:
            print(f"{title}: {', '.join(value)}")


def _restored(
    problem: InverseProblem,
    prior: Any,
    sampler: Any,
    settings: dict[str, Any],
    seed: int,
    frames_at_once: int,
    show: bool,
) -> tuple[Video, dict[str, Any], list[str]]:
    """Run the method under a progress bar; the video, its record, and words on what was done."""
    shape = problem.operator.adjoint(problem.measurement).shape
    check_memory(*shape)
    fitted, notes = prior_for(prior, shape[-2], shape[-1])
    began = time.perf_counter()
    quiet = Console(stderr=True, quiet=not show)
    with StepBar(quiet, len(sampler.times), shape[0]) as bar:
        result = run(
            problem,
            Watched(fitted, bar.tell),
            sampler,
            generator=generator_of(seed),
            frames_at_once=frames_at_once,
            observe=bar.observe,
        )
    seconds = time.perf_counter() - began
    return result.video, report.run_record(problem, sampler, result, settings, seconds), notes


def _beside(output: Path) -> tuple[Path, Path]:
    return output.with_suffix(".png"), output.with_suffix(".json")


def _write_all(
    output: Path,
    clip: Clip,
    problem: InverseProblem,
    truth: Clip | None,
    record: dict[str, Any],
    notes: list[str],
    overwrite: bool,
) -> list[Path]:
    """The video, the picture and the record."""
    picture, record_path = _beside(output)
    notes += write_clip(output, clip.video, clip.rate, sound=clip.sound, overwrite=overwrite)
    reference = None if truth is None else truth.video
    report.write_picture(picture, _columns(problem, clip.video, reference))
    record["notes"] = notes
    record["outputs"] = [str(output), str(picture), str(record_path)]
    report.write_json(record_path, record)
    return [output, picture, record_path]


def _columns(problem: InverseProblem, restored: Video, truth: Video | None) -> dict[str, Video]:
    columns = {"measurement": lift(problem.operator, problem.measurement), "restored": restored}
    return columns if truth is None else {**columns, "truth": truth}


def _sound(path: Path | None) -> Path | None:
    return None if path is None else read_clip(path, 1).sound


def _summary(record: dict[str, Any]) -> str:
    frames, _, height, width = record["video_shape"]
    words = [f"restored {frames} frames of {height}x{width} in {record['seconds']:.0f} s"]
    words.append(f"data residual {record['data_residual']:.4f} (noise {record['noise_std']:g})")
    if "measures" in record:
        after = record["measures"]
        before = record.get("measurement_measures", {})
        for name, unit in (("psnr", " dB"), ("ssim", ""), ("difference_psnr", " dB")):
            if name in after:
                was = f", was {before[name]:.2f}" if name in before else ""
                words.append(f"{name.replace('_', ' ')} {after[name]:.2f}{unit}{was}")
    return "; ".join(words)


def _say(
    record: dict[str, Any], as_json: bool, summary: str, notes: list[str], written: list[Path]
) -> None:
    if as_json:
        print(json.dumps(record, indent=2))
        return
    print(summary)
    for note in notes:
        print(f"note: {note}")
    for path in written:
        print(f"wrote {path}")


@contextmanager
def _explained() -> Iterator[None]:
    """Errors of the user's making become one sentence and exit code 2."""
    try:
        yield
    except InputError as error:
        _fail(str(error))
    except click.UsageError as error:
        _fail(error.format_message())
    except (MemoryError, torch.OutOfMemoryError) as error:
        _fail(f"memory ran out ({error}): try --frames-at-once 1, fewer frames or a smaller size")
    except KeyboardInterrupt:
        err.print("stopped; nothing half-written was left behind")
        sys.exit(130)


def _fail(sentence: str) -> None:
    err.print(f"visionxl: error: {sentence}", markup=False, soft_wrap=True)
    sys.exit(2)


def main() -> None:
    """The entry point of the console script."""
    with _explained():
        code = app(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
