"""demo: a first look."""

from pathlib import Path
from typing import Annotated

import typer

from visionxl.cli import outputs
from visionxl.cli.options import JsonOption, OverwriteOption, app, err, examples, say
from visionxl.cli.outputs import columns_of, summary, write_all
from visionxl.cli.priors import prior_named
from visionxl.cli.running import Run, restored
from visionxl.errors import InputError
from visionxl.files import check_output
from visionxl.measurements import Description, generator_of
from visionxl.simulation import simulate as make_problem
from visionxl.solvers import vision_tv
from visionxl.video import DEMO_CLIP, read_clip
from visionxl.writing import write_clip

TIMES = 4  # that the comparison is played: once is a second


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
        words = f"{count} frames of {height}x{width}, {operator!r}, noise 0.01"
        err.print(words, markup=False, soft_wrap=True)
    loaded = prior_named("pocket")
    settings = {
        "clip": DEMO_CLIP.name,
        "task": "deblur+",
        "method": "vision_tv",
        "seed": 0,
        "prior": "pocket",
    }
    run = Run(settings, seed=0, show=not json_, frames_at_once=4, truth=clip.video, task="deblur+")
    made = restored(problem, loaded, vision_tv(), run)
    output.mkdir(exist_ok=True)
    written = write_all(target, made, problem, description, clip.video, overwrite=True)
    columns = columns_of(problem, made.video, clip.video)
    for name, shown in (
        ("measurement.mp4", problem.measurement),
        ("comparison.mp4", outputs.side_by_side(columns).repeat(TIMES, 1, 1, 1)),
    ):
        made.notes.extend(write_clip(output / name, shown, clip.rate, overwrite=True))
        written.append(output / name)
    say(made.record, json_, summary(made.record), made.notes, written)
    if not json_:
        print(f"look at {target.with_suffix('.html')} first: it has every frame and step")
