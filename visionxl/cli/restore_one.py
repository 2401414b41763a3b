"""One measurement: begun, interrupted, gone on with, written."""

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from attrs import asdict

from visionxl.checkpoints import (
    CheckpointFolder,
    begin,
    begin_writing,
    begun,
    difference,
    discard,
    empty,
    is_writing,
    only_run,
)
from visionxl.cli import outputs
from visionxl.cli.checking import check_apart, check_there
from visionxl.cli.jobs import LongClip, WholeClip, shown
from visionxl.cli.long import WINDOW
from visionxl.cli.measurement_options import (
    MeasurementOptions,
    about_measurement,
    about_noise,
)
from visionxl.cli.options import explanation, stoppable
from visionxl.cli.order import Order
from visionxl.cli.outputs import beside, summary
from visionxl.cli.own import checksum, file_of, is_own
from visionxl.cli.reading import read_mask
from visionxl.cli.running import STEPS
from visionxl.distributed import Processes
from visionxl.errors import InputError, NotFiniteError
from visionxl.files import check_output, clear_partials, unbroken
from visionxl.measurements import Description, answers_of
from visionxl.video import about_rate
from visionxl.writing import check_kind

# Settings that do not distinguish runs: a finished result with other values is as good.
AS_GOOD = ("measurement", "output", "truth", "frames_at_once", "memory", "device", "compile")
# Settings that may change when a run is resumed: the result is the same to rounding.
FREE = ("truth", "frames_at_once", "memory")
Answer = tuple[dict[str, Any], str, list[str], list[Path]]
"""A record, a summary, notes, and the files that were written."""


def restore_one(
    measurement: Path, output: Path, order: Order, priors: Any, group: Processes
) -> Answer | None:
    """Restore one measurement. Of several processes the first writes and tells, and others help."""
    check_there("measurement", measurement)
    if order.truth is not None:
        check_there("--truth", order.truth)
    check_kind(output)
    check_output(output, overwrite=True)  # it has a name, to which the others add
    _check_outputs(output, overwrite=True)
    weights = (Path(name) for name in (order.unet, order.lora) if name is not None)
    inputs = (measurement, order.truth, order.mask, *weights)
    check_apart(output, (output, *beside(output)), inputs)
    folder = output.with_name(f"{output.name}.checkpoint")
    if group.first and not order.resume and not begun(folder):
        _check_outputs(output, order.overwrite)
    options = MeasurementOptions(
        order.task,
        order.noise,
        order.seed,
        order.window,
        read_mask(order.mask),
        order.estimate_noise,
    )
    job = (WholeClip if order.windows is None else LongClip).of(measurement, options, order.windows)
    described = job.description
    check_kind(output, described.frames)
    settings = settings_of(measurement, output, order, described)
    if not group.first:
        if group.share(None):
            prior, inner = priors()
            job.run(prior, order.sampler(), order.run(settings, inner, None, group), None)
            group.wait_for(f"wrote {output}")  # which may take longer than a network would wait
        return None
    facts = {**settings, **_measured(job, options), "weights": weights_of(order)}
    run = _digest(facts)
    facts["versions"] = outputs.deciding()
    stored = {name: value for name, value in facts.items() if name not in FREE}
    stored["device"] = order.device.partition(":")[0]  # one of several is as good as another
    checkpoints = CheckpointFolder(folder, _digest(stored))
    with only_run(folder, output), stoppable(lambda: _goodbye(checkpoints, group)):
        if order.resume and not begun(folder) and outputs.is_finished(beside(output)[1], output):
            finished = _already_finished(output, order, settings, run)
            if finished is not None:
                group.share(False)
                discard(folder)  # what a removal that was interrupted has left
                return finished
        going_on = _goes_on(output, folder, order, run)
        truth, about_truth = job.truth(order.truth)
        group.share(True)  # they load the networks meanwhile
        prior, inner = priors()
        damaged = begin(checkpoints, stored, output)
        for path in (output, *beside(output)):
            clear_partials(path)
        with _kept(checkpoints, group):
            notes = about_truth + _about(measurement, job, order, options)
            how = order.run(settings, inner, checkpoints, group)
            answer = job.run(prior, order.sampler(), how, truth)
            answer.notes.extend(damaged + notes)
            answer.record["run"] = run
            begin_writing(folder)
            written = job.write(output, answer, truth, order.overwrite or going_on)
        with unbroken():
            discard(folder)
    group.give(f"wrote {output}")
    return answer.record, summary(answer.record), answer.notes, written


def _about(measurement: Path, job: Any, order: Order, options: MeasurementOptions) -> list[str]:
    """Notes on what was assumed of a measurement."""
    problem, described = job.problem, job.description
    seen = shown(problem.measurement, problem.operator)
    noise = described.noise_std, order.noise, order.estimate_noise, seen
    frames = len(problem.measurement)
    return [
        *about_rate(measurement),
        *about_noise(measurement, *noise),
        *about_measurement(measurement, described, problem.operator, options, frames=frames),
    ]


