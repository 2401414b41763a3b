"""simulate: a clip into a measurement."""

from pathlib import Path
from typing import Annotated

import typer

from visionxl.cli.options import (
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
from visionxl.cli.outputs import counted
from visionxl.cli.own_tasks import find_task
from visionxl.cli.reading import read_mask, resized
from visionxl.errors import InputError
from visionxl.files import check_output
from visionxl.measurements import Description, generator_of, save_measurement
from visionxl.operators import TASK_NAMES, Mask, TemporalAverage
from visionxl.operators.composition import find_parts
from visionxl.simulation import simulate as make_problem
from visionxl.video import is_lossy, read_clip
from visionxl.writing import check_kind, write_clip


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
        Path, typer.Option(help=".safetensors keeps every value and the task; or .mkv, .mp4, .png.")
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
    check_kind(output, len(video))
    if task is None:
        raise InputError("--task is missing: choose one of " + ", ".join(TASK_NAMES))
    found = find_task(task)
    count, _, height, width = video.shape
    known = read_mask(mask, count)
    description = Description(
        found.name,
        count,
        height,
        width,
        noise or 0.0,
        seed,
        window,
        source.rate,
        known,
        make=found.make,
        code=found.code,
    )
    generator = generator_of(seed)
    operator = description.operator(generator)
    problem = make_problem(video, operator, description.noise_std, generator=generator)
    notes = []
    if output.suffix.lower() == ".safetensors":
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
    facts = {
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
    line = f"{counted(count)} of {height}x{width}, {operator!r}, noise {description.noise_std:g}"
    say(facts, json_, line, notes, [output])
