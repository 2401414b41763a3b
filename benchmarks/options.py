"""The words of the benchmark's command."""

import argparse
from pathlib import Path
from typing import Any

import torch
from clips import MULTIPLE
from peers.methods import METHODS
from words import Parser, noise, one_of, whole_number

from visionxl.operators import TASKS

NOISES = (0.0, 0.01, 0.05)


def device(word: str) -> torch.device:
    try:
        found = torch.device(word)
        torch.zeros(1, device=found).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise argparse.ArgumentTypeError(
            f"{word!r} is no device of this machine: give cpu, or cuda where there is a GPU"
        ) from error
    return found


def add_case(made: argparse.ArgumentParser) -> None:
    """Add what a small case is made of: its size, tasks and noises, and the prior."""
    size, count = whole_number(MULTIPLE), whole_number(1)
    made.add_argument("--height", type=size, default=128, help="in pixels")
    made.add_argument("--width", type=size, default=192, help="in pixels")
    made.add_argument("--frames", type=count, default=13, help="at most")
    made.add_argument("--task", action="append", type=one_of(list(TASKS)), help="may be repeated")
    made.add_argument("--noise", action="append", type=noise, help="may be repeated")
    made.add_argument("--prior", help="pocket without it; a folder of diffusers, or a hub id")
    made.add_argument("--prompt", default="", help="for a prior that reads text")
    made.add_argument("--device", default="cpu", help="of the prior's networks")
    made.add_argument("--dtype", default="float32", help="of the prior's networks")


def parser(description: str | None) -> Parser:
    made = Parser(
        prog="quality.py",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    size, count = whole_number(MULTIPLE), whole_number(1)
    beside = "without any, the clips beside the repository, where there are any, else the demo's"
    helps = {
        "clips": f"videos or folders of images; {beside}",
        "--height": f"of the frames, in pixels, a multiple of {MULTIPLE}; default 384",
        "--width": f"of the frames, in pixels, a multiple of {MULTIPLE}; default 640",
        "--frames": "of each clip, at most; default 25",
        "--task": f"repeat for several; default {', '.join(TASKS)}",
        "--noise": "standard deviation in units of the range [-1, 1]; repeat for several; default "
        + ", ".join(f"{noise:g}" for noise in NOISES),
        "--method": f"repeat for several; default {', '.join(METHODS)}",
        "--seeds": "how many: 0, 1, ...; default 3",
        "--device": "where videos and networks are, such as cuda; default cpu",
        "--json": "keep the records in FILE.json, and go on with those that are there",
        "--output": "write a picture and a video of every case of seed 0 into DIR",
        "--table": "run nothing: print the tables of these files of records, taken together",
    }

    def add(name: str, **settings: Any) -> None:
        made.add_argument(name, help=helps[name], **settings)

    add("clips", nargs="*", type=Path, metavar="CLIP")
    add("--height", type=size, default=384)
    add("--width", type=size, default=640)
    add("--frames", type=count, default=25)
    add("--task", action="append", type=one_of(list(TASKS)))
    add("--noise", action="append", type=noise)
    add("--method", action="append", type=one_of(list(METHODS)))
    add("--seeds", type=count, default=3)
    add("--device", type=device, default=torch.device("cpu"))
    add("--json", type=Path, metavar="FILE")
    add("--output", type=Path, metavar="DIR")
    add("--table", nargs="+", type=Path, metavar="FILE")
    return made
