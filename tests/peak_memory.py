"""Restores a video of noise and prints the process's peak memory in bytes.

    python peak_memory.py FRAMES SIDE PRIOR CONSISTENCY

It is run as a process of its own, because a peak cannot be reset.
"""

import re
import resource
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


def peak():
    # A child's ru_maxrss begins at its parent's on Linux, VmHWM begins anew.
    status = Path("/proc/self/status")
    if status.exists():
        return 1024 * int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS: bytes


def main(frames, side, prior, consistency):
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    video = torch.rand(frames, 3, side, side, generator=generator)
    operator = AveragePool(4) @ TemporalAverage(7)
    problem = simulate(video, operator, 0.05, generator=generator)
    del video
    sampler = vision_xl(count=5, consistency=CONSISTENCIES[consistency])
    restore(problem, PRIORS[prior](side), sampler, generator=generator)
    print(peak())


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4])