def _goes_on(output: Path, folder: Path, order: Order, run: str) -> bool:
    """Whether an interrupted run is resumed; else its checkpoints are removed for a new one.

    Raises InputError for files that would be overwritten, and a run that was interrupted, unless
    the options allow it.
    """
    if begun(folder) and order.resume:
        if not _is_own(output, folder, run):  # another run has finished there meanwhile
            _check_outputs(output, order.overwrite)
        return True
    if begun(folder) and not order.overwrite:
        raise InputError(
            f"output {str(output)!r} was begun and interrupted: run the same command with --resume "
            "to go on, or with --overwrite to start again"
        )
    _check_outputs(output, order.overwrite)
    empty(folder)  # also of what a removal that was interrupted has left
    return False


def _already_finished(
    output: Path, order: Order, settings: dict[str, Any], run: str
) -> Answer | None:
    """The answer for an output that this very run has written before; None if another has, whose
    output may be overwritten."""
    record = outputs.read_json(beside(output)[1])
    if record.get("run", run) != run:
        if order.overwrite:
            return None
        both = (_deciding(known) for known in (record.get("settings", {}), settings))
        other = difference(*both) or "another measurement, mask, operator or weights"
        raise InputError(
            f"--resume: {output.name} is finished, but with {other}: give the same again, or use "
            "--overwrite without --resume to make it again"
        )
    measured_against = record.get("settings", {}).get("truth") if "measures" in record else None
    late = order.truth is not None and measured_against != str(order.truth)
    notes = [f"--truth came too late: visionxl evaluate {output} {order.truth}"] * late
    return record, f"{output.name} is finished: there is nothing to resume", notes, []


def _measured(job: Any, options: MeasurementOptions) -> dict[str, Any]:
    """What tells the measurement, its mask and its operator from others."""
    found, described = {"measured": job.checksum(options.mask)}, job.description
    if described.make is not None:  # whose code is among the settings
        answers = answers_of(job.problem.operator, described.shape)
        found["operator"] = answers and " ".join(f"{a + 0.0:.6g}" for a in answers)
    return found


def weights_of(order: Order) -> dict[str, str]:
    """What tells the files of local weights from others, and parts of one's own: the names, sizes
    and times of the former, the code of the latter."""
    prior = None if order.prior == "pocket" else order.prior  # whatever folder has that name
    given = (prior, order.unet, order.lora, order.inner_autoencoder)
    options = {"--prior": order.prior, "--method": order.method}
    parts = {option: name for option, name in options.items() if is_own(name)}
    own = {name: checksum(file_of(option, name)[0]) for option, name in parts.items()}
    found = dict(own)
    for path in (Path(name) for name in given if name is not None and name not in own):
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        told = [(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files if f.is_file()]
        if told:
            found[str(path)] = sha256(repr(told).encode()).hexdigest()[:16]
    return found


def _digest(facts: dict[str, Any]) -> str:
    """What decides a run's result, in short."""
    text = json.dumps(_deciding(facts), sort_keys=True, default=str)
    return sha256(text.encode()).hexdigest()[:16]


def _deciding(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if name not in AS_GOOD}


def _check_outputs(output: Path, overwrite: bool) -> None:
    for path in (output, *beside(output)):
        check_output(path, overwrite)


def _is_own(output: Path, folder: Path, run: str) -> bool:
    """Whether the existing output can be of the run that is resumed."""
    return is_writing(folder) and outputs.read_json(beside(output)[1]).get("run", run) == run


def settings_of(
    measurement: Path, output: Path, order: Order, description: Description
) -> dict[str, Any]:
    """What the record tells of the command."""
    settings = asdict(order)
    for name in ("task", "noise", "window", "overwrite", "resume", "show"):
        del settings[name]
    for name in ("mask", "truth"):
        settings[name] = None if settings[name] is None else str(settings[name])
    names = ("task", "code", "noise_std", "window", "frames")
    measured = {name: getattr(description, name) for name in names}
    return {
        "measurement": str(measurement),
        **measured,
        "measurement_seed": description.seed,
        **settings,
        "output": str(output),
    }


def _finished(checkpoints: CheckpointFolder) -> bool:
    parts = checkpoints.names(STEPS) or checkpoints.names(WINDOW)
    return bool(parts) or is_writing(checkpoints.path)


def _goodbye(checkpoints: CheckpointFolder, group: Processes) -> str:
    if not _finished(checkpoints):
        return "no step was finished, and nothing is left behind"
    kept = f"what is finished is kept in {checkpoints.path.name}; go on with"
    if group.size > 1:
        return f"{kept} the same command and --resume"
    return f"{kept}\n  {shlex.join(outputs.command_line(outputs.RESUME))}"


@contextmanager
def _kept(checkpoints: CheckpointFolder, group: Processes) -> Iterator[None]:
    """Adds to an error what is kept, and how to resume."""
    try:
        yield
    except Exception as error:
        sentence = explanation(error)
        # Resuming the same command would meet the same values that are not finite.
        if sentence is None or isinstance(error, NotFiniteError) or not _finished(checkpoints):
            raise
        raise InputError(f"{sentence}; {_goodbye(checkpoints, group)}") from error
