"""Quality of restoration on real clips, method by method.

    python benchmarks/quality.py CLIP... --height 192 --width 320 --json out.json --output DIR

Every method restores every clip for every task, noise and seed; docs/metrics says what the methods
and the measures are. At the end come Markdown tables, and with --json they stand beside its file.
The file is written whole after every record: run the command again, and it goes on where it was cut
short. A seed makes the mask, the noise and the method's chance. Where the measurement has no noise
and no mask, methods without chance would repeat themselves: they run for seed 0 only. The height
and the width change places for a clip of the other orientation (portrait or landscape). With
--device cuda the methods run on a GPU: the same figures to rounding, which the paper's
conjugate gradients make larger where they do not converge.
"""

import argparse
import functools
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from clips import clips_at_hand, names_of
from options import NOISES, parser
from peers.methods import CLASSICAL, METHODS
from results import Record, merged, resume, save
from sweep import Sweep, jobs, records_of
from tables import report

import visionxl
from visionxl import InputError, PocketPrior
from visionxl.files import check_output, whole
from visionxl.operators import TASKS


def sweep_of(options: argparse.Namespace) -> Sweep:
    """What the command asks for, in the order of the tables."""
    return Sweep(
        clips=names_of(options.clips or clips_at_hand()),
        frames=options.frames,
        height=options.height,
        width=options.width,
        tasks=[task for task in TASKS if task in (options.task or TASKS)],
        noises=sorted(set(options.noise or NOISES)),
        seeds=options.seeds,
        device=options.device,
    )


def check_clips(sweep: Sweep) -> None:
    """Read every clip once, before anything is run."""
    for name, path in sweep.clips.items():
        frames = len(sweep.clip(path).video)
        if frames < sweep.frames:
            print(f"{name} has {frames} frames: all of them are used", file=sys.stderr)


@contextmanager
def told_of(option: str) -> Iterator[None]:
    """An InputError begins with the option that it is about."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{option}: {error}") from error


def check_places(json: Path | None, output: Path | None) -> None:
    """Raise InputError where the records, the tables or the pictures cannot be written."""
    if json is not None:
        if json.suffix != ".json":
            raise InputError(f"--json {str(json)!r} is no .json file: call it {json.stem}.json")
        with told_of("--json"):
            check_output(json, overwrite=json.is_file())
        tables = json.with_suffix(".md")
        if tables.exists() and not json.exists():
            raise InputError(
                f"--json {str(json)!r}: its tables would replace {str(tables)!r}, which is there "
                "already; choose another name"
            )
    if output is not None and output.exists() and not output.is_dir():
        raise InputError(f"--output {str(output)!r} is a file: give a folder, or a new name")


def make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"--output {str(folder)!r} cannot be made ({error.strerror}): choose another place"
        ) from error


def commit() -> str | None:
    """The commit of the repository, with ``-dirty`` where files differ; None outside git."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        told = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return told.stdout.strip()


def measured(options: argparse.Namespace, command: str) -> list[Record]:
    """Run what the command asks for and its file does not have; all records of both."""
    sweep = sweep_of(options)
    check_places(options.json, options.output)
    with told_of("--json"):
        records = resume(options.json) if options.json else []
    check_clips(sweep)
    if options.output:
        make_folder(options.output)
    methods = {n: m for n, m in METHODS.items() if n in (options.method or METHODS)}
    made = {"version": visionxl.__version__, "commit": commit(), "command": command}
    made["device"] = options.device.type
    prior = functools.cache(lambda: PocketPrior.load(device=options.device))
    torch.backends.cudnn.allow_tf32 = False  # or a GPU's rounding would show in the figures
    done = {record.key for record in records}
    for job in jobs(sweep, CLASSICAL, methods):
        for record in records_of(job, done, prior, made, options.output):
            records.append(record)
            if options.json:
                save(options.json, records)
            case = f"{record.clip} {record.task} noise {record.noise:g} seed {record.seed}"
            told = f"{record.psnr} dB, {record.seconds} s {record.note}"
            print(f"{case} {record.method}: {told}", file=sys.stderr, flush=True)
    return records


def main(words: Sequence[str] | None = None) -> None:
    words = sys.argv[1:] if words is None else words
    made = parser(__doc__)
    options = made.parse_intermixed_args(words)
    if options.table and (options.clips or options.json or options.output):
        made.error("--table only reads: leave out CLIP, --json and --output")
    try:
        if options.table:
            with told_of("--table"):
                print(report(merged(options.table), list(METHODS)), end="")
            return
        records = measured(options, shlex.join(["python", "benchmarks/quality.py", *words]))
        tables = report(records, list(METHODS))
        if options.json:
            with whole(options.json.with_suffix(".md")) as partial:
                partial.write_text(tables, encoding="utf-8")
    except InputError as error:
        made.error(str(error))
    print(tables, end="")


if __name__ == "__main__":
    main()
