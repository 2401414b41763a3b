"""Networks compiled by torch.compile, and the warm-up that it takes."""

import copy
import time
from typing import Any

import torch
from attrs import evolve

from visionxl.priors.codec import AutoencoderCodec
from visionxl.priors.network import NetworkPrior
from visionxl.priors.tiling import unstriped
from visionxl.protocols import LatentPrior

TIME = 0.2  # of the denoiser's first call: what it computes with is the same at every time


def compiled(prior: NetworkPrior, backend: str = "inductor") -> NetworkPrior:
    """The same prior with its denoiser, encoder and decoder compiled; results agree to rounding.

    If diffusers lists the repeated blocks of a denoiser, as for SDXL, only those are compiled, once
    per kind: this takes seconds, and the whole network minutes. Others are compiled whole. Every
    size and number of frames is compiled at its first call: see :func:`warm_up`. The weights are
    shared with ``prior``, which is not changed.

    Args:
        prior: to compile.
        backend: of ``torch.compile``.
    """
    network, codec = _compiled(prior.network, backend), compiled_codec(prior.codec, backend)
    return prior.with_networks(network, codec, prior.conditional, prior.unconditional)


def compiled_codec(codec: AutoencoderCodec, backend: str = "inductor") -> AutoencoderCodec:
    """The same autoencoder, encoder and decoder compiled; a striped one then uses whole frames."""
    vae = copy.copy(unstriped(codec.vae))
    vae._modules = dict(vae._modules)  # its own list of parts, or the given one's would change
    for name in ("encoder", "decoder"):
        setattr(vae, name, torch.compile(getattr(vae, name), backend=backend))
    return evolve(codec, vae=vae)


def _compiled(network: Any, backend: str) -> Any:
    """A network whose repeated blocks are compiled, or all of it where diffusers names none."""
    names = getattr(network, "_repeated_blocks", None)
    if not names:
        return torch.compile(network, backend=backend)
    weights = (*network.parameters(), *network.buffers())
    own = copy.deepcopy(network, {id(weight): weight for weight in weights})
    for module in list(own.modules()):
        for name, child in module.named_children():
            if type(child).__name__ in names:
                setattr(module, name, torch.compile(child, backend=backend))
    return own


@torch.no_grad()  # as runs are: what is compiled with gradients is not used without
def warm_up(
    prior: LatentPrior,
    frames: int,
    height: int,
    width: int,
    device: torch.device,
    channels: int = 3,
) -> float:
    """Encode, denoise and decode a gray video once; the seconds that it took.

    Args:
        prior: to warm up.
        frames: in one call, as the run will have them.
        height: in pixels.
        width: in pixels.
        device: of the run's videos.
        channels: of them.
    """
    began = time.perf_counter()
    latent = prior.encode(torch.zeros(frames, channels, height, width, device=device))
    prior.decode(prior.denoise(latent, prior.schedule.level(TIME)).clean)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began
