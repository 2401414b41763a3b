"""Every method on one real clip: quality, evaluations, time.

    python benchmarks/methods.py --json out.json --picture out.jpg
    python benchmarks/methods.py CLIP --task inpaint+ --noise 0.05 --height 192 --width 320

The clip is the demo's flower if none is given, averaged over 7 frames and pooled by 4 if no task
is. The prior is the pocket one; methods that need pixels as latents, and all the others once more
to compare with them, have a Gaussian prior with the spectrum of natural pictures. What a method
refuses is told in its own words.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import begin_peak, give_back
from pictures import grid
from PIL import Image
from posterior import Counting, generator
from results import number
from words import count, noise

from visionxl import GaussianPrior, InputError, PocketPrior, Video, restore, simulate
from visionxl.files import whole
from visionxl.memory import peak_bytes
from visionxl.metrics import difference_psnr, psnr, ssim
from visionxl.operators import TASKS, lift
from visionxl.protocols import InverseProblem, LatentPrior
from visionxl.sizes import cover
from visionxl.solvers import METHODS
from visionxl.solvers.residual import data_residual
from visionxl.video import DEMO_CLIP, read_clip, to_pictures

COUNTS = {"latino": 8}  # evaluations that a method is made for; the others' own default
Row = dict[str, Any]


def rows(
    problem: InverseProblem, truth: Video, priors: dict[str, LatentPrior], names: list[str]
) -> Iterator[tuple[Row, Video | None]]:
    """A row and the restored video for every prior and method; None where it is refused."""
    for prior_name, prior in priors.items():
        for name in names:
            counting = Counting(prior, [])
            made = METHODS[name](**({"count": COUNTS[name]} if name in COUNTS else {}))
            give_back()
            begin_peak(torch.device("cpu"))
            began = time.perf_counter()
            row: Row = {"prior": prior_name, "method": name}
            try:
                video = restore(problem, counting, made, generator=generator(1)).video
            except InputError as error:
                yield {**row, "refused": str(error)}, None
                continue
            seconds = time.perf_counter() - began
            yield (
                {
                    **row,
                    "psnr": round(psnr(video, truth), 2),
                    "ssim": round(ssim(video, truth), 4),
                    "difference_psnr": number(difference_psnr(video, truth), 2),
                    "residual": round(data_residual(problem, video), 5),
                    "evaluations": round(sum(counting.frames) / len(truth), 2),
                    "seconds": round(seconds, 1),
                    "peak_bytes": peak_bytes(torch.device("cpu")),
                },
                video,
            )


COLUMNS = ("prior", "method", "psnr", "ssim", "difference_psnr", "residual")
COSTS = ("evaluations", "seconds", "peak_bytes")


def line(row: Row) -> str:
    """A row of the table."""
    if "refused" in row:
        return f"| {row['prior']} | {row['method']} | refused: {row['refused']} |"
    cells = [*(row[name] for name in (*COLUMNS, *COSTS[:2])), round(row["peak_bytes"] / 1e6)]
    return f"| {' | '.join(map(str, cells))} |"


def sheet(path: Path, pictures: dict[str, np.ndarray], columns: int) -> None:
    """Write the labelled pictures, so many in a row."""
    with whole(path) as partial:
        Image.fromarray(grid(pictures, columns)).save(partial, quality=88)


def middle(video: Video) -> np.ndarray:
    """The middle frame as a picture."""
    return next(iter(to_pictures(video[len(video) // 2][None])))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clip", nargs="?", type=Path, default=DEMO_CLIP)
    parser.add_argument("--task", choices=list(TASKS), default="sr4+")
    parser.add_argument("--noise", type=noise, default=0.01)
    parser.add_argument("--frames", type=count, default=9)
    parser.add_argument("--height", type=count, default=96)
    parser.add_argument("--width", type=count, default=160)
    parser.add_argument("--method", action="append", choices=list(METHODS), help="default: all")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="of the middle frames")
    given = parser.parse_args()
    height, width = given.height, given.width
    truth = cover(read_clip(given.clip, given.frames).video, height, width)
    operator = TASKS[given.task](len(truth), height, width, generator(0))
    problem = simulate(truth, operator, given.noise, generator=generator(0))
    priors = {"pocket": PocketPrior.load(), "gaussian": GaussianPrior.natural(height, width)}
    measured = lift(operator, problem.measurement)
    shown = {"truth": middle(truth), "measurement": middle(measured)}
    print(f"{len(truth)} frames of {height}x{width}, {given.task}, noise {given.noise}: ", end="")
    print(f"the measurement has {psnr(measured, truth):.2f} dB\n")
    print(f"| {' | '.join((*COLUMNS, *COSTS[:2]))} | MB |\n" + "|---" * 9 + "|", flush=True)
    kept = []
    for row, video in rows(problem, truth, priors, given.method or list(METHODS)):
        kept.append(row)
        print(line(row), flush=True)
        if video is not None:
            shown[f"{row['method']}, {row['prior']}"] = middle(video)
        if given.json is not None:
            with whole(given.json) as partial:
                partial.write_text(json.dumps(kept, indent=1) + "\n")
    if given.picture is not None:
        sheet(given.picture, shown, 5)


if __name__ == "__main__":
    main()
