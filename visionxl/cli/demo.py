"""demo and info: a first look."""

import json
from pathlib import Path
from typing import Annotated

import typer

from visionxl.cli import machine, report
from visionxl.cli.app import JsonOption, OverwriteOption, app, err, examples, integer, real, say
from visionxl.cli.planning import say_plans
from visionxl.cli.reading import prior_named
from visionxl.cli.running import Run, columns_of, restored, summary, write_all
from visionxl.errors import InputError
from visionxl.files import check_output
from visionxl.measurements import Description, generator_of
from visionxl.report import measures
from visionxl.simulation import simulate as make_problem
from visionxl.solvers import vision_tv
from visionxl.video import DEMO_CLIP, Clip, read_clip
from visionxl.writing import write_clip


@app.command(
    short_help="Degrade a real clip and restore it: a first look.",
    epilog=examples("visionxl demo --output demo-output"),
)
def demo(
    output: Annotated[Path, typer.Option(help="Folder for what it writes.")] = Path("demo-output"),
    overwrite: OverwriteOption = False,
    json_: JsonOption = False,
) -> None:
    """Blur, average and add noise to a real clip, and restore it with the pocket prior."""
    if output.exists() and not (overwrite and output.is_dir()):
        raise InputError(f"output {str(output)!r} exists: choose another name, or give --overwrite")
    check_output(output / "restored.mp4" if output.exists() else output, overwrite=True)
    target = output / "restored.mp4"
    clip = read_clip(DEMO_CLIP)
    count, _, height, width = clip.video.shape
    description = Description("deblur+", count, height, width, 0.01, 0, rate=clip.rate)
    generator = generator_of(0)
    operator = description.operator(generator)
    problem = make_problem(clip.video, operator, description.noise_std, generator=generator)
    if not json_:
        err.print(f"{count} frames of {height}x{width}, {operator!r}, noise 0.01")
    loaded = prior_named("pocket")
    settings = {
        "clip": DEMO_CLIP.name,
        "task": "deblur+",
        "method": "vision_tv",
        "seed": 0,
        "prior": "pocket",
    }
    run = Run(settings, seed=0, show=not json_, frames_at_once=4)
    video, record, notes, looks = restored(problem, loaded, vision_tv(), run)
    record["measures"] = measures(video, clip.video)
    record["measurement_measures"] = measures(problem.measurement, clip.video)
    output.mkdir(exist_ok=True)
    written = write_all(
        target, Clip(video, clip.rate), problem, clip.video, record, notes, looks, overwrite=True
    )
    columns = columns_of(problem, video, clip.video)
    for name, shown in (
        ("measurement.mp4", problem.measurement),
        ("comparison.mp4", report.side_by_side(columns)),
    ):
        notes += write_clip(output / name, shown, clip.rate, overwrite=True)
        written.append(output / name)
    say(record, json_, summary(record), notes, written)


@app.command(
    short_help="What a report of a bug needs, and what can be asked for; or memory plans.",
    epilog=examples("visionxl info", "visionxl info --plan --size 1080x1920 --budget 16"),
)
def info(
    plan: Annotated[
        bool, typer.Option("--plan", help="Memory plans instead: what is done to fit a budget.")
    ] = False,
    prior: Annotated[
        str | None,
        typer.Option(help="To plan for; without it the pocket prior and SDXL in bfloat16."),
    ] = None,
    size: Annotated[str, typer.Option(help="HEIGHTxWIDTH to plan for.")] = "768x1280",
    frames: Annotated[int, typer.Option(parser=integer(1), help="To plan for.")] = 25,
    budget: Annotated[
        float | None, typer.Option(parser=real, help="GB to plan for; without it 8, 12 and 24.")
    ] = None,
    device: Annotated[str, typer.Option(help="To plan for: cuda, cpu, mps.")] = "cuda",
    json_: JsonOption = False,
) -> None:
    """What a report of a bug needs, tasks, methods and priors; or memory plans."""
    if plan:
        say_plans(prior, size, frames, budget, device, json_)
        return
    told = machine.facts()
    print(json.dumps(told, indent=2) if json_ else machine.words(told))
