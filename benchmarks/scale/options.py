"""The words of the command."""

import argparse
from pathlib import Path
from typing import Any

import torch
from options import device
from words import Parser, frame_size, one_of, whole_number

from scale.networks import DTYPES
from scale.rows import ROWS
from visionxl import InputError

MULTIPLE = 32  # SDXL's: 8 pixels a latent, and two halvings in the U-Net
SIZE, TOY_SIZE = (768, 1280), (64, 96)
FRAMES, TOY_FRAMES = 25, 2


def parser(description: str | None) -> Parser:
    made = Parser(
        prog="sdxl_scale.py",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    here = "cuda" if torch.cuda.is_available() else "cpu"
    pixels = f"in pixels, a multiple of {MULTIPLE}"
    helps = {
        "--count": "count, without a device and without running anything",
        "--size": f"HEIGHTxWIDTH {pixels}; repeat for several; instead of --height and --width",
        "--height": f"of the frames, {pixels}; default {SIZE[0]}, with --toy {TOY_SIZE[0]}",
        "--width": f"of the frames, {pixels}; default {SIZE[1]}, with --toy {TOY_SIZE[1]}",
        "--frames": f"of the video; repeat for several; default {FRAMES}, with --toy {TOY_FRAMES}",
        "--row": f"repeat for several; default {', '.join(ROWS)}",
        "--toy": "a miniature of the networks",
        "--dtype": f"of the networks: {', '.join(DTYPES)}; default float16, on a CPU float32",
        "--device": f"of the networks; default {here}",
        "--video-device": "that keeps the videos of our rows; default cpu",
        "--frames-at-once": "in one call of a network, in our rows; default 1",
        "--vae-frames": "of these, in one call of the full autoencoder; default 1",
        "--compile": "the networks of our rows by torch.compile; the warm-up is told apart",
        "--json": "write FILE.json; with records in it, go on with what is missing",
    }

    def add(name: str, **settings: Any) -> None:
        made.add_argument(name, help=helps[name], **settings)

    number = whole_number(1)
    add("--count", action="store_true")
    add("--size", action="append", type=frame_size(MULTIPLE), metavar="HxW")
    add("--height", type=whole_number(MULTIPLE))
    add("--width", type=whole_number(MULTIPLE))
    add("--frames", action="append", type=number)
    add("--row", action="append", type=one_of(list(ROWS)))
    add("--toy", action="store_true")
    add("--dtype", type=one_of(list(DTYPES)))
    add("--device", type=device, default=here)
    add("--video-device", type=device, default="cpu")
    add("--frames-at-once", type=number, default=1)
    add("--vae-frames", type=number, default=1)
    add("--compile", action="store_true")
    add("--json", type=Path, metavar="FILE")
    return made


def sizes_of(options: argparse.Namespace) -> list[tuple[int, int]]:
    """The sizes that the command asks for. Raises InputError where they are given twice over."""
    if options.size and (options.height or options.width):
        raise InputError("--size stands for --height and --width: give it, or those two")
    height, width = TOY_SIZE if options.toy else SIZE
    return options.size or [(options.height or height, options.width or width)]


def dtype_of(options: argparse.Namespace) -> str:
    slow = options.device.type == "cpu" and not options.count
    return options.dtype or ("float32" if slow else "float16")


def frames_of(options: argparse.Namespace) -> list[int]:
    return options.frames or [TOY_FRAMES if options.toy else FRAMES]
