"""What it changes that a GPU sees the total variation of a video in host memory in windows.

    python benchmarks/host_windows.py CLIP --frames 50 --height 96 --width 160

The default method restores the clip as a whole and as ``hosted`` does, both on the CPU.
"""

import argparse
from pathlib import Path

from clips import sized
from peers.case import Case
from peers.published import generator_of
from words import whole_number

from visionxl import InverseProblem, PocketPrior, Sampler, Video, restore, vision_tv
from visionxl.metrics import psnr
from visionxl.solvers import hosted
from visionxl.video import DEMO_CLIP


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clip", nargs="?", type=Path, default=DEMO_CLIP, metavar="CLIP")
    for name, default in (("frames", 50), ("height", 96), ("width", 160)):
        multiple = 1 if name == "frames" else 16
        parser.add_argument(f"--{name}", type=whole_number(multiple), default=default)
    options = parser.parse_args()
    clip = sized(options.clip, options.frames, options.height, options.width).video
    case, prior = Case.make(clip, "deblur+", 0.01, 0), PocketPrior.load()

    def restored(problem: InverseProblem, sampler: Sampler) -> Video:
        return restore(problem, prior, sampler, generator=generator_of(case)).video

    whole = restored(case.problem, vision_tv())
    windowed = restored(*hosted(case.problem, vision_tv(), "cpu"))
    size = "x".join(map(str, clip.shape[-2:]))
    print(f"{len(clip)} frames of {size}, deblur+, noise 0.01")
    print(f"as a whole {psnr(whole, clip):.2f} dB, in windows {psnr(windowed, clip):.2f} dB")
    print(f"{psnr(windowed, whole):.1f} dB between the two")


if __name__ == "__main__":
    main()
