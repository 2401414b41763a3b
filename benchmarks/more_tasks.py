"""The tasks that are not the paper's, each on a real clip: a table and a picture.

    python benchmarks/more_tasks.py --json out.json --picture out.jpg

The clip is the demo's flower if none is given, the prior the pocket one, the method the default,
or ``gauss_newton`` where the task is not linear. PSNR of the measurement is that of its lift: what
can be seen without restoring.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from methods import middle, sheet
from posterior import generator
from results import number
from words import count, noise

from visionxl import PocketPrior, Video, restore, simulate, vision_tv
from visionxl.files import whole
from visionxl.metrics import difference_psnr, psnr
from visionxl.operators import MORE_TASKS, NONLINEAR_TASKS, lift, task_named
from visionxl.priors import DiffusersPrior
from visionxl.sizes import cover
from visionxl.solvers import gauss_newton
from visionxl.video import DEMO_CLIP, read_clip

NAMES = [*MORE_TASKS, *NONLINEAR_TASKS]
COLUMNS = ("task", "method", "measured_psnr", "psnr", "difference_psnr", "seconds")


def solved(
    name: str, truth: Video, noise: float, prior: DiffusersPrior
) -> tuple[dict[str, Any], Video, Video]:
    """The row of a task, the lifted measurement and the restored video."""
    height, width = truth.shape[-2:]
    operator = task_named(name)(len(truth), height, width, generator(0))
    problem = simulate(truth, operator, noise, generator=generator(0))
    method: Any = gauss_newton if name in NONLINEAR_TASKS else vision_tv
    began = time.perf_counter()
    video = restore(problem, prior, method(), generator=generator(1)).video
    seconds = time.perf_counter() - began
    measured = lift(operator, problem.measurement)
    row = {
        "task": name,
        "method": method.__name__,
        "measured_psnr": round(psnr(measured, truth), 2),
        "psnr": round(psnr(video, truth), 2),
        "difference_psnr": number(difference_psnr(video, truth), 2),
        "seconds": round(seconds, 1),
    }
    return row, measured, video


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clip", nargs="?", type=Path, default=DEMO_CLIP)
    parser.add_argument("--task", action="append", choices=NAMES, help="default: all")
    parser.add_argument("--noise", type=noise, default=0.01)
    parser.add_argument("--frames", type=count, default=16)
    parser.add_argument("--height", type=count, default=96)
    parser.add_argument("--width", type=count, default=160)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="of the middle frames")
    given = parser.parse_args()
    truth = cover(read_clip(given.clip, given.frames).video, given.height, given.width)
    prior, rows, shown = PocketPrior.load(), [], {}
    print(f"{len(truth)} frames of {given.height}x{given.width}, noise {given.noise}\n")
    print(f"| {' | '.join(COLUMNS)} |\n" + "|---" * len(COLUMNS) + "|", flush=True)
    for name in given.task or NAMES:
        row, measured, video = solved(name, truth, given.noise, prior)
        rows.append(row)
        print(f"| {' | '.join(str(row[key]) for key in COLUMNS)} |", flush=True)
        shown |= {f"{name}: measured": middle(measured), f"{name}: restored": middle(video)}
        if given.json is not None:
            with whole(given.json) as partial:
                partial.write_text(json.dumps(rows, indent=1) + "\n")
    if given.picture is not None:
        sheet(given.picture, shown, 4)  # two tasks in a row


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
