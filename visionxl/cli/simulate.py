"""simulate: a clip into a measurement."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import torch
import typer
from attrs import evolve

from visionxl.cli.checking import check_apart
from visionxl.cli.memory import MEASURED, check_memory
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
from visionxl.cli.own_tasks import check_answers, find_task
from visionxl.cli.reading import clip_in_frames, read_mask
from visionxl.errors import InputError, name_of
from visionxl.files import check_output
from visionxl.measurements import Description, answers_of, generator_of, save_measurement
from visionxl.operators import TASK_NAMES, Mask, TemporalAverage
from visionxl.operators.composition import find_parts
from visionxl.operators.reach import has_reach
from visionxl.planning.plan import counted
from visionxl.protocols import Measurement
from visionxl.solvers.long import simulate_long
from visionxl.solvers.windows import FrameSource
from visionxl.video import about_rate, is_lossy
from visionxl.writing import check_kind, write_pieces


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
    if task is None:
        raise InputError(
            f"--task is missing: choose one of {', '.join(TASK_NAMES)}, or FILE.py:FUNCTION"
        )
    found = find_task(task)
    source = clip_in_frames(clip, frames, size)
    count, _, height, width = source.frames.shape
    check_kind(output, count)
    check_apart(output, [output], (clip, mask))
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
    if not has_reach(operator):  # it sees all frames at once
        check_memory(count, 3, height, width, windows=False, videos=MEASURED)
    chance = generator.get_state()
    beyond = 1 + 5 * description.noise_std + 2 / 255  # no light's value, with its noise
    lost: list[float] = []  # of every piece, the share that 8 bits cannot hold

    def pieces() -> Iterator[Measurement]:
        generator.set_state(chance)
        noise_std = description.noise_std
        less = f"take less noise than {noise_std:g}" if noise_std else f"in what {task} makes of it"
        try:
            for piece in simulate_long(source.frames, operator, noise_std, generator=generator):
                if not bool(piece.isfinite().all()):
                    raise InputError(
                        "the measurement has values that are not finite: look for them in the "
                        f"clip, or {less}"
                    )
                lost.append((piece.abs() > beyond).float().mean().item())
                yield piece
        except InputError as error:
            raise InputError(f"{clip.name}: {error}") from error

    if found.code is not None:
        check_answers(operator, task, description.shape)
    first = next(pieces())
    if found.code is not None:
        _check_chance(description, source.frames, first)
        description = evolve(description, answers=answers_of(operator, description.shape))
    size_of_one, first_frames = first.shape[1:], len(first)
    del first
    measured = count if has_reach(operator) else first_frames
    if output.suffix.lower() == ".mp4" and find_parts(operator, Mask):
        _check_even(output, size_of_one)
    notes = about_rate(clip)
    if output.suffix.lower() == ".safetensors":
        save_measurement(output, pieces(), measured, operator, description, overwrite)
    else:
        notes += write_pieces(
            output, pieces, measured, source.rate, sound=source.sound, overwrite=overwrite
        )
        lossy = " after a lossy codec" if is_lossy(output) else ""
        again = f", and --seed {seed}" if seed else ""
        if any(lost):
            share = max(lost)
            notes.append(
                f"up to {share:.1%} of the values lie beyond [-1, 1] and were clipped in "
                f"{output.name}, so it is not what {task} measures: take a .safetensors file"
            )
        many = "" if measured == count else ", nor how many frames the clip had"
        way = f"give restore --task{again}; a .safetensors file keeps all this"
        if size_of_one[0] != 3:
            way = (
                f"it is read with three channels, and not with {size_of_one[0]}, so only a "
                ".safetensors file can be restored"
            )
        notes.append(
            f"{output.name} holds 8-bit values{lossy}, and does not say how it was measured"
            f"{many}: {way}"
        )
    facts = {
        "task": task,
        "operator": name_of(operator),
        "noise_std": description.noise_std,
        "video_shape": list(source.frames.shape),
        "measurement_shape": [measured, *size_of_one],
        "output": str(output),
        "notes": notes,
    }
    longest = max((part.window for part in find_parts(operator, TemporalAverage)), default=1)
    if longest > count:
        notes.append(f"the average over {longest} frames is longer than the clip, {count} frames")
    if frames is not None and count < frames:
        notes.append(f"the clip has {count} frames, fewer than --frames {frames}")
    what = f"{name_of(operator)}, noise {description.noise_std:g}"
    line = f"{counted(count)} of {height}x{width}, {what}"
    say(facts, json_, line, notes, [output])


def _check_even(output: Path, size: tuple[int, ...]) -> None:
    """Raise InputError where a video would be made larger than the mask that belongs to it."""
    if any(side % 2 for side in size[-2:]):
        raise InputError(
            f"output {output.name}: .mp4 needs even sizes, and a mask of {size[-2]}x{size[-1]} "
            "would not fit the padded video; take .mkv or .safetensors, or an even --size"
        )


def _check_chance(description: Description, frames: FrameSource, first: Measurement) -> None:
    """Raise InputError where a task of one's own makes another operator every time."""
    generator = generator_of(description.seed)
    operator, noise = description.operator(generator), description.noise_std
    again = next(simulate_long(frames, operator, noise, generator=generator))
    if again.shape != first.shape or not torch.allclose(again, first, atol=1e-5, equal_nan=True):
        raise InputError(
            f"--task {description.task} made two different operators with the same generator, and "
            "restore would get a third: draw everything random from the generator it is given"
        )
