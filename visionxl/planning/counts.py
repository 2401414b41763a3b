"""Bytes that a prior's networks and the loop take, counted without a device."""

import warnings
from functools import lru_cache
from inspect import signature
from typing import Any

import torch
from attrs import evolve, fields_dict, frozen, has
from torch import Generator, Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from visionxl.errors import InputError
from visionxl.memory import LiveBytes, peak_bytes_of
from visionxl.operators.factors import factors_of
from visionxl.operators.filtering import matrix_on
from visionxl.operators.tasks import Task
from visionxl.planning.obey import conditioning_at, dtype_for, networks_of
from visionxl.planning.plan import MemoryPlan
from visionxl.priors.attention import FusedAttention, SlicedAttention
from visionxl.priors.network import NetworkPrior
from visionxl.priors.padding import Padded
from visionxl.priors.schedule import DiscreteSchedule
from visionxl.priors.tiling import StripedAutoencoder, unstriped
from visionxl.protocols import Denoised, Latent, LatentPrior, NoiseLevel, Video
from visionxl.simulation import simulate
from visionxl.sizes import next_multiple
from visionxl.solvers.decomposition import decompose, svd_of
from visionxl.solvers.hosting import frames_together, in_windows, keeps_modes
from visionxl.solvers.loop import Sampler, restore
from visionxl.solvers.motion import PAYS
from visionxl.solvers.space_time import SpaceTimeTV

SIDE = 64  # of the small frames on which the loop's memory is counted
MOST_FRAMES = 33  # with more frames the number of videos held is the same
FEW_FRAMES = 5  # for operators without factors, which are slow: hardly more videos are held


@frozen
class Networks:
    """What the networks of a prior take, for frames of one size.

    Args:
        unet: bytes of its weights.
        vae: bytes of its weights.
        latent: bytes of one frame's latent, between the calls.
        denoise: peak bytes that a call allocates per frame, including its result.
        decode: likewise.
        encode: likewise.
        padding: bytes of one frame, if the prior pads it; else 0.
    """

    unet: int
    vae: int
    latent: int
    denoise: int
    decode: int
    encode: int
    padding: int


@frozen
class Held:
    """The memory of the loop, in float32 videos, without the latents.

    Args:
        measurement: its size.
        consistency: the peak while the consistency runs, including the measurement.
        together: if videos are in host memory, the frames on the device at once.
        modes: whether one channel's coefficients of the SVD are on the device, too.
        windows: whether it works in windows, which a plan's ``core`` makes larger.
        prepared: whether the motion is sorted, on a CPU, for a faster adjoint.
        kept: what persists across steps, the operator's matrices and decompositions, in frames.
    """

    measurement: float
    consistency: float
    together: int
    modes: bool
    windows: bool
    prepared: bool
    kept: float


def required_networks(prior: LatentPrior) -> NetworkPrior:
    """The networks of a prior. Raises InputError for a prior without any."""
    networks = networks_of(prior)
    if networks is None:
        raise InputError(
            f"prior {type(prior).__name__} has no networks of diffusers, whose memory could be "
            "counted: give a DiffusersPrior or FlowPrior, or choose frames_at_once yourself"
        )
    return networks


def weight_bytes(network: Any, dtype: torch.dtype | None = None) -> int:
    """Bytes of a network's parameters and buffers, in another dtype where one is given."""
    size = dtype_for(network, dtype).itemsize
    tensors = (*network.parameters(), *network.buffers())
    return sum(t.numel() * (size if t.is_floating_point() else t.itemsize) for t in tensors)


def on_meta(prior: NetworkPrior, dtype: torch.dtype | None = None) -> NetworkPrior:
    """The prior's structure without its weights: networks and conditioning on the meta device.

    It has no guidance, because conditionings cannot be compared there.
    """
    network, vae = (
        _hollow(n, dtype_for(n, dtype)) for n in (prior.network, unstriped(prior.codec.vae))
    )
    text = conditioning_at(prior.conditional, "meta", dtype)
    hollow = prior.with_networks(network, evolve(prior.codec, vae=vae), text, text)
    return evolve(hollow, guidance=None)


