"""Where a restoration fails, in small pictures: ``python benchmarks/failures.py --output FOLDER``.

Each case is the package's clip, measured and restored twice or three times, once as it should be
and then with one thing wrong. ``FOLDER`` gets a picture of each case; ``--json FILE`` every
figure, beside those of other cases that it has. The page ``docs/limits.rst`` shows them.
"""

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from attrs import evolve
from pictures import grid
from PIL import Image
from torch import Generator

from visionxl import (
    InverseProblem,
    PlainCG,
    PocketPrior,
    Sampler,
    SpaceTimeTV,
    Video,
    restore,
    simulate,
    vision_tv,
    vision_xl,
)
from visionxl.files import whole
from visionxl.measurements import estimate_noise
from visionxl.metrics import psnr
from visionxl.operators import AveragePool, Clip, GaussianBlur, Mask, TemporalAverage, lift
from visionxl.sizes import cover
from visionxl.solvers import gauss_newton
from visionxl.video import DEMO_CLIP, read_clip, to_pictures

FRAMES, HEIGHT, WIDTH = 9, 96, 160
ENLARGED = 2  # pixels of a picture for a pixel of a frame, along each side

Panels = dict[str, Video]
"""Videos of one size by label; one is the truth."""


def chance() -> Generator:
    return torch.Generator().manual_seed(0)


def clip_at(frames: int = FRAMES, height: int = HEIGHT, width: int = WIDTH) -> Video:
    """The package's clip, (frames, 3, height, width)."""
    return cover(read_clip(DEMO_CLIP, frames).video, height, width)


def restored(problem: InverseProblem, method: Sampler) -> Video:
    return restore(problem, PocketPrior.load(), method, generator=chance()).video


def noise_level() -> Panels:
    """The noise that the method is told is a fifth of what there is, right, or five times it."""
    truth = clip_at()
    operator = GaussianBlur(sigma=3.0) @ TemporalAverage(window=7)
    problem = simulate(truth, operator, noise_std=0.05, generator=chance())
    found = round(estimate_noise(problem.measurement), 3)
    told = {"a fifth": 0.01, "right": 0.05, f"estimated, {found}": found, "five times": 0.25}
    return (
        {"measurement": problem.measurement}
        | {
            label: restored(evolve(problem, noise_std=noise_std), vision_tv())
            for label, noise_std in told.items()
        }
        | {"truth": truth}
    )


def operator() -> Panels:
    """The blur or its border is another one than the method is told."""
    truth = clip_at()
    problem = simulate(truth, GaussianBlur(sigma=3.0), noise_std=0.01, generator=chance())
    told = {
        "right, 3 px": GaussianBlur(sigma=3.0),
        "told 2 px": GaussianBlur(sigma=2.0),
        "told 4 px": GaussianBlur(sigma=4.0),
        "told a circular border": GaussianBlur(sigma=3.0, boundary="circular"),
    }
    return (
        {"measurement": problem.measurement}
        | {
            label: restored(evolve(problem, operator=blur), vision_tv())
            for label, blur in told.items()
        }
        | {"truth": truth}
    )


def motion(speed: int) -> Panels:
    """A window moves over one picture, so many pixels a frame; the middle one is the same."""
    wide = clip_at(1, 3 * HEIGHT, 3 * WIDTH)
    lefts = [WIDTH + speed * (index - FRAMES // 2) for index in range(FRAMES)]
    truth = torch.cat([wide[..., HEIGHT : 2 * HEIGHT, x : x + WIDTH] for x in lefts])
    problem = simulate(truth, AveragePool(4), noise_std=0.01, generator=chance())
    followed, still = (
        evolve(vision_tv(consistency=SpaceTimeTV(motion=m)), finish=None) for m in (True, False)
    )
    return {
        "measurement": lift(problem.operator, problem.measurement),
        "motion followed": restored(problem, followed),
        "motion not followed": restored(problem, still),
        "truth": truth,
    }


def saturated() -> Panels:
    """What is brighter than a ceiling is white, in every frame."""
    truth, panels = clip_at(), {}
    for ceiling in (0.2, -0.3):
        problem = simulate(truth, Clip(high=ceiling), noise_std=0.01, generator=chance())
        panels[f"cut at {ceiling}"] = problem.measurement
        panels[f"restored from {ceiling}"] = restored(problem, gauss_newton())
    return panels | {"truth": truth}


def texture() -> Panels:
    """A hole that no frame looks into, and fine texture that the measurement does not hold."""
    truth = clip_at()
    known = torch.ones(HEIGHT, WIDTH, dtype=torch.bool)
    known[24:72, 56:104] = False
    panels: Panels = {}
    for label, seen in (("hole", Mask(known)), ("one pixel for 8 x 8", AveragePool(8))):
        problem = simulate(truth, seen, noise_std=0.01, generator=chance())
        panels[label] = lift(seen, problem.measurement)
        panels[f"{label}: restored"] = restored(problem, vision_tv())
    return panels | {"truth": truth}


def plain() -> Panels:
    """Ten plain steps of conjugate gradients for each time, without noise and with it."""
    truth = clip_at()
    panels: Panels = {}
    blur = GaussianBlur(sigma=3.0) @ TemporalAverage(window=7)
    for noise_std in (0.0, 0.05):
        problem = simulate(truth, blur, noise_std=noise_std, generator=chance())
        for label, method in (
            ("plain", vision_xl(consistency=PlainCG(10))),
            ("noise-aware", vision_xl()),
        ):
            panels[f"{label}, noise {noise_std}"] = restored(problem, method)
    return panels | {"truth": truth}


CASES: dict[str, Callable[[], Panels]] = {
    "noise-level": noise_level,
    "operator": operator,
    "slow": partial(motion, 2),
    "fast": partial(motion, 40),
    "saturated": saturated,
    "texture": texture,
    "plain": plain,
}


def figures(panels: Panels) -> dict[str, float]:
    """PSNR in dB of every panel but the truth."""
    return {
        label: round(psnr(video, panels["truth"]), 1)
        for label, video in panels.items()
        if label != "truth"
    }


def picture(panels: Panels, found: dict[str, float]) -> Image.Image:
    """The middle frame of every panel, labelled with its PSNR."""
    tiles = {}
    for label, video in panels.items():
        title = f"{label}, {found[label]:.1f} dB" if label in found else label
        (frame,) = to_pictures(video[len(video) // 2][None])
        tiles[title] = frame.repeat(ENLARGED, axis=0).repeat(ENLARGED, axis=1)
    return Image.fromarray(grid(tiles, most=3 if len(tiles) % 3 == 0 else 2))


def main() -> None:
    parser = argparse.ArgumentParser(description="Where a restoration fails, in pictures.")
    parser.add_argument("--case", action="append", choices=list(CASES), help="all without it")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="gets a picture of each")
    parser.add_argument("--json", type=Path, metavar="FILE", help="gets every figure")
    arguments = parser.parse_args()
    told: Path | None = arguments.json
    record = json.loads(told.read_text()) if told and told.exists() else {}
    for name in arguments.case or CASES:
        panels = CASES[name]()
        record[name] = found = figures(panels)
        for label, value in found.items():
            print(f"{name:12} {label:28} {value:5.1f} dB", flush=True)
        if arguments.output:
            arguments.output.mkdir(parents=True, exist_ok=True)
            with whole(arguments.output / f"{name}.jpg") as path:
                picture(panels, found).save(path, quality=85, format="JPEG")
        if told:
            with whole(told) as path:
                path.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
