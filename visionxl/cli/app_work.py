"""What the app does with an upload: the commands simulate and restore, in one go."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from attrs import evolve, frozen

from visionxl.app import Limits, Outcome, Progress, Request
from visionxl.cli.app_priors import Loaders, chosen
from visionxl.cli.measurement_options import (
    MeasurementOptions,
    about_measurement,
    without_hidden,
)
from visionxl.cli.outputs import columns_of, summary, write_all
from visionxl.cli.reading import described
from visionxl.cli.running import Run, restored
from visionxl.errors import InputError
from visionxl.measurements import Description, generator_of
from visionxl.operators import lift
from visionxl.protocols import InverseProblem, Step
from visionxl.report import Look
from visionxl.simulation import simulate
from visionxl.solvers.methods import method_named
from visionxl.writing import write_clip

SEED = 0
VIDEO, COMPARISON, MEASUREMENT = "restored.mp4", "comparison.mp4", "measurement.safetensors"
Tell = Callable[[Progress], None]


@frozen(eq=False)
class Restorer:
    """Restores what the page asks for, as the commands simulate and restore do: to the same bytes.

    Args:
        priors: what loads each, by the name that is told to whoever looks at the page.
        limits: of the restored video.
        device: of the priors.
    """

    priors: Loaders
    limits: Limits
    device: torch.device

    def __call__(self, request: Request, folder: Path, tell: Tell) -> Outcome:
        """Do it, and write all into the folder. What ``tell`` raises ends it."""
        problem, description = posed(request)
        truth = request.clip.video if request.simulate else None
        sampler = method_named(request.method)()
        shape = lift(problem.operator, problem.measurement).shape
        self.limits.check_size(f"what is restored from {request.name}", *shape[-2:])
        tell(Progress("load", 0, 1))
        prior = chosen(self.priors, request.prior)
        run = Run(
            settings_of(request, str(self.device)),
            SEED,
            show=False,
            device=self.device,
            truth=truth,
            command=command_of(request),
            task=description.task,
        )
        notes = [] if request.simulate else about_clip(request, problem, description)
        watching = Told(len(sampler.times), tell)
        made = restored(problem, prior, sampler, run, watching)
        made.notes.extend(notes)
        _, _, page, _ = write_all(folder / VIDEO, made, problem, description, truth, False)
        columns = columns_of(problem, made.video, truth)
        write_clip(folder / COMPARISON, torch.cat(list(columns.values()), dim=-1), description.rate)
        before, after, half = folder / "before.png", folder / "after.png", len(made.video) // 2
        write_clip(before, columns["measurement"][half : half + 1])
        write_clip(after, made.video[half : half + 1])
        return Outcome(
            summary=summary(made.record),
            notes=made.notes,
            video=folder / VIDEO,
            page=page,
            comparison=folder / COMPARISON,
            columns=tuple(columns),
            before=before,
            after=after,
        )


class Told:
    """Reports the progress of a run."""

    def __init__(self, steps: int, tell: Tell) -> None:
        self._tell = tell
        self._now = Progress("start", 0, steps)
        tell(self._now)

    @contextmanager
    def stage(self, name: str, frames: int) -> Iterator[None]:
        """The context of a network call, which is reported before it begins."""
        if self._now.step:
            self._now = evolve(self._now, stage=name)
        self._tell(self._now)
        yield

    def observe(self, step: Step, look: Look) -> None:
        """Called after every step."""
        number = step.record.index + 1
        self._now = Progress(
            "write" if number == self._now.steps else "step",
            number,
            self._now.steps,
            look,
            step.record.data_residual,
        )
        self._tell(self._now)


def posed(request: Request) -> tuple[InverseProblem, Description]:
    """The measurement: of the clip, or the clip itself."""
    clip = request.clip
    frames, _, height, width = clip.video.shape
    if request.simulate:
        size = (frames, height, width)
        description = Description(
            request.task, *size, request.noise, SEED, rate=clip.rate, sound=clip.sound
        )
        generator = generator_of(SEED)
        operator = description.operator(generator)
        problem = simulate(clip.video, operator, description.noise_std, generator=generator)
    else:
        options = MeasurementOptions(request.task, request.noise, SEED)
        name, shape = Path(request.name), tuple(clip.video.shape)
        description = described(name, None, shape, clip.rate, clip.sound, options)
        operator = description.operator(generator_of(SEED))
        seen = without_hidden(clip.video, operator)
        problem = InverseProblem(operator, seen, description.noise_std)
    shape = lift(problem.operator, problem.measurement).shape
    if len(shape) != 4 or shape[1] != 3:
        raise InputError(
            f"task {request.task!r} measures another number of channels than the red, green and "
            f"blue of {request.name}: choose another task"
        )
    return problem, description


def about_clip(request: Request, problem: InverseProblem, description: Description) -> list[str]:
    """What was assumed of a clip that is itself the measurement."""
    return about_measurement(
        Path(request.name),
        description,
        problem.operator,
        MeasurementOptions(request.task, request.noise, SEED),
        frames=len(problem.measurement),
    )


def settings_of(request: Request, device: str) -> dict[str, Any]:
    """What was chosen in the page, for the record."""
    return {
        "clip": request.name,
        "task": request.task,
        "noise_std": request.noise,
        "measurement": "simulated" if request.simulate else "the clip",
        "method": request.method,
        "prior": request.prior,
        "seed": SEED,
        "device": device,
    }


def command_of(request: Request) -> list[str]:
    """The words of the command that restores the same; a simulated measurement is made before."""
    measured = ["--task", request.task, "--noise", f"{request.noise:g}"]
    own = [] if request.prior == "pocket" else ["--prior", request.prior]
    command = ["visionxl", "restore"]
    name = f"./{request.name}" if request.name.startswith("-") else request.name
    if request.simulate:
        command += [MEASUREMENT, "--truth", name]
    else:
        command += [name, *measured]
    output = VIDEO if Path(name).stem != Path(VIDEO).stem else f"x-{VIDEO}"
    return [*command, "--method", request.method, *own, "--output", output]
