"""The noise that ``estimate_noise`` finds, beside the one that was added, for every named task.

    python benchmarks/estimated_noise.py [CLIP...] --frames 16 --size 192x320

The clip is the package's if none is given. ``in 8 bits`` is the same measurement, rounded and
clipped to 256 levels as in a file.
"""

import argparse
from pathlib import Path

import torch
from clips import name_of, sized
from words import count, frame_size

from visionxl import Measurement, simulate
from visionxl.measurements import estimate_noise
from visionxl.operators import TASKS
from visionxl.video import DEMO_CLIP

NOISES = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1)


def in_8_bits(measurement: Measurement) -> Measurement:
    return measurement.add(1).mul(127.5).round().clamp(0, 255).div(127.5).sub(1)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clips", nargs="*", type=Path, default=[DEMO_CLIP], metavar="CLIP")
    parser.add_argument("--frames", type=count, default=16)
    parser.add_argument("--size", type=frame_size(8), default=(192, 320), metavar="HEIGHTxWIDTH")
    arguments = parser.parse_args()
    height, width = arguments.size
    for path in arguments.clips:
        truth = sized(path, arguments.frames, height, width).video
        print(f"{name_of(path):24}" + "".join(f"{noise:>9}" for noise in NOISES))
        for task, make in TASKS.items():
            generator = torch.Generator().manual_seed(0)
            operator = make(len(truth), truth.shape[-2], truth.shape[-1], generator)
            seen = [simulate(truth, operator, n, generator=generator).measurement for n in NOISES]
            for label, change in ((task, lambda y: y), (f"{task} in 8 bits", in_8_bits)):
                found = [estimate_noise(change(y)) for y in seen]
                print(f"{label:24}" + "".join(f"{noise:9.4f}" for noise in found), flush=True)


if __name__ == "__main__":
    main()
