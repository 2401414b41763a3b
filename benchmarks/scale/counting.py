"""Cost counted on PyTorch's meta device: nothing is computed and no memory taken.

A multiplication and an addition are two. Convolutions, matrix products and attention are counted,
as PyTorch's counter has them; what works value by value (norms, activations) is not.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from attrs import evolve, frozen
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from scale.networks import Networks, build
from scale.rows import ROWS, Run
from scale.watching import Watch
from visionxl import Correction, Denoised, InverseProblem, Latent, NoiseLevel, Sampler, Video
from visionxl.init import CorrectedInversion
from visionxl.memory import peak_bytes_of
from visionxl.operators import TemporalAverage
from visionxl.priors import DiscreteSchedule
from visionxl.priors.attention import FusedAttention

META = torch.device("meta")


@frozen
class Cost:
    """Of one call for one frame.

    Args:
        flop: multiplications and additions.
        activation_bytes: the most that tensors take at once, the result included, the argument
            and the weights not.
    """

    flop: int
    activation_bytes: int


def cost_of(action: Callable[[], object]) -> Cost:
    """The cost of a calculation on meta tensors, as a fused attention would have it."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        action()
    with FusedAttention():
        return Cost(counter.get_total_flops(), peak_bytes_of(action))


@lru_cache(maxsize=8)
def stage_costs(networks: Networks, height: int, width: int) -> dict[str, Cost]:
    """Of one frame, by stage. ``networks`` are on the meta device."""
    full, tiny = networks.full, networks.tiny
    factor, channels = full.codec.factor, full.codec.vae.config.latent_channels
    video = torch.empty(1, 3, height, width, device=META)
    latent = torch.empty(1, channels, height // factor, width // factor, device=META)
    level = full.schedule.level(0.1)
    actions: dict[str, Callable[[], object]] = {
        "denoise": lambda: full.denoise(latent, level),
        "decode": lambda: full.decode(latent),
        "encode": lambda: full.encode(video),
        "tiny decode": lambda: tiny.decode(latent),
        "tiny encode": lambda: tiny.encode(video),
    }
    return {stage: cost_of(action) for stage, action in actions.items()}


class Through:
    """A prior without networks: the video is the latent."""

    schedule = DiscreteSchedule.stable_diffusion()

    def encode(self, video: Video) -> Latent:
        return video

    def decode(self, latent: Latent) -> Video:
        return latent

    def denoise(self, latent: Latent, level: NoiseLevel) -> Denoised:
        return Denoised(latent, latent)


class Unchanged:
    """A consistency that leaves the estimate as it is."""

    def correct(self, estimate: Video, problem: InverseProblem, level: NoiseLevel) -> Correction:
        return Correction(estimate, 0, (), "nothing to do")


def uncorrected(problem: InverseProblem, sampler: Sampler) -> tuple[InverseProblem, Sampler]:
    """The method without any consistency."""
    start = sampler.initializer
    if isinstance(start, CorrectedInversion):
        start = evolve(start, consistency=Unchanged())
    finish = sampler.finish and Unchanged()
    return problem, evolve(sampler, consistency=Unchanged(), initializer=start, finish=finish)


def frames_of(row: str, frames: int) -> dict[str, int]:
    """How many frames go through every stage in a whole run: the row runs, without networks."""
    problem = InverseProblem(TemporalAverage(7), torch.zeros(frames, 1, 1, 1))
    watch = Watch(torch.device("cpu"))
    through = Through()
    ROWS[row](Run(problem, through, through, frames, uncorrected, watch))
    return {stage: told.frames for stage, told in watch.stages.items() if told.frames}


def run_flop(through: dict[str, int], costs: dict[str, Cost]) -> int:
    """Of the networks in a whole run, from the frames that go through every stage. The consistency
    is not counted: where time is measured, it is a stage of its own."""
    return sum(costs[stage].flop * n for stage, n in through.items() if stage in costs)


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def weight_bytes(network: nn.Module) -> int:
    return sum(p.nbytes for p in network.parameters())


def count(
    config: dict[str, Any], dtype: torch.dtype, height: int, width: int, frames: int
) -> dict[str, Any]:
    """Everything that is counted, as JSON has it.

    Args:
        config: of the networks.
        dtype: of the networks.
        height: of the frames, in pixels.
        width: of the frames, in pixels.
        frames: of the video.
    """
    networks = build(config, META, dtype)
    costs, parts = stage_costs(networks, height, width), networks.parts
    named = {stage.replace(" ", "_"): cost for stage, cost in costs.items()}
    through = {row: frames_of(row, frames) for row in ROWS}
    return {
        "height": height,
        "width": width,
        "frames": frames,
        "dtype": str(dtype).removeprefix("torch."),
        **{f"{stage}_flop": cost.flop for stage, cost in named.items()},
        **{f"{stage}_activation_bytes": cost.activation_bytes for stage, cost in named.items()},
        **{f"{row.replace('-', '_')}_flop": run_flop(through[row], costs) for row in ROWS},
        "frames_through": through,
        "parameters": {name: parameters(network) for name, network in parts.items()},
        "weight_bytes": weight_bytes(parts["unet"]) + weight_bytes(parts["autoencoder"]),
        "tiny_weight_bytes": weight_bytes(parts["tiny_autoencoder"]),
    }
