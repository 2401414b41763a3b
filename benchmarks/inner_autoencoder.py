"""What a smaller autoencoder in all steps but the last costs in quality, and what it saves.

    python training/tiny.py --photos FOLDER --output tiny
    python benchmarks/inner_autoencoder.py [CLIP...] --inner-autoencoder tiny

A row for every clip, task and method: PSNR with the full autoencoder throughout, with the smaller
one in the inner steps, the difference, and the processor seconds of both. Before them, what either
autoencoder holds of a clip: the PSNR of ``decode(encode(x))``. The clip is the package's if none is
given.
"""

import json
import time
from argparse import RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any

import torch
from clips import MULTIPLE, names_of, sized
from words import Parser, noise, one_of, whole_number

from visionxl import LatentPrior, PocketPrior, restore, simulate
from visionxl.cli.priors import with_autoencoder
from visionxl.files import check_output, whole
from visionxl.metrics import psnr
from visionxl.operators import TASKS
from visionxl.protocols import InverseProblem
from visionxl.solvers import FrameByFrame, method_named
from visionxl.video import DEMO_CLIP

TASKS_RUN = ["deblur+", "sr4+", "inpaint+"]
METHODS_RUN = ["vision_xl", "vision_tv"]


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def measured(
    truth: torch.Tensor,
    problem: InverseProblem,
    prior: LatentPrior,
    method: str,
    inner: LatentPrior | None,
) -> dict[str, float]:
    began = time.process_time()
    sampler = method_named(method)()
    video = restore(problem, prior, sampler, generator=seeded(), inner=inner).video
    return {"psnr": psnr(video, truth), "seconds": time.process_time() - began}


def main() -> None:
    parser = Parser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="*", type=Path, default=[DEMO_CLIP], metavar="CLIP")
    parser.add_argument("--inner-autoencoder", required=True, metavar="FOLDER")
    parser.add_argument("--task", action="append", type=one_of(list(TASKS)))
    parser.add_argument("--method", action="append", type=one_of(METHODS_RUN))
    parser.add_argument("--noise", type=noise, default=0.01)
    parser.add_argument("--frames", type=whole_number(1), default=9)
    parser.add_argument("--height", type=whole_number(MULTIPLE), default=192)
    parser.add_argument("--width", type=whole_number(MULTIPLE), default=320)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    if options.json is not None:
        check_output(options.json, overwrite=True)
    full = PocketPrior.load()
    small = with_autoencoder(full, options.inner_autoencoder)
    clips = {
        name: sized(path, options.frames, options.height, options.width).video
        for name, path in names_of(options.clips).items()
    }
    for name, truth in clips.items():
        held = [
            psnr(frugal.decode(frugal.encode(truth)), truth)
            for frugal in map(FrameByFrame, (full, small))
        ]
        print(f"{name}: the autoencoder holds {held[0]:.2f} dB, the smaller one {held[1]:.2f} dB")
    print("| clip | task | method | full, dB | inner, dB | difference | full, s | inner, s |")
    print("|---|---|---|---|---|---|---|---|")
    rows: list[dict[str, Any]] = []
    for name, truth in clips.items():
        for task in options.task or TASKS_RUN:
            frames, _, height, width = truth.shape
            operator = TASKS[task](frames, height, width, seeded())
            problem = simulate(truth, operator, options.noise, generator=seeded())
            for method in options.method or METHODS_RUN:
                whole_run = measured(truth, problem, full, method, None)
                quick = measured(truth, problem, full, method, small)
                print(
                    f"| {name} | {task} | {method} | {whole_run['psnr']:.2f} | "
                    f"{quick['psnr']:.2f} | {quick['psnr'] - whole_run['psnr']:+.2f} | "
                    f"{whole_run['seconds']:.1f} | {quick['seconds']:.1f} |",
                    flush=True,
                )
                row = {"clip": name, "task": task, "method": method, "noise": options.noise}
                rows.append(row | {"full": whole_run, "inner": quick})
                if options.json is not None:
                    with whole(options.json) as partial:
                        partial.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
