"""What SDXL at its full size costs: counted without a device, and measured on one.

    python benchmarks/sdxl_scale.py --count --height 768 --width 1280 --frames 25 --json out.json
    python benchmarks/sdxl_scale.py --device cuda --size 768x1280 --frames 25 --json out.json
    python benchmarks/sdxl_scale.py --toy --json out.json

The networks have the real configuration (sdxl.json) and random weights: no file of weights is read.
Beside one another run the paper's recipe as its public code runs it, the same recipe as the library
computes it, the library's default, and both with a tiny autoencoder in all steps but the last.
The JSON is written whole after every row: run the command again, and it goes on with the rows that
are missing or ended in an error. --toy runs a miniature in a minute on any machine.
"""

import argparse
import json
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from _visionxl import MEMORY

os.environ.update({**MEMORY, **os.environ})  # before torch is loaded, as the visionxl command does

import torch
from quality import commit, told_of
from scale.counting import count
from scale.measuring import Bench, measured
from scale.networks import DTYPES, configuration
from scale.options import dtype_of, frames_of, parser, sizes_of
from scale.records import Record, Setup, resume, save
from scale.rows import ROWS
from scale.tables import counted, report

import visionxl
from visionxl import InputError
from visionxl.files import check_output, whole


def check_json(path: Path | None) -> None:
    """Raise InputError where the file cannot be written: before any work is done."""
    if path is None:
        return
    if path.suffix != ".json":
        raise InputError(f"--json {str(path)!r} is no .json file: call it {path.stem}.json")
    with told_of("--json"):
        check_output(path, overwrite=path.is_file())


def counting(options: argparse.Namespace) -> str:
    """Count one case; the tables."""
    sizes, frames = sizes_of(options), frames_of(options)
    if len(sizes) > 1 or len(frames) > 1:
        raise InputError("--count counts one case: give one size and one number of frames")
    config, dtype = configuration(options.toy), DTYPES[dtype_of(options)]
    told = count(config, dtype, *sizes[0], frames[0])
    if options.json:
        if options.json.is_file() and '"records"' in options.json.read_text():
            raise InputError(
                f"--json {str(options.json)!r} has measured records: give the count another file"
            )
        with whole(options.json) as partial:
            partial.write_text(json.dumps(told, indent=2) + "\n")
    return counted(told)


def setup_of(options: argparse.Namespace) -> Setup:
    device = options.device
    cuda = device.type == "cuda"
    return Setup(
        device=f"{device} ({torch.cuda.get_device_name(device)})" if cuda else str(device),
        dtype=dtype_of(options),
        toy=options.toy,
        frames_at_once=options.frames_at_once,
        vae_frames=options.vae_frames,
        video_device=str(options.video_device),
        compiled=options.compile,
        version=visionxl.__version__,
        torch=torch.__version__,
    )


def measuring(options: argparse.Namespace, command: str) -> str:
    """Measure what the command asks for and its file does not have; the tables of both."""
    setup = setup_of(options)
    sizes, asked = sizes_of(options), [r for r in ROWS if r in (options.row or ROWS)]
    records: list[Record] = resume(options.json, setup) if options.json else []
    done = {record.key for record in records}
    cases = [(*size, frames) for size in sizes for frames in frames_of(options)]
    missing = {case: [row for row in asked if (row, *case) not in done] for case in cases}
    if any(missing.values()):
        bench = Bench.make(configuration(options.toy), setup, options.device)
        made = {"command": command, "commit": commit()}
        for case in cases:
            for record in measured(bench, *case, missing[case]):
                records.append(record)
                if options.json:
                    save(options.json, setup, records, made)
                print(record.words, file=sys.stderr, flush=True)
    return report(setup, records)


def main(words: Sequence[str] | None = None) -> None:
    words = sys.argv[1:] if words is None else words
    made = parser(__doc__)
    options = made.parse_args(words)
    command = shlex.join(["python", "benchmarks/sdxl_scale.py", *words])
    try:
        check_json(options.json)
        tables = counting(options) if options.count else measuring(options, command)
    except InputError as error:
        made.error(str(error))
    print(tables, end="")


if __name__ == "__main__":
    main()
