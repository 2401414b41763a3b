"""Bytes that a prior's networks and the loop take, counted without a device."""

import io
from contextlib import redirect_stderr
from functools import lru_cache
from typing import Any

import torch
from attrs import evolve, frozen
from torch import Generator, Tensor
from torch.nn.functional import avg_pool2d, interpolate

from visionxl.counting import LiveBytes, peak_bytes_of
from visionxl.errors import InputError
from visionxl.operators.tasks import Task
from visionxl.planning.obey import dtype_for, planned
from visionxl.planning.plan import MemoryPlan
from visionxl.priors.attention import FusedAttention
from visionxl.priors.diffusers import Conditioning, DiffusersPrior
from visionxl.priors.padding import Padded
from visionxl.priors.schedule import DiscreteSchedule
from visionxl.protocols import Denoised, Latent, LatentPrior, NoiseLevel, Video
from visionxl.simulation import simulate
from visionxl.sizes import next_multiple
from visionxl.solvers.loop import Sampler, restore

SIDE = 64  # of the small frames that show what the loop holds
MOST_FRAMES = 33  # more hold the same number of videos


@frozen
class Networks:
    """Bytes of the networks' weights, and of what one call of them makes.

    The calls are those of ``frames`` frames at once; their results are counted with them.
    """

    unet: int
    vae: int
    denoise: int
    decode: int
    encode: int
    latent: int
    """Of one frame, between the calls."""


@frozen
class Held:
    """What the loop holds, in videos of float32, without the latents.

    ``consistency`` is the most while the consistency works, the measurement included.
    """

    measurement: float
    consistency: float


def diffusers_prior_of(prior: LatentPrior) -> DiffusersPrior:
    """The networks of a prior. Raises InputError for a prior without any."""
    inner = prior.prior if isinstance(prior, Padded) else prior
    if not isinstance(inner, DiffusersPrior):
        raise InputError(
            f"prior {type(inner).__name__} has no networks of diffusers, whose memory could be "
            "counted: give a DiffusersPrior, or choose frames_at_once yourself"
        )
    return inner


def weight_bytes(network: Any, dtype: torch.dtype | None = None) -> int:
    """Bytes of a network's parameters and buffers, in another dtype where one is given."""
    size = dtype_for(network, dtype).itemsize
    tensors = (*network.parameters(), *network.buffers())
    return sum(t.numel() * (size if t.is_floating_point() else t.itemsize) for t in tensors)


def on_meta(prior: DiffusersPrior, dtype: torch.dtype | None = None) -> DiffusersPrior:
    """The prior's structure without its values: networks and conditionings on the meta device.

    It is asked once where the prior is asked twice (guidance): :func:`count_networks` knows.
    """
    unet, vae = (_hollow(n, dtype_for(n, dtype)) for n in (prior.unet, prior.codec.vae))
    conditional = prior.conditional
    told = Conditioning(
        {k: v.to("meta", dtype) for k, v in conditional.arguments.items()},
        {k: v.to("meta", dtype) for k, v in conditional.added.items()},
        conditional.with_size,
    )
    codec = evolve(prior.codec, vae=vae)
    return evolve(prior, unet=unet, codec=codec, conditional=told, guidance=None)


def _hollow(network: Any, dtype: torch.dtype) -> Any:
    # diffusers tells a warning of ``to`` that says nothing here.
    with torch.device("meta"), redirect_stderr(io.StringIO()):
        made = type(network).from_config(network.config)
        return made.to(dtype, memory_format=torch.channels_last).eval().requires_grad_(False)


def count_networks(prior: LatentPrior, plan: MemoryPlan, height: int, width: int) -> Networks:
    """What the networks take under a plan, for frames of a size in pixels.

    Their real structure runs on PyTorch's meta device, with one and with two frames; what more
    frames take is in proportion. Kernels' own workspaces are not seen.
    """
    inner = diffusers_prior_of(prior)
    height, width = (next_multiple(size, inner.multiple) for size in (height, width))
    meta = on_meta(inner, plan.dtype)
    calls = planned(meta, MemoryPlan(vae_tile=plan.vae_tile, attention=plan.attention))
    level = inner.schedule.level(0.1)

    def count(frames: int) -> tuple[int, int, int, int]:
        video = torch.empty(frames, 3, height, width, device="meta")
        rows, columns = height // inner.codec.factor, width // inner.codec.factor
        channels = inner.codec.vae.config.latent_channels
        latent = torch.empty(frames, channels, rows, columns, device="meta")
        return (
            _call(plan, lambda: calls.denoise(latent, level))
            + (inner.evaluations - 1) * latent.nbytes,
            _call(plan, lambda: calls.decode(latent)),
            _call(plan, lambda: calls.encode(video)),
            latent.nbytes,
        )

    one, two = count(1), count(2)
    more = plan.frames_at_once - 1
    denoise, decode, encode = (a + more * (b - a) for a, b in zip(one[:3], two[:3], strict=True))
    weights = (weight_bytes(n, plan.dtype) for n in (inner.unet, inner.codec.vae))
    return Networks(*weights, denoise, decode, encode, one[3])


def _call(plan: MemoryPlan, action: Any) -> int:
    if plan.attention == "fused":
        with FusedAttention():
            return peak_bytes_of(action, "meta")
    return peak_bytes_of(action, "meta")


class _Pooled:
    """A prior of next to no memory."""

    schedule = DiscreteSchedule.stable_diffusion()

    def encode(self, video: Video) -> Latent:
        return avg_pool2d(video, SIDE // 2)

    def decode(self, latent: Latent) -> Video:
        return interpolate(latent, scale_factor=SIDE // 2)

    def denoise(self, latent: Latent, level: NoiseLevel) -> Denoised:
        return Denoised(latent, latent)


@lru_cache(maxsize=32)
def count_held(sampler: Sampler, task: Task, frames: int) -> Held:
    """What the loop holds of videos: two steps of the method itself on small frames, counted."""
    frames = min(frames, MOST_FRAMES)
    generator = Generator().manual_seed(0)
    video: Tensor = torch.rand(frames, 3, SIDE, SIDE, generator=generator) * 2 - 1
    problem = simulate(video, task(frames, SIDE, SIDE, generator), 0.01, generator=generator)
    shortened = evolve(sampler, times=sampler.times[:2])
    with torch.no_grad(), LiveBytes() as live:
        restore(problem, _Pooled(), shortened, generator=generator)
    measurement = problem.measurement.nbytes / video.nbytes
    return Held(measurement, live.peak / video.nbytes + measurement)
