"""The plan's estimate beside the bytes of tensors that a real run has alive at once.

    python benchmarks/memory_plan.py

It restores noise on the CPU, with the pocket prior and with Stable Diffusion's structure in small,
under plans of one and of more frames, and counts every tensor that a run makes.
"""

from collections.abc import Iterator
from typing import Any

import torch
from attrs import frozen

from visionxl import (
    DiffusersPrior,
    PocketPrior,
    Sampler,
    SpaceTimeTV,
    restore,
    simulate,
    vision_tv,
    vision_xl,
)
from visionxl.memory import LiveBytes
from visionxl.operators import TASKS
from visionxl.planning import MemoryPlan, estimate, planned
from visionxl.planning.counts import required_networks, weight_bytes


@frozen(eq=False)
class Case:
    """A run to estimate and to measure."""

    name: str
    prior: DiffusersPrior
    task: str
    method: str
    frames: int
    height: int
    width: int
    plan: MemoryPlan

    @property
    def sampler(self) -> Sampler:
        # Two steps, and few iterations, but enough to prepare the motion: more hold no more.
        brief = SpaceTimeTV(iterations=5)
        methods = {
            "vision_tv": vision_tv(count=14, consistency=brief),
            "vision_xl": vision_xl(count=7),
        }
        return methods[self.method]


def stable_diffusion() -> DiffusersPrior:
    """Stable Diffusion's structure, with few channels and random weights."""
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel

    from visionxl.priors import Conditioning

    torch.manual_seed(0)
    unet: Any = UNet2DConditionModel(
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=8,
        norm_num_groups=8,
    )
    kl: Any = AutoencoderKL
    vae = kl(
        block_out_channels=(8, 16, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=4,
    )
    told, untold = (Conditioning({"encoder_hidden_states": torch.randn(1, 9, 32)}) for _ in "12")
    return DiffusersPrior.assemble(
        unet, vae, DDIMScheduler(), conditional=told, unconditional=untold, guidance=0.6
    )


def cases() -> Iterator[Case]:
    priors = {"pocket": PocketPrior.load(), "small SD": stable_diffusion()}
    strips = MemoryPlan(frames_at_once=1, vae_tile=64)
    for name, prior in priors.items():
        for method in ("vision_xl", "vision_tv"):
            yield Case(name, prior, "deblur+", method, 5, 96, 160, MemoryPlan())
            yield Case(name, prior, "sr4+", method, 5, 96, 160, MemoryPlan(frames_at_once=5))
            yield Case(name, prior, "inpaint+", method, 9, 128, 128, MemoryPlan(frames_at_once=3))
        yield Case(name, prior, "sr4+", "vision_xl", 2, 256, 256, MemoryPlan(frames_at_once=2))
        yield Case(name, prior, "sr4+", "vision_xl", 2, 256, 256, strips)


def weights(case: Case) -> int:
    networks = required_networks(case.prior)
    return weight_bytes(networks.network) + weight_bytes(networks.codec.vae)


def counted(case: Case) -> int:
    """Bytes: weights, measurement, and the most that a run had alive at once."""
    generator = torch.Generator().manual_seed(0)
    shape = (case.frames, 3, case.height, case.width)
    video = torch.rand(shape, generator=generator) * 2 - 1
    operator = TASKS[case.task](case.frames, case.height, case.width, generator)
    problem = simulate(video, operator, 0.01, generator=generator)
    prior = planned(case.prior, case.plan)
    with torch.no_grad(), LiveBytes() as live:
        restore(
            problem,
            prior,
            case.sampler,
            generator=generator,
            frames_at_once=case.plan.frames_at_once,
        )
    return live.peak + weights(case) + problem.measurement.nbytes


def estimated(case: Case) -> int:
    return estimate(
        case.prior,
        case.plan,
        case.height,
        case.width,
        case.frames,
        sampler=case.sampler,
        task=TASKS[case.task],
    ).peak


def main() -> None:
    print("| prior | task | method | frames | size | plan | estimate | counted | ratio | alone |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for case in cases():
        guess, real, resting = estimated(case), counted(case), weights(case)
        size = f"{case.height}x{case.width}"
        print(
            f"| {case.name} | `{case.task}` | `{case.method}` | {case.frames} | {size} "
            f"| {case.plan} | {guess / 1e6:.1f} MB | {real / 1e6:.1f} MB | {guess / real:.3f} "
            f"| {(guess - resting) / (real - resting):.3f} |",
            flush=True,
        )
    print("\nalone: the ratio without the weights.")


if __name__ == "__main__":
    main()
