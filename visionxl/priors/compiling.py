"""Networks compiled by torch.compile, and the warm-up that it takes."""

import copy
import time
from collections.abc import Sequence
from typing import Any

import torch
from attrs import evolve

from visionxl.priors.flow import NetworkPrior
from visionxl.protocols import LatentPrior


def compiled(prior: NetworkPrior, backend: str = "inductor") -> NetworkPrior:
    """The same prior with its denoiser, encoder and decoder compiled; results agree to rounding.

    The first call with every size and number of frames compiles, which takes from seconds to
    minutes: see :func:`warm_up`. The weights are shared with ``prior``, which stays as it is.

    Args:
        prior: to compile.
        backend: of ``torch.compile``.
    """
    vae = copy.copy(prior.codec.vae)
    vae._modules = dict(vae._modules)  # its own list of parts, or the prior's would change
    for name in ("encoder", "decoder"):
        setattr(vae, name, torch.compile(getattr(vae, name), backend=backend))
    network: Any = torch.compile(prior.network, backend=backend)
    codec = evolve(prior.codec, vae=vae)
    return prior.with_networks(network, codec, prior.conditional, prior.unconditional)


def warm_up(
    prior: LatentPrior,
    times: Sequence[float],
    frames: int,
    height: int,
    width: int,
    device: torch.device,
) -> float:
    """Encode, denoise and decode a gray video once; the seconds that it took.

    The compiler takes the first time for a constant and learns at the second that it is not, so
    two are denoised.

    Args:
        prior: to warm up.
        times: of the run, in (0, 1].
        frames: in one call, as the run will have them.
        height: in pixels.
        width: in pixels.
        device: of the run's videos.
    """
    began = time.perf_counter()
    latent = prior.encode(torch.zeros(frames, 3, height, width, device=device))
    for moment in times[:2]:
        latent = prior.denoise(latent, prior.schedule.level(moment)).clean
    prior.decode(latent)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began
