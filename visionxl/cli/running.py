"""One run of a method for the command line, and what it leaves behind."""

import time
from pathlib import Path
from typing import Any

import torch
from attrs import evolve
from rich.console import Console

from visionxl.checkpoints import CheckpointFolder, last_state, save_state
from visionxl.cli import report
from visionxl.cli.memory import check_memory
from visionxl.cli.progress import StepBar, Watched
from visionxl.cli.reading import fitted_like, prior_for
from visionxl.errors import InputError
from visionxl.measurements import generator_of
from visionxl.operators import lift
from visionxl.priors import DiffusersPrior, warm_up
from visionxl.protocols import InverseProblem, LatentPrior, Step, Video
from visionxl.solvers import Sampler, restore
from visionxl.video import Clip
from visionxl.writing import write_clip

STEPS = "step"  # what checkpoints of a run's steps are called


def restored(
    problem: InverseProblem,
    prior: DiffusersPrior,
    sampler: Sampler,
    settings: dict[str, Any],
    seed: int,
    frames_at_once: int,
    show: bool,
    *,
    inner: DiffusersPrior | None = None,
    checkpoints: CheckpointFolder | None = None,
    warm: bool = False,
) -> tuple[Video, dict[str, Any], list[str]]:
    """Run the method under a progress bar; the video, its record, and words on what was done.

    With checkpoints every step is kept, and the run goes on from what is there. ``warm`` runs the
    networks once before the clock starts: those that compile then do it now.
    """
    shape = problem.operator.adjoint(problem.measurement).shape
    if len(shape) == 4 and shape[1] != 3:
        raise InputError(
            f"the measured video has {shape[1]} channels: the prior works on 3 (red, green, blue)"
        )
    check_memory(*shape)
    fitted, notes = prior_for(prior, shape[-2], shape[-1])
    state, trace = None, []
    if checkpoints is not None:
        state, trace, words = last_state(checkpoints, STEPS)
        notes += words
        if state is not None:
            notes.append(f"went on after step {state.index} of {len(sampler.times)}")
            state = evolve(state, latent=state.latent.to(problem.measurement.device))
    quick = None if inner is None else fitted_like(fitted, inner)
    warm_up_seconds = 0.0
    for network in (fitted, quick) if warm else ():
        if network is not None:
            warm_up_seconds += _warmed(network, problem, sampler, shape, frames_at_once)
    began = time.perf_counter()
    quiet = Console(stderr=True, quiet=not show)
    with StepBar(quiet, len(sampler.times), shape[0], done=len(trace)) as bar:

        def observe(step: Step) -> None:
            trace.append(step.record)
            if checkpoints is not None and step.following is not None:
                save_state(checkpoints, STEPS, step.following, trace)
            bar.observe(step)

        result = restore(
            problem,
            Watched(fitted, bar.tell),
            sampler,
            generator=generator_of(seed),
            frames_at_once=frames_at_once,
            observe=observe,
            inner=None if quick is None else Watched(quick, bar.tell),
            state=state,
        )
    seconds = time.perf_counter() - began
    result = evolve(result, trace=tuple(trace))
    record = report.run_record(problem, sampler, result, settings, seconds)
    if warm:
        record["warm_up_seconds"] = round(warm_up_seconds, 3)
    if record["data_residual"] > 2 * problem.noise_std + 0.01:
        notes.append(
            f"the data residual {record['data_residual']:.4f} is far above the noise "
            f"{problem.noise_std:g}: is it the right task, and the right noise?"
        )
    return result.video.cpu(), record, notes


def _warmed(
    prior: LatentPrior,
    problem: InverseProblem,
    sampler: Sampler,
    shape: torch.Size,
    frames_at_once: int,
) -> float:
    """Seconds to warm up for the whole chunks of frames and for the rest."""
    frames, _, height, width = shape
    chunks = {min(frames_at_once, frames), frames % frames_at_once} - {0}
    device = problem.measurement.device
    return sum(warm_up(prior, sampler.times[0], n, height, width, device) for n in sorted(chunks))


def beside(output: Path) -> tuple[Path, Path]:
    return output.with_suffix(".png"), output.with_suffix(".json")


def write_all(
    output: Path,
    clip: Clip,
    problem: InverseProblem,
    truth: Clip | None,
    record: dict[str, Any],
    notes: list[str],
    overwrite: bool,
) -> list[Path]:
    """The video, the picture and the record."""
    picture, record_path = beside(output)
    notes += write_clip(output, clip.video, clip.rate, sound=clip.sound, overwrite=overwrite)
    reference = None if truth is None else truth.video
    report.write_picture(picture, columns_of(problem, clip.video, reference))
    record["notes"] = notes
    record["outputs"] = [str(output), str(picture), str(record_path)]
    report.write_json(record_path, record)
    return [output, picture, record_path]


def columns_of(problem: InverseProblem, restored: Video, truth: Video | None) -> dict[str, Video]:
    columns = {"measurement": lift(problem.operator, problem.measurement), "restored": restored}
    return columns if truth is None else {**columns, "truth": truth}


def summary(record: dict[str, Any]) -> str:
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
