"""Every figure that SDXL's tables have, in one process that builds the networks once.

    python benchmarks/sdxl_tables.py FOLDER --device cuda
    python benchmarks/sdxl_tables.py FOLDER --toy

FOLDER gets a file for each way to set up our rows: host.json (videos in host memory), device.json
(on the networks' device), and both once more with compiled networks; sdxl_scale.py says what they
hold, and prints the tables of each, also where it is stopped by SIGTERM, as timeout does. What
tells most is measured first, and a file is written whole after every row: stop it at any time, and
the same command goes on with what is missing.
"""

import argparse
import os
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from _visionxl import MEMORY

os.environ.update({**MEMORY, **os.environ})  # before torch is loaded, as the visionxl command does

import torch
from attrs import evolve
from options import device
from quality import commit
from scale.measuring import Bench, measured
from scale.networks import configuration
from scale.options import FRAMES, SIZE, TOY_FRAMES, TOY_SIZE
from scale.records import Record, Setup, resume, save
from scale.tables import report
from sdxl_scale import setup_of
from words import Parser, whole_number

from visionxl import InputError

Case = tuple[str, str, int, int, int]
"""File, row, height, width and frames."""


def cases(toy: bool) -> Iterator[Case]:
    """What is measured, what tells most first."""
    (height, width), frames = (TOY_SIZE, TOY_FRAMES) if toy else (SIZE, FRAMES)

    def usual(name: str, *rows: str, times: int = 1) -> Iterator[Case]:
        return ((name, row, height, width, times * frames) for row in rows)

    others = ((width, height), (64, 64) if toy else (1024, 1024))
    yield from usual("host", "paper", "fast", "exact")
    yield from usual("device", "exact", "fast")
    yield from usual("host", "fast", times=4)
    yield from usual("host", "default")
    yield from (("host", row, *size, frames) for size in others for row in ("paper", "fast"))
    yield from usual("device-compiled", "exact", "fast")
    yield from usual("host", "fast", times=8)
    yield from usual("device", "default", "default-fast")
    yield from (("host", row, *size, frames) for size in others for row in ("exact", "default"))
    yield from usual("host-compiled", "exact", "fast", "default")
    yield from usual("host", "exact", "default", times=4)
    yield from (("host", "fast", height, width, few) for few in ((1,) if toy else (1, 5)))


def setups(options: argparse.Namespace) -> dict[str, Setup]:
    """By file."""
    host = setup_of(options)
    both = {"host": host, "device": evolve(host, video_device=str(options.device))}
    return both | {f"{name}-compiled": evolve(s, compiled=True) for name, s in both.items()}


def parser() -> Parser:
    made = Parser(
        prog="sdxl_tables.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    here = "cuda" if torch.cuda.is_available() else "cpu"
    number = whole_number(1)
    made.add_argument("folder", type=Path, metavar="FOLDER", help="for the files")
    made.add_argument("--toy", action="store_true", help="a miniature of the networks")
    made.add_argument("--device", type=device, default=here, help=f"default {here}")
    made.add_argument(
        "--frames-at-once", type=number, default=13, help="in one call of a network; default 13"
    )
    made.set_defaults(count=False, dtype=None, vae_frames=1, compile=False)
    made.set_defaults(video_device=torch.device("cpu"))
    return made


def main(words: Sequence[str] | None = None) -> None:
    words = sys.argv[1:] if words is None else words
    made = parser()
    options = made.parse_args(words)
    try:
        measure(options, shlex.join(["python", "benchmarks/sdxl_tables.py", *words]))
    except InputError as error:
        made.error(str(error))


def measure(options: argparse.Namespace, command: str) -> None:
    """Measure what the files do not have; every table at the end."""
    known, folder = setups(options), options.folder
    if folder.exists() and not folder.is_dir():
        raise InputError(f"FOLDER {str(folder)!r} is a file: give a folder, or a new name")
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / f"{name}.json" for name in known}
    records = {name: resume(paths[name], setup) for name, setup in known.items()}
    told = {"command": command, "commit": commit()}
    stop = signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped: the same command goes on"))
    try:
        measure_missing(options, known, paths, records, told)
    finally:
        signal.signal(signal.SIGTERM, stop)
        for name, setup in known.items():
            print(f"# {name}\n\n{report(setup, records[name])}", flush=True)


def measure_missing(
    options: argparse.Namespace,
    known: dict[str, Setup],
    paths: dict[str, Path],
    records: dict[str, list[Record]],
    told: dict[str, str | None],
) -> None:
    """Add what the records do not have, and keep each."""
    bench = None
    benches: dict[str, Bench] = {}
    for name, row, height, width, frames in cases(options.toy):
        if (row, height, width, frames) in {record.key for record in records[name]}:
            continue
        bench = bench or Bench.make(configuration(options.toy), known["host"], options.device)
        if name not in benches:
            benches[name] = bench.under(known[name])
        for record in measured(benches[name], height, width, frames, [row]):
            print(f"{name}: {record.words}", file=sys.stderr, flush=True)
            for file in known if row == "paper" else [name]:  # it is the same beside all of ours
                records[file].append(record)
                save(paths[file], known[file], records[file], told)


if __name__ == "__main__":
    main()
