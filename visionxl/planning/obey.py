"""Priors that follow a plan."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from itertools import chain
from typing import Any

import torch
from attrs import evolve, frozen
from torch import Tensor, nn

from visionxl.errors import InputError
from visionxl.planning.plan import MemoryPlan
from visionxl.priors.attention import SlicedAttention
from visionxl.priors.conditioning import Conditioning
from visionxl.priors.network import NetworkPrior
from visionxl.priors.padding import Padded
from visionxl.priors.tiling import StripedAutoencoder, unstriped
from visionxl.protocols import LatentPrior
from visionxl.solvers.frames import Around


def planned(
    prior: LatentPrior, plan: MemoryPlan, device: torch.device | str | None = None
) -> LatentPrior:
    """The prior, with a plan's strips, offloading, dtype and attention.

    ``frames_at_once`` and ``video_device`` are left to the loop::

        on_device = attrs.evolve(problem, measurement=measurement.to(plan.video_device))
        restore(on_device, planned(prior, plan), sampler, generator=generator,
                frames_at_once=plan.frames_at_once)

    It shares the given prior's networks, unless the plan has another ``dtype``, for which they are
    copied. The given prior still gives the same results afterwards unless its networks move:
    ``device`` moves them, and with ``offload`` they wait in host memory.

    Args:
        prior: a :class:`~visionxl.priors.DiffusersPrior`, :class:`~visionxl.priors.FlowPrior`, or
            :class:`~visionxl.priors.Padded`.
            Any other prior accepts only a plan that changes nothing in the networks.
        plan: to follow.
        device: where the networks run; by default where they are.

    Raises:
        InputError: the plan needs something that the prior cannot do.
    """
    if isinstance(prior, Padded):
        return evolve(prior, prior=planned(prior.prior, plan, device))
    asks = plan.vae_tile is not None or plan.offload or plan.dtype is not None
    if not isinstance(prior, NetworkPrior):
        if asks or device is not None:
            raise InputError(
                f"prior {type(prior).__name__} has no networks of diffusers to plan for: give a "
                "DiffusersPrior or FlowPrior, or a plan of frames_at_once alone"
            )
        return attending(prior) if plan.attention == "sliced" else prior
    place = device_of(prior.network)
    if device is not None:  # with its number, as the networks will tell it
        place = torch.empty(0, device=device).device
    network, vae = (_converted(n, plan.dtype) for n in (prior.network, unstriped(prior.codec.vae)))
    codec_vae = vae if plan.vae_tile is None else StripedAutoencoder(vae, plan.vae_tile)
    obeying: Any = prior.with_networks(
        network,
        evolve(prior.codec, vae=codec_vae, frames_at_once=plan.vae_frames),
        conditioning_at(prior.conditional, place, plan.dtype),
        conditioning_at(prior.unconditional, place, plan.dtype),
    )
    if plan.offload:
        obeying = Around(obeying, Turns(Guest.of(network, place), Guest.of(vae, place)))
    elif device is not None:
        arrive(network, place)
        arrive(vae, place)
    return attending(obeying) if plan.attention == "sliced" else obeying


def networks_of(prior: LatentPrior) -> NetworkPrior | None:
    """The part of a prior that has networks of diffusers; None where none has."""
    inner = prior.prior if isinstance(prior, Padded) else prior
    return inner if isinstance(inner, NetworkPrior) else None


def device_of(network: nn.Module) -> torch.device:
    """Where a network's weights are."""
    return next(network.parameters()).device


def dtype_for(network: Any, dtype: torch.dtype | None) -> torch.dtype:
    """A network's dtype under a plan's: SDXL's own autoencoder overflows in float16."""
    own = next(network.parameters()).dtype
    if dtype == torch.float16 and getattr(network.config, "force_upcast", False):
        return torch.float32
    return own if dtype is None else dtype


def _converted(network: Any, dtype: torch.dtype | None) -> Any:
    wanted = dtype_for(network, dtype)
    same = next(network.parameters()).dtype == wanted
    return network if same else nn.Module.to(deepcopy(network), wanted)


def conditioning_at(
    conditioning: Conditioning, place: torch.device | str, dtype: torch.dtype | None
) -> Conditioning:
    """A conditioning on another device, and in another dtype where one is given."""
    arguments, added = (
        {name: tensor.to(place, dtype or tensor.dtype) for name, tensor in tensors.items()}
        for tensors in (conditioning.arguments, conditioning.added)
    )
    return evolve(conditioning, arguments=arguments, added=added)


def arrive(network: nn.Module, place: torch.device) -> None:
    """Move a network's weights to a device, leaving copies elsewhere that other priors may use."""
    for module, name, weight in list(_weights(network)):
        if weight.device != place:
            setattr(module, name, _like(weight, weight.detach().to(place)))


@frozen(eq=False)
class Guest:
    """A network that is on the device while it works, and keeps its weights in host memory.

    Args:
        place: the device.
        weights: module, name and waiting copy of each parameter and buffer.
    """

    place: torch.device
    weights: tuple[tuple[nn.Module, str, Tensor], ...]

    @classmethod
    def of(cls, network: nn.Module, place: torch.device) -> "Guest":
        """The network, moved to host memory."""
        weights = tuple((m, n, _like(w, _waiting(w, place))) for m, n, w in _weights(network))
        guest = cls(place, weights)
        guest.leave()
        return guest

    def come(self) -> None:
        """To the device, if it is not there."""
        for module, name, waiting in self.weights:
            if getattr(module, name).device != self.place:
                there = waiting.detach().to(self.place, non_blocking=True)
                setattr(module, name, _like(waiting, there))

    def leave(self) -> None:
        """Back to host memory, where the weights still are: nothing is copied."""
        for module, name, waiting in self.weights:
            setattr(module, name, waiting)


def _weights(network: nn.Module) -> Iterator[tuple[nn.Module, str, Tensor]]:
    for module in network.modules():
        own = (module.named_parameters(recurse=False), module.named_buffers(recurse=False))
        yield from ((module, name, weight) for name, weight in chain(*own))


def _like(weight: Tensor, values: Tensor) -> Tensor:
    if values is weight or not isinstance(weight, nn.Parameter):
        return values
    return nn.Parameter(values, requires_grad=False)


def _waiting(weight: Tensor, place: torch.device) -> Tensor:
    if place.type != "cuda":
        return weight.to("cpu")
    if weight.is_pinned():
        return weight
    waiting = weight.detach().to("cpu")
    try:
        return waiting.pin_memory()
    except RuntimeError:  # the system allows no more of it
        return waiting


@frozen(eq=False)
class Turns:
    """A denoiser and an autoencoder that take turns on the device."""

    network: Guest
    vae: Guest

    @contextmanager
    def __call__(self, stage: str, frames: int) -> Iterator[None]:
        coming, leaving = self.vae, self.network
        if stage == "denoise":
            coming, leaving = leaving, coming
        leaving.leave()
        coming.come()
        yield


def attending(prior: LatentPrior) -> LatentPrior:
    """The prior with attention that stores the scores of only a few queries at a time."""
    return Around(prior, lambda stage, frames: SlicedAttention())
