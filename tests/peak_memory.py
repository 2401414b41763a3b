"""Restores videos of noise and prints how many videos the process's peak memory grows by.

    python peak_memory.py SIDE

It is run as a process of its own, in which nothing else takes memory.
"""

import gc
import json
import re
import sys
from pathlib import Path

import torch

from visionxl import (
    ClosedForm,
    DampedCG,
    DiffusersPrior,
    GaussianPrior,
    MotionShrinkage,
    SpaceTimeTV,
    restore,
    simulate,
    vision_xl,
)
from visionxl.operators import AveragePool, TemporalAverage


def diffusers_prior(side):
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DModel

    unet = UNet2DModel(
        in_channels=4,
        out_channels=4,
        block_out_channels=(8, 8),
        down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2,
        norm_num_groups=4,
        layers_per_block=1,
    )
    vae = AutoencoderKL(
        block_out_channels=(4, 4, 4, 4),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=4,
    )
    return DiffusersPrior.assemble(unet, vae, DDIMScheduler())


PRIORS = {"gaussian": lambda side: GaussianPrior.natural(side, side), "diffusers": diffusers_prior}
CONSISTENCIES = {
    "closed form": ClosedForm(),
    "CG": DampedCG(iterations=3),
    "total variation": SpaceTimeTV(iterations=3),
    "total variation, motion sorted": SpaceTimeTV(iterations=5),
    "shrinkage": MotionShrinkage(turns=2),
}


FEW, MANY = 8, 20
CASES = (
    ("diffusers", "closed form"),
    ("gaussian", "closed form"),
    ("diffusers", "total variation"),
    ("diffusers", "total variation, motion sorted"),
    ("diffusers", "shrinkage"),
    ("gaussian", "CG"),
)


def memory(name):
    """Of this process: ``VmRSS``, what it has now, or ``VmHWM``, the most since :func:`forget`."""
    return 1024 * int(re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())[1])


def forget():
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")


def taken(frames, side, prior, consistency):
    """The bytes that a restoration takes at its peak."""
    generator = torch.Generator().manual_seed(0)
    video = torch.rand(frames, 3, side, side, generator=generator).mul_(2).sub_(1)
    operator = AveragePool(4) @ TemporalAverage(7)
    before = memory("VmRSS") - video.nbytes
    problem = simulate(video, operator, 0.05, generator=generator)
    del video
    sampler = vision_xl(count=2, consistency=CONSISTENCIES[consistency])
    forget()
    restore(problem, prior, sampler, generator=generator)
    return memory("VmHWM") - before


def main(side):
    torch.set_num_threads(1)
    torch.manual_seed(0)  # of the networks: where a video has motion decides what its search takes
    video, held = 3 * side**2 * 4, {}
    for name, consistency in CASES:
        prior = PRIORS[name](side)
        taken(2, side, prior, consistency)  # what is made once, by the first call
        few, many = (taken(n, side, prior, consistency) for n in (FEW, MANY))
        held[f"{name}, {consistency}"] = (many - few) / ((MANY - FEW) * video)
    print(json.dumps(held))


if __name__ == "__main__":
    main(int(sys.argv[1]))