def _hollow(network: Any, dtype: torch.dtype) -> nn.Module:
    network = getattr(network, "_orig_mod", network)  # compiled as a whole
    named = signature(type(network)).parameters
    with torch.device("meta"):
        structure = type(network)(**{k: v for k, v in network.config.items() if k in named})
    made: Any = nn.Module.to(structure, dtype)  # diffusers' own says a line that is of no use here
    return made.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def count_networks(
    prior: LatentPrior, plan: MemoryPlan, height: int, width: int, host: torch.device | str = "cpu"
) -> Networks:
    """The networks' memory with a plan's dtype, strips and attention.

    Their real structure runs on PyTorch's meta device with one frame; more frames take memory in
    proportion. The kernels' own workspaces are not counted.

    Args:
        prior: with networks of diffusers.
        plan: its other choices do not matter here.
        height: of the frames, in pixels.
        width: of the frames, in pixels.
        host: where strips wait: on ``meta`` they are counted too.
    """
    inner = required_networks(prior)
    multiple = prior.multiple if isinstance(prior, Padded) else inner.multiple
    height, width = (next_multiple(size, multiple) for size in (height, width))
    calls = on_meta(inner, plan.dtype)
    if plan.vae_tile is not None:
        vae = StripedAutoencoder(calls.codec.vae, plan.vae_tile, torch.device(host))
        calls = evolve(calls, codec=evolve(calls.codec, vae=vae))
    level = inner.schedule.level(0.1)

    video = torch.empty(1, inner.codec.channels, height, width, device="meta")
    channels = inner.codec.vae.config.latent_channels
    size = (height // inner.codec.factor, width // inner.codec.factor)
    latent = torch.empty(1, channels, *size, device="meta")
    with FusedAttention() if plan.attention == "fused" else SlicedAttention():
        denoise = peak_bytes_of(lambda: calls.denoise(latent, level), "meta")
        decode = peak_bytes_of(lambda: calls.decode(latent), "meta")
        encode = peak_bytes_of(lambda: calls.encode(video), "meta")
    denoise += (inner.evaluations - 1) * latent.nbytes
    unet, vae = (weight_bytes(n, plan.dtype) for n in (inner.network, unstriped(inner.codec.vae)))
    padding = video.nbytes if isinstance(prior, Padded) else 0
    return Networks(unet, vae, latent.nbytes, denoise, decode, encode, padding)


class _Pooled:
    """A prior of next to no memory."""

    schedule = DiscreteSchedule.stable_diffusion()

    def encode(self, video: Video) -> Latent:
        return avg_pool2d(video, SIDE // 2)

    def decode(self, latent: Latent) -> Video:
        return interpolate(latent, scale_factor=SIDE // 2)

    def denoise(self, latent: Latent, level: NoiseLevel) -> Denoised:
        return Denoised(latent, latent)


def _brief(part: Any) -> Any:
    """The same value with at most two iterations, turns or rounds, also in its parts: more take no
    more memory, except for the motion that is prepared for many (:class:`Held`)."""
    if not has(type(part)):
        return part
    changes: dict[str, Any] = {}
    for name in fields_dict(type(part)):
        value = getattr(part, name)
        if name in ("iterations", "filling", "turns", "rounds") and isinstance(value, int):
            changes[name] = min(2, value)
        elif name in ("consistency", "finish"):
            changes[name] = _brief(value)
    return evolve(part, **changes)


def _prepares(part: Any) -> bool:
    """Whether a consistency, or one inside it, prepares the motion (:class:`Motion`)."""
    if isinstance(part, SpaceTimeTV):
        return part.motion and part.iterations >= PAYS
    return _prepares(part.consistency) if hasattr(part, "consistency") else False


def count_held(sampler: Sampler, task: Task, frames: int) -> Held:
    """The loop's memory for videos, counted over two steps of the method itself on small frames."""
    frames = min(frames, MOST_FRAMES if _has_factors(task) else FEW_FRAMES)
    try:
        hash(sampler)
    except TypeError:  # a part of one's own without a hash: count it anew
        return _count_held.__wrapped__(sampler, task, frames)
    return _count_held(sampler, task, frames)


def _has_factors(task: Task) -> bool:
    """Whether a task is solved without iterations, and so counted quickly."""
    operator = task(FEW_FRAMES, SIDE, SIDE, Generator().manual_seed(0))
    return factors_of(operator, (FEW_FRAMES, 3, SIDE, SIDE)) is not None


@lru_cache(maxsize=32)
def _count_held(sampler: Sampler, task: Task, frames: int) -> Held:
    generator = Generator().manual_seed(0)
    video: Tensor = (
        torch.rand(frames, 3, SIDE, SIDE, generator=generator, device=generator.device) * 2 - 1
    )
    problem = simulate(video, task(frames, SIDE, SIDE, generator), 0.01, generator=generator)
    shortened = evolve(_brief(sampler), times=sampler.times[:2])
    shortened = evolve(shortened, initializer=_brief(sampler.initializer))
    for kept in (decompose, svd_of, matrix_on):  # from before, it would not be counted
        kept.cache_clear()
    with torch.no_grad(), warnings.catch_warnings(), LiveBytes() as live:
        warnings.simplefilter("ignore")  # of a result that nobody sees
        restore(problem, _Pooled(), shortened, generator=generator)
    measurement = problem.measurement.nbytes / video.nbytes
    together = frames_together(sampler, problem.operator)
    held = live.peak / video.nbytes + measurement
    parts = (sampler.initializer, sampler.consistency, sampler.finish)
    prepared = any(_prepares(part) for part in parts)
    modes, windows = keeps_modes(sampler), in_windows(sampler)
    kept = live.now / video[0].nbytes
    return Held(measurement, held, together, modes, windows, prepared, kept)
