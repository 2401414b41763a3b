"""restore: one measurement or many, to be interrupted and gone on with."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer
from attrs import asdict, evolve

from visionxl.checkpoints import CheckpointFolder, begin, begun, forget, only_run
from visionxl.cli import report
from visionxl.cli.app import (
    JsonOption,
    MaskOption,
    NoiseOption,
    OverwriteOption,
    ResumeOption,
    SeedOption,
    TaskOption,
    WindowOption,
    app,
    beginning,
    err,
    examples,
    integer,
    real,
    say,
    stoppable,
)
from visionxl.cli.jobs import Job, LongClip, WholeClip
from visionxl.cli.long import WINDOW
from visionxl.cli.order import Order
from visionxl.cli.reading import (
    ROUNDING,
    Told,
    read_mask,
)
from visionxl.cli.running import STEPS, beside, summary
from visionxl.distributed import Processes, processes
from visionxl.errors import InputError
from visionxl.files import check_output, clear_partials
from visionxl.measurements import Description
from visionxl.solvers.methods import METHODS
from visionxl.writing import check_kind

NAME = "{name}"
Answer = tuple[dict[str, Any], str, list[str], list[Path]]
"""A record, a summary, notes, and the files that were written."""


@app.command(
    short_help="Restore a measurement, or many.",
    epilog=examples(
        "visionxl restore y.safetensors --output x.mp4",
        "visionxl restore b.mp4 --task deblur --noise 0.01 --output x.mp4",
        "visionxl restore y/*.safetensors --output 'x/{name}.mp4' --resume",
    ),
)
def restore(
    measurement: Annotated[list[Path], typer.Argument(help="From simulate, or any video.")],
    task: TaskOption = None,
    noise: NoiseOption = None,
    seed: SeedOption = 0,
    prior: Annotated[str, typer.Option(help="pocket, a folder, or a hub id.")] = "pocket",
    prompt: Annotated[str, typer.Option(help="For priors that read text.")] = "",
    negative_prompt: Annotated[str, typer.Option(help="Likewise.")] = "",
    guidance: Annotated[
        float | None, typer.Option(parser=real, help="CFG++ scale; without it the prompt alone.")
    ] = None,
    inner_autoencoder: Annotated[
        str | None,
        typer.Option(help="A quicker one for all steps but the last."),
    ] = None,
    unet: Annotated[
        str | None,
        typer.Option(help="Of a few-step SDXL (Lightning, DMD2, LCM): a .safetensors file, ..."),
    ] = None,
    output: Annotated[
        Path,
        typer.Option(
            help=".mp4, .mkv (lossless), .safetensors, or a folder of PNG; for several with "
            "{name} in it."
        ),
    ] = Path("restored.mp4"),
    truth: Annotated[
        Path | None, typer.Option(help="The original clip, to measure against.")
    ] = None,
    window: WindowOption = None,
    mask: MaskOption = None,
    method: Annotated[
        str,
        typer.Option(
            help="visionxl info lists all.",
            autocompletion=beginning(METHODS),
        ),
    ] = "vision_tv",
    steps: Annotated[
        int, typer.Option(parser=integer(1, 1000), help="Times of the whole schedule.")
    ] = 25,
    frames_at_once: Annotated[
        int | None,
        typer.Option(
            parser=integer(1),
            help="In a network call. Without it 1, or by --memory.",
        ),
    ] = None,
    memory: Annotated[
        float | None,
        typer.Option(parser=real, help="GB that the run may take: a plan is made to fit."),
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
            help="Restore in windows of so many frames, such as 48.",
        ),
    ] = None,
    resume: ResumeOption = False,
    overwrite: OverwriteOption = False,
    json_: JsonOption = False,
) -> None:
    """Restore a measurement; write the video, and beside it a picture, a page and a record."""
    order = Order(
        task=task,
        noise=noise,
        seed=seed,
        prior=prior,
        prompt=prompt,
        negative_prompt=negative_prompt,
        guidance=guidance,
        inner_autoencoder=inner_autoencoder,
        unet=unet,
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
        priors = cache(order.priors)
        if len(measurement) > 1:
            _many(measurement, output, order, priors, json_, group)
            return
        target = Path(str(output).replace(NAME, measurement[0].stem))
        _say(_one(measurement[0], target, order, priors, group), json_)


def _say(told: Answer | None, as_json: bool) -> None:
    if told is not None:
        record, line, notes, written = told
        say(record, as_json, line, notes, written)


def _many(
    measurements: list[Path],
    output: Path,
    order: Order,
    priors: Any,
    as_json: bool,
    group: Processes,
) -> None:
    """One after another; what fails is told and the rest goes on."""
    names = [path.stem for path in measurements]
    twice = next((name for name in names if names.count(name) > 1), None)
    if NAME not in str(output):
        raise InputError(
            f"--output {str(output)!r} for {len(measurements)} measurements: write {NAME} in it, "
            f"such as {str(output.with_stem(NAME))!r}"
        )
    if twice is not None:
        raise InputError(f"two measurements are called {twice!r}: restore them one by one")
    failed, records = [], []
    for path in measurements:
        try:
            target = Path(str(output).replace(NAME, path.stem))
            told = _one(path, target, order, priors, group)
        except InputError as error:
            if group.size > 1:  # the others have to end as well
                raise
            err.print(f"visionxl: error: {path}: {error}", markup=False, soft_wrap=True)
            failed.append(path.name)
            continue
        if told is not None:
            records.append(told[0])
            if not as_json:
                _say(told, as_json)
    if as_json and group.first:
        report.print_json(records)
    if failed:
        raise InputError(
            f"{len(failed)} of {len(measurements)} measurements failed ({', '.join(failed)}): "
            "the others are finished; give the same command again with --resume for these"
        )


def _one(
    measurement: Path, output: Path, order: Order, priors: Any, group: Processes
) -> Answer | None:
    """Restore one measurement. Of several processes the first writes and tells, and others help."""
    check_kind(output)
    check_output(output, overwrite=True)
    for path in (output, *beside(output)):
        check_output(path, overwrite=True)
        if path in (measurement, order.truth):
            raise InputError(f"output {str(path)!r} would replace an input: choose another name")
    folder = output.with_name(f"{output.name}.checkpoint")
    if group.first and not order.resume and not begun(folder):
        _check_outputs(output, order.overwrite)
    told = Told(order.task, order.noise, order.seed, order.window, read_mask(order.mask))
    job: Job = (WholeClip if order.windows is None else LongClip).of(measurement, told, order)
    settings = settings_of(measurement, output, order, job.description)
    if not group.first:
        if group.share(None):
            job.run(order, settings, priors, None, group)
        return None
    facts = {**settings, "measured": job.checksum(told.mask), "versions": report.deciding()}
    with only_run(folder, output):
        going_on = begun(folder)
        if order.resume and not going_on and report.is_finished(beside(output)[1], output):
            group.share(False)
            record = report.read_json(beside(output)[1])
            return record, f"{output.name} is finished: there is nothing to resume", [], []
        if going_on and not order.resume:
            if not order.overwrite:
                raise InputError(
                    f"output {str(output)!r} was begun and interrupted: give the same command with "
                    "--resume to go on, or with --overwrite to begin anew"
                )
            _empty(folder)
            going_on = False
        if not going_on:
            _check_outputs(output, order.overwrite)
        reference = job.truth(order.truth)
        priors()
        checkpoints = CheckpointFolder(folder)
        begin(checkpoints, facts, output)
        for path in (output, *beside(output)):
            clear_partials(path)
        with stoppable(lambda: _goodbye(checkpoints)), _kept(checkpoints):
            group.share(True)
            answer = job.run(order, settings, priors, checkpoints, group)
            if order.noise is None and job.description.noise_std == ROUNDING:
                answer.notes.append(
                    f"noise {ROUNDING} was taken, the rounding of 8 bits: give --noise for more"
                )
            written = job.write(output, answer, reference, order.overwrite or going_on)
        forget(folder)
    return answer.record, summary(answer.record), answer.notes, written


def _check_outputs(output: Path, overwrite: bool) -> None:
    for path in (output, *beside(output)):
        check_output(path, overwrite)


def _empty(folder: Path) -> None:
    """Begin anew, with the lock held."""
    for file in folder.iterdir():
        if file.name != "lock":
            file.unlink()


def settings_of(
    measurement: Path, output: Path, order: Order, description: Description
) -> dict[str, Any]:
    """What the record tells of the command."""
    told = asdict(order)
    for name in ("task", "noise", "window", "overwrite", "resume", "show"):
        del told[name]
    for name in ("mask", "truth"):
        told[name] = None if told[name] is None else str(told[name])
    measured = {k: getattr(description, k) for k in ("task", "noise_std", "window", "frames")}
    return {
        "measurement": str(measurement),
        **measured,
        "measurement_seed": description.seed,
        **told,
        "output": str(output),
    }


def _finished(checkpoints: CheckpointFolder) -> bool:
    return bool(checkpoints.names(STEPS) or checkpoints.names(WINDOW))


def _goodbye(checkpoints: CheckpointFolder) -> str:
    again = shlex.join(report.command_line(report.RESUME))
    if not _finished(checkpoints):
        return "no step was finished, and nothing is left behind"
    return f"what is finished is kept in {checkpoints.path.name}; go on with\n  {again}"


@contextmanager
def _kept(checkpoints: CheckpointFolder) -> Iterator[None]:
    """An error says what it did not destroy."""
    try:
        yield
    except InputError as error:
        if not _finished(checkpoints):
            raise
        raise InputError(f"{error}; {_goodbye(checkpoints)}") from error
