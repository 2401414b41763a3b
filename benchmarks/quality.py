"""Quality of restoration on real clips, against what linear algebra alone can do.

    python benchmarks/quality.py CLIP --height 192 --width 320 --json out.json

Rows: the back-projection (``lift``), conjugate gradients alone at the best of 5, 10, 20 and 40
iterations (the truth chooses: an oracle), the paper's method with its plain 10 CG steps, and the
library's default. PSNR and frame-difference PSNR in dB; noise in units of the range [-1, 1].
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from visionxl import InverseProblem, PlainCG, PocketPrior, Video, restore, simulate, vision_xl
from visionxl.cli.reading import resized
from visionxl.metrics import difference_psnr, psnr, ssim
from visionxl.operators import lift, normal, task_named
from visionxl.solvers import conjugate_gradient
from visionxl.video import DEMO_CLIP, read_clip

CG_ITERATIONS = (5, 10, 20, 40)
METHODS = ("back-projection", "cg", "paper-exact", "default")


def best_cg(problem: InverseProblem, truth: Video) -> Video:
    """CG on ``A^T A x = A^T y`` from the back-projection, stopped where the truth says."""
    operator = problem.operator
    video = lift(operator, problem.measurement)
    right = operator.adjoint(problem.measurement)
    found = [
        conjugate_gradient(lambda x: normal(operator, x), right, video, iterations=k).solution
        for k in CG_ITERATIONS
    ]
    return max(found, key=lambda v: psnr(v, truth))


def run(method: str, problem: InverseProblem, truth: Video, prior: PocketPrior, seed: int) -> Video:
    if method == "back-projection":
        return lift(problem.operator, problem.measurement)
    if method == "cg":
        return best_cg(problem, truth)
    sampler = vision_xl() if method == "default" else vision_xl(consistency=PlainCG(10))
    generator = torch.Generator().manual_seed(seed)
    return restore(problem, prior, sampler, generator=generator, frames_at_once=4).video


def rows(options: argparse.Namespace) -> Iterator[dict]:
    prior = PocketPrior.load()
    for path in options.clips:
        size = f"{options.height}x{options.width}"
        truth = resized(read_clip(path, options.frames), size).video
        for task in options.task:
            for noise in options.noise:
                generator = torch.Generator().manual_seed(options.seed)
                operator = task_named(task)(*truth.shape[:1], *truth.shape[2:], generator)
                problem = simulate(truth, operator, noise, generator=generator)
                for method in options.method:
                    began = time.perf_counter()
                    video = run(method, problem, truth, prior, options.seed)
                    yield {
                        "clip": Path(path).name,
                        "task": task,
                        "noise": noise,
                        "method": method,
                        "psnr": round(psnr(video, truth), 2),
                        "ssim": round(ssim(video, truth), 4),
                        "difference_psnr": round(difference_psnr(video, truth), 2),
                        "seconds": round(time.perf_counter() - began, 1),
                    }


def table(records: list[dict], methods: list[str]) -> str:
    """Markdown: PSNR of every method, a row per clip, task and noise."""
    titles = ["clip", "task", "noise", *methods]
    lines = ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    keys = dict.fromkeys((r["clip"], r["task"], r["noise"]) for r in records)
    for key in keys:
        cells = {r["method"]: r for r in records if (r["clip"], r["task"], r["noise"]) == key}
        values = [f"{cells[m]['psnr']:.2f}" for m in methods if m in cells]
        lines.append("| " + " | ".join([*map(str, key), *values]) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clips", nargs="*", default=[DEMO_CLIP], help="videos or folders of images")
    parser.add_argument("--height", type=int, default=192)
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--frames", type=int, default=25)
    add = parser.add_argument
    add("--task", action="append", help="repeat; default deblur+, sr4+, inpaint+")
    add("--noise", action="append", type=float, help="repeat; default 0, 0.01, 0.05")
    add("--method", action="append", choices=METHODS, help="repeat; default all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the records here")
    options = parser.parse_args()
    options.task = options.task or ["deblur+", "sr4+", "inpaint+"]
    options.noise = options.noise or [0.0, 0.01, 0.05]
    options.method = options.method or list(METHODS)
    records = []
    for record in rows(options):
        records.append(record)
        print(record, flush=True)
        if options.json:
            options.json.write_text(json.dumps(records, indent=1) + "\n")
    print("\nPSNR in dB\n\n" + table(records, options.method))


if __name__ == "__main__":
    main()
