"""Long clips in windows: what a frame costs, what memory it takes, and whether seams can be seen.

    python benchmarks/long_clip.py --json out.json
    python benchmarks/long_clip.py --seams --method vision_xl --method vision_tv

The first restores clips of 25 to 1000 frames with a prior that needs no weights, in windows, each
in a process of its own, and prints the seconds per frame and the process's peak memory. With
``--seams`` a clip, the demo's or another, played to and fro, is restored with the pocket prior as a
whole and in windows, for ``deblur+`` with noise 0.01, and the least PSNR of a frame between the two
is printed for every context; with ``--texture``, too, it is a moving texture.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from measuring import begin_peak, give_back
from words import count, frame_size

from visionxl import GaussianPrior, PocketPrior, restore, simulate, vision_xl
from visionxl.checkpoints import CheckpointFolder, StatesOnDisk
from visionxl.files import whole
from visionxl.measurements import generator_of
from visionxl.memory import peak_bytes
from visionxl.metrics import psnr
from visionxl.operators import TASKS, GaussianBlur
from visionxl.protocols import Video
from visionxl.sizes import cover
from visionxl.solvers import METHODS
from visionxl.solvers.long import restore_windows
from visionxl.solvers.windows import CONTEXT, CORE, LongProblem
from visionxl.video import DEMO_CLIP, read_clip


def to_and_fro(path: Path, frames: int, height: int, width: int) -> Video:
    """A clip forwards, backwards, and so on."""
    clip = cover(read_clip(path).video, height, width)
    there = list(range(len(clip)))
    round_trip = there + there[-2:0:-1]
    return clip[[round_trip[i % len(round_trip)] for i in range(frames)]]


def moving_texture(frames: int, height: int, width: int) -> Video:
    """Random texture that moves by 3 pixels a frame, in height and in width."""
    noise = torch.randn(1, 3, height, 4 * width, generator=generator_of(0))
    texture = GaussianBlur(sigma=1.0).forward(noise)[0]
    texture = (0.4 * texture / texture.std()).clamp(-1, 1)
    moved = (texture.roll((3 * t, -3 * t), (-2, -1)) for t in range(frames))
    return torch.stack([frame[..., :width] for frame in moved])


def cost(frames: int, core: int, context: int) -> dict[str, Any]:
    """Processor seconds and peak memory of a clip with a Gaussian prior, in this process."""
    torch.set_num_threads(1)
    prior = GaussianPrior.natural(64, 96)
    generator = generator_of(0)
    operator = TASKS["deblur+"](frames, 64, 96, generator)
    clip = prior.sample(frames, 3, generator).float()
    problem = simulate(clip, operator, 0.01, generator=generator)
    long = LongProblem.of(operator, problem.measurement, 0.01, core, context)
    give_back()
    begin_peak(torch.device("cpu"))  # else what made the clip would hide what is measured
    before, began = peak_bytes(torch.device("cpu")), time.process_time()
    with TemporaryDirectory() as folder:
        states = StatesOnDisk(CheckpointFolder(folder))
        for restored in restore_windows(
            long, prior, vision_xl(), generator=generator_of(1), states=states
        ):
            del restored
    seconds = time.process_time() - began
    return {
        "frames": frames,
        "windows": len(long.windows),
        "seconds": round(seconds, 2),
        "seconds_per_frame": round(seconds / frames, 4),
        "peak_bytes_above": peak_bytes(torch.device("cpu")) - before,
    }


def costs(counts: list[int], core: int, context: int) -> list[dict[str, Any]]:
    """Each count in a process of its own, so that its peak is its own."""
    rows = []
    print("| frames | windows | s | s per frame | memory above the clip's, MB |")
    print("|---|---|---|---|---|", flush=True)
    for frames in counts:
        words = ["--one", str(frames), "--core", str(core), "--context", str(context)]
        done = subprocess.run(
            [sys.executable, __file__, *words], capture_output=True, text=True, check=True
        )
        rows.append(json.loads(done.stdout))
        row = rows[-1]
        print(
            f"| {frames} | {row['windows']} | {row['seconds']} | {row['seconds_per_frame']} | "
            f"{row['peak_bytes_above'] / 1e6:.0f} |",
            flush=True,
        )
    return rows


def seams(
    methods: list[str],
    frames: int,
    size: tuple[int, int],
    core: int,
    contexts: list[int],
    task: str,
    noise: float,
    clip_of: Callable[[int, int, int], Video],
) -> list[dict[str, Any]]:
    """The least PSNR of a frame between the whole restoration and that in windows."""
    generator = generator_of(0)
    height, width = size
    operator = TASKS[task](frames, height, width, generator)
    clip = clip_of(frames, height, width)
    problem = simulate(clip, operator, noise, generator=generator)
    prior, rows = PocketPrior.load(), []
    print(f"{task}, noise {noise}, {frames} frames of {size[0]}x{size[1]}, core {core}\n")
    print("| method | context | least PSNR of a frame, dB | PSNR whole | in windows |")
    print("|---|---|---|---|---|", flush=True)
    for name in methods:
        method = METHODS[name]()
        at_once = restore(problem, prior, method, generator=generator_of(1), frames_at_once=8).video
        for context in contexts:
            long = LongProblem.of(operator, problem.measurement, noise, core, context)
            found = restore_windows(
                long, prior, method, generator=generator_of(1), frames_at_once=8
            )
            video = torch.cat([restored.video for restored in found])
            apart = [psnr(a[None], b[None]) for a, b in zip(video, at_once, strict=True)]
            row = {
                "task": task,
                "noise": noise,
                "method": name,
                "context": context,
                "windows": len(long.windows),
                "least_psnr": round(min(apart), 2),
                "psnr_whole": round(psnr(at_once, clip), 3),
                "psnr_windows": round(psnr(video, clip), 3),
            }
            rows.append(row)
            print(
                f"| {name} | {context} | {row['least_psnr']} | {row['psnr_whole']} | "
                f"{row['psnr_windows']} |",
                flush=True,
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=count, action="append", help="default 25, 100, 400, 1000")
    parser.add_argument("--core", type=count, default=CORE)
    parser.add_argument("--context", type=int, action="append", help=f"default {CONTEXT}")
    parser.add_argument("--seams", action="store_true")
    parser.add_argument("--method", action="append", choices=list(METHODS))
    parser.add_argument(
        "--size", type=frame_size(8), default=(96, 160), help="HEIGHTxWIDTH, of --seams"
    )
    parser.add_argument("--task", default="deblur+", choices=list(TASKS), help="of --seams")
    parser.add_argument("--noise", type=float, default=0.01, help="of --seams")
    parser.add_argument("--clip", type=Path, default=DEMO_CLIP, help="of --seams; the demo's")
    parser.add_argument("--texture", action="store_true", help="moving texture, with --seams")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    contexts = given.context or [CONTEXT]
    if given.one is not None:
        print(json.dumps(cost(given.one, given.core, contexts[0])))
        return
    if given.seams:
        height, width = given.size
        frames = (given.frames or [160])[0]
        methods = given.method or ["vision_xl", "vision_tv"]
        clip_of = moving_texture if given.texture else partial(to_and_fro, given.clip)
        problem = given.task, given.noise, clip_of
        rows = seams(methods, frames, (height, width), given.core, contexts, *problem)
    else:
        rows = costs(given.frames or [25, 100, 400, 1000], given.core, contexts[0])
    if given.json is not None:
        with whole(given.json) as file:
            file.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
