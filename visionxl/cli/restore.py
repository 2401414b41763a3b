"""restore: one measurement or many, to be interrupted and gone on with."""

import json
import math
import traceback
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer
from attrs import evolve

from visionxl.cli.options import (
    JsonOption,
    MaskOption,
    OverwriteOption,
    ResumeOption,
    SeedOption,
    TaskOption,
    WindowOption,
    app,
    beginning,
    err,
    examples,
    explanation,
    for_people,
    integer,
    real,
    say,
)
from visionxl.cli.order import Order, usual_steps
from visionxl.cli.outputs import beside
from visionxl.cli.restore_one import Answer, restore_one
from visionxl.distributed import Processes, processes
from visionxl.errors import InputError
from visionxl.solvers.methods import METHODS

NAME = "{name}"
ESTIMATE = "estimate"


@app.command(
    short_help="Restore a measurement, or many.",
    epilog=examples(
        "visionxl restore y.safetensors --output x.mp4",
        "visionxl restore b.mp4 --task deblur --output x.mp4",
        "visionxl restore y/*.safetensors --output 'x-{name}.mp4' --resume",
    ),
)
def restore(
    measurement: Annotated[list[Path], typer.Argument(help="From simulate, or any video.")],
    task: TaskOption = None,
    noise: Annotated[
        str | None,
        typer.Option(
            metavar="<float>",
            help="Standard deviation in units of [-1, 1]; or estimate. Default: by the file's "
            "format.",
        ),
    ] = None,
    seed: SeedOption = 0,
    prior: Annotated[str, typer.Option(help="Folder, hub id, FILE.py:NAME.")] = "pocket",
    prompt: Annotated[str, typer.Option(help="For priors that read text.")] = "",
    negative_prompt: Annotated[str, typer.Option(help="The same.")] = "",
    guidance: Annotated[
        float | None, typer.Option(parser=real(), help="CFG++ scale; default: the prompt alone.")
    ] = None,
    inner_autoencoder: Annotated[
        str | None,
        typer.Option(help="A quicker one for all steps but the last."),
    ] = None,
    unet: Annotated[
        str | None,
        typer.Option(help="Of a few-step SDXL: a .safetensors file, ..."),
    ] = None,
    lora: Annotated[
        str | None,
        typer.Option(help="To add to the prior: a .safetensors file."),
    ] = None,
    output: Annotated[
        Path,
        typer.Option(help=".mp4, .mkv, .png, .safetensors, a folder; {name} for several."),
    ] = Path("restored.mp4"),
    truth: Annotated[
        Path | None, typer.Option(help="The original clip, to measure against.")
    ] = None,
    window: WindowOption = None,
    mask: MaskOption = None,
    method: Annotated[
        str,
        typer.Option(
            help="Name, or FILE.py:NAME.",
            autocompletion=beginning(METHODS),
        ),
    ] = "vision_tv",
    steps: Annotated[
        int | None,
        typer.Option(parser=integer(1, 1000), help="Times; vision_tv runs 4 of its 25."),
    ] = None,
    frames_at_once: Annotated[
        int | None,
        typer.Option(
            parser=integer(1),
            help="Per network call; default: 1, on a GPU more.",
        ),
    ] = None,
    memory: Annotated[
        float | None,
        typer.Option(
            parser=real(0.0, above=True), help="GB that the run may take: a plan is made to fit."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps, ...")] = "cpu",
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    compile_: Annotated[
        bool, typer.Option("--compile", help="Compile the networks first (torch.compile).")
    ] = False,
    windows: Annotated[
        int | None,
        typer.Option(
            parser=integer(1),
            help="For long clips: frames a window keeps, say 48.",
        ),
    ] = None,
    resume: ResumeOption = False,
    overwrite: OverwriteOption = False,
    json_: JsonOption = False,
) -> None:
    """Restore a measurement; write the video, a picture, a page and a record."""
    order = Order(
        task=task,
        noise=_number(noise),
        estimate_noise=noise == ESTIMATE,
        seed=seed,
        prior=prior,
        prompt=prompt,
        negative_prompt=negative_prompt,
        guidance=guidance,
        inner_autoencoder=inner_autoencoder,
        unet=unet,
        lora=lora,
        truth=truth,
        window=window,
        mask=mask,
        method=method,
        steps=steps,
        frames_at_once=frames_at_once,
        memory=memory,
        device=device,
        dtype=dtype,
        compile=compile_,
        windows=windows,
        overwrite=overwrite,
        resume=resume,
        show=not json_,
    )
    with processes(device) as group:
        order = evolve(order, device=str(group.device))
        with for_people(json_):
            if order.steps is None:
                order = evolve(order, steps=usual_steps(order.method))
            order.sampler()  # what is wrong with it is told before weights are loaded
        priors = cache(order.priors)
        if len(measurement) > 1:
            _many(measurement, output, order, priors, json_, group)
            return
        target = target_of(output, measurement[0])
        with for_people(json_):
            answer = restore_one(measurement[0], target, order, priors, group)
        _say(answer, json_)


def _number(noise: str | None) -> float | None:
    """What --noise says, but for the word that asks to estimate it."""
    if noise is None or noise == ESTIMATE:
        return None
    try:
        number = float(noise)
    except ValueError:
        raise InputError(
            f"--noise {noise!r} is not a number: write it like 0.01, or {ESTIMATE}"
        ) from None
    if not 0 <= number < math.inf:
        raise InputError(f"--noise {noise} is out of range: give a finite number from 0")
    return number


def _say(answer: Answer | None, as_json: bool) -> None:
    if answer is not None:
        record, line, notes, written = answer
        say(record, as_json, line, notes, written)


def called(path: Path) -> str:
    """The name of a measurement: a file without its suffix, or a folder."""
    return path.name if path.is_dir() else path.stem


def target_of(output: Path, measurement: Path) -> Path:
    """The output of a measurement."""
    return Path(str(output).replace(NAME, called(measurement)))


def _check_targets(measurements: list[Path], output: Path) -> None:
    """Raise InputError where what is written of one would replace another, or what it wrote."""
    inputs = {path.resolve(): path for path in measurements}
    written: dict[Path, Path] = {}
    for path in measurements:
        target = target_of(output, path)
        for file in (target, *beside(target)):
            place = file.resolve()
            if place in inputs:
                raise InputError(
                    f"output {str(target)!r} would replace an input, {str(inputs[place])!r}: "
                    "choose another name"
                )
            other = written.setdefault(place, path)
            if other is not path:
                raise InputError(
                    f"output {str(file)!r} would be written for both {other.name} and {path.name}: "
                    "choose another name"
                )


def _many(
    measurements: list[Path],
    output: Path,
    order: Order,
    priors: Any,
    as_json: bool,
    group: Processes,
) -> None:
    """One after another; what fails is told and the rest goes on."""
    names = [called(path) for path in measurements]
    twice = next((name for name in names if names.count(name) > 1), None)
    if NAME not in str(output):
        raise InputError(
            f"--output {str(output)!r} for {len(measurements)} measurements: write {NAME} in it, "
            f"such as {str(output.with_stem(NAME))!r}"
        )
    if twice is not None:
        raise InputError(f"two measurements are called {twice!r}: restore them one by one")
    _check_targets(measurements, output)
    failed, records = [], []
    for index, path in enumerate(measurements, 1):
        if order.show and group.first:
            err.print(f"{index}/{len(measurements)}: {path}", markup=False, soft_wrap=True)
        try:
            target = target_of(output, path)
            with for_people(as_json):
                answer = restore_one(path, target, order, priors, group)
        except Exception as error:
            told = explanation(error)
            if group.size > 1 and told is not None:  # the others have to end as well
                raise InputError(f"{path}: {told}") from error
            if group.size > 1:
                raise
            if told is None:
                traceback.print_exc()
                told = f"{type(error).__name__}: {error}; this should not happen: please report it"
            err.print(f"visionxl: error: {path}: {told}", markup=False, soft_wrap=True)
            failed.append(path.name)
            continue
        if answer is not None:
            records.append(answer[0])
            if not as_json:
                _say(answer, as_json)
    if as_json and group.first:
        print(json.dumps(records, indent=2))
    if failed:
        others = "the others are finished; " if len(failed) < len(measurements) else ""
        raise InputError(
            f"{len(failed)} of {len(measurements)} measurements failed ({', '.join(failed)}): "
            f"{others}fix these, and run the same command again with --resume"
        )
