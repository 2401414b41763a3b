"""One restoration by 1, 2 and 3 processes: seconds, the ratio to one, and whether they agree.

    python benchmarks/processes.py --processes 1 2 3 --frames 12 --size 64x64

It runs torchrun once per number of processes, on this machine. The prior is the pocket model, or
any that ``--prior`` names. With ``--device cuda`` every process takes a GPU of its own, and what
they exchange travels by NCCL. Each process uses ``--threads`` threads. The difference is the
largest of any pixel to the result of the first number of processes, in the range [-1, 1].
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import load_file
from words import count, frame_size

from visionxl import simulate
from visionxl.distributed import processes, split_restore
from visionxl.files import save_tensors, whole
from visionxl.operators import task_named
from visionxl.priors import DiffusersPrior, PocketPrior
from visionxl.protocols import InverseProblem
from visionxl.solvers.methods import METHODS, method_named


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--processes", type=count, nargs="+", default=[1, 2, 3])
    parser.add_argument("--frames", type=count, default=12)
    parser.add_argument(
        "--size", type=frame_size(8), default=(64, 64), help="HEIGHTxWIDTH; default 64x64"
    )
    parser.add_argument("--task", default="sr4+")
    parser.add_argument("--method", default="vision_xl", choices=METHODS)
    parser.add_argument("--steps", type=count, default=25, help="times of the whole schedule")
    parser.add_argument("--frames-at-once", type=count, default=1)
    parser.add_argument("--prior", help="a folder in diffusers' layout; default the pocket model")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=count, default=1, help="of each process")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--one-of-many", type=Path, metavar="FILE", help=argparse.SUPPRESS)
    return parser.parse_args()


def problem_of(given: argparse.Namespace) -> InverseProblem:
    height, width = given.size
    generator = torch.Generator().manual_seed(0)
    operator = task_named(given.task)(given.frames, height, width, generator)
    truth = torch.rand(given.frames, 3, height, width, generator=generator) * 2 - 1
    return simulate(truth, operator, noise_std=0.02, generator=generator)


def one_of_many(given: argparse.Namespace) -> None:
    """What each process does; the first one writes the video and the seconds."""
    torch.set_num_threads(given.threads)
    with processes(given.device) as together:
        problem = problem_of(given)
        on_device = InverseProblem(
            problem.operator, problem.measurement.to(together.device), problem.noise_std
        )
        if given.prior is None:
            prior = PocketPrior.load(device=together.device)
        else:
            prior = DiffusersPrior.from_pretrained(given.prior, device=together.device)
        together.exchange()  # the clock starts when all are ready
        began = time.perf_counter()
        video = split_restore(
            on_device,
            prior,
            method_named(given.method)(count=given.steps),
            processes=together,
            generator=torch.Generator().manual_seed(1),
            frames_at_once=given.frames_at_once,
        ).video.cpu()
        seconds = time.perf_counter() - began
        if together.first:
            found = {"video": video, "seconds": torch.tensor(seconds, dtype=torch.float64)}
            save_tensors(given.one_of_many, found)


def launched(count: int, output: Path) -> dict[str, torch.Tensor]:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    command = [sys.executable, *launcher, *sys.argv, "--one-of-many", str(output)]
    threads = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    subprocess.run(command, check=True, env={**os.environ, **threads})
    return load_file(output)


def main() -> None:
    given = read_arguments()
    if given.one_of_many is not None:
        one_of_many(given)
        return
    rows = []
    print("| processes | seconds | times faster | largest difference |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        base: dict[str, torch.Tensor] | None = None
        for count in given.processes:
            found = launched(count, Path(folder) / f"{count}.safetensors")
            base = base or found
            seconds = found["seconds"].item()
            faster = base["seconds"].item() / seconds
            difference = (found["video"] - base["video"]).abs().max().item()
            rows.append(
                {"processes": count, "seconds": seconds, "faster": faster, "difference": difference}
            )
            print(f"| {count} | {seconds:.2f} | {faster:.2f} | {difference:.1e} |", flush=True)
    if given.json is not None:
        settings = {k: str(v) for k, v in vars(given).items() if k not in ("json", "one_of_many")}
        with whole(given.json) as partial:
            partial.write_text(json.dumps({"settings": settings, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
