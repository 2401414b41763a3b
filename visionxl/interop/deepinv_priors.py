"""Denoisers of deepinv as priors and priors as denoisers: for visionxl.interop.deepinv."""

# pyright: reportMissingImports=false

import math
from typing import Any

import torch
from attrs import frozen
from deepinv.models import Denoiser
from torch import Tensor

from visionxl.errors import InputError
from visionxl.priors import DiscreteSchedule
from visionxl.protocols import Denoised, Latent, LatentPrior, NoiseLevel, NoiseSchedule, Video


@frozen(eq=False)
class DenoiserPrior:
    """A denoiser of deepinv with a schedule; the latents are the pixels."""

    denoiser: Any
    schedule: NoiseSchedule

    def encode(self, video: Video) -> Latent:
        return video

    def decode(self, latent: Latent) -> Video:
        return latent

    def denoise(self, latent: Latent, level: NoiseLevel) -> Denoised:
        unit = (latent / level.signal + 1) / 2
        like = next(self._parameters(), latent)
        denoised = self.denoiser(unit.to(like), level.noise / (2 * level.signal))
        clean = 2 * denoised.to(latent) - 1
        return Denoised(clean, (latent - level.signal * clean) / level.noise)

    def _parameters(self) -> Any:
        module = isinstance(self.denoiser, torch.nn.Module)
        return self.denoiser.parameters() if module else iter(())


class PriorDenoiser(Denoiser):
    """A prior that deepinv calls as a denoiser."""

    def __init__(self, prior: LatentPrior) -> None:
        super().__init__()
        self.prior = prior

    def forward(self, x: Tensor, sigma: float | Tensor, **keywords: Any) -> Tensor:
        # The keywords belong to deepinv's signature; a prior has no use for them.
        if x.ndim not in (4, 5):
            raise InputError(
                f"x of {tuple(x.shape)}: expected (batch, channels, height, width), or "
                "(batch, channels, frames, height, width)"
            )
        deviations = self._handle_sigma(sigma, batch_size=len(x), dtype=torch.float64)
        elements = zip(x, deviations.tolist(), strict=True)
        return torch.stack([self._denoise(element, std) for element, std in elements])

    def _denoise(self, element: Tensor, sigma: float) -> Tensor:
        """(channels, height, width) or (channels, frames, height, width)."""
        if sigma == 0:
            return element
        video = element.transpose(0, 1) if element.ndim == 4 else element[None]
        level = level_of(self.prior.schedule, 2 * sigma)
        latent = level.signal * self.prior.encode(2 * video - 1)
        answer = (self.prior.decode(self.prior.denoise(latent, level).clean) + 1) / 2
        return answer.transpose(0, 1) if element.ndim == 4 else answer[0]


def level_of(schedule: NoiseSchedule, ratio: float) -> NoiseLevel:
    """The level where ``noise / signal == ratio``, at the nearest time that the schedule has."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        level = schedule.level(middle)
        low, high = (middle, high) if level.noise < ratio * level.signal else (low, middle)
    nearest = min(
        (schedule.level(time) for time in (low, high)),
        key=lambda level: abs(level.noise - ratio * level.signal),
    )
    signal = math.hypot(nearest.signal, nearest.noise) / math.hypot(1, ratio)
    return NoiseLevel(nearest.time, signal, ratio * signal)


def prior_from_deepinv(denoiser: Any, schedule: NoiseSchedule | None = None) -> LatentPrior:
    """A denoiser of deepinv as a prior on pixels: the latents are the video itself.

    ``z = signal x + noise eps`` is ``u + sigma eps`` in deepinv's range with
    ``u + sigma eps = (z / signal + 1) / 2`` and ``sigma = noise / (2 signal)``. The prior is only
    as good as the denoiser at that sigma: choose times where it was trained.

    Args:
        denoiser: ``denoiser(x, sigma)``, a ``deepinv.models.Denoiser`` or any such callable of
            (batch, channels, height, width). A module is set to evaluation, without gradients
            of its parameters.
        schedule: default, that of Stable Diffusion.

    Returns:
        The prior; for a denoiser of :func:`prior_to_deepinv`, without a schedule, the original one.
    """
    if isinstance(denoiser, PriorDenoiser) and schedule is None:
        return denoiser.prior
    if not callable(denoiser) or isinstance(denoiser, type):
        raise InputError(f"denoiser {denoiser!r} is no function: give denoiser(x, sigma)")
    if isinstance(denoiser, torch.nn.Module):
        denoiser.eval().requires_grad_(False)
    return DenoiserPrior(denoiser, schedule or DiscreteSchedule.stable_diffusion())


def prior_to_deepinv(prior: LatentPrior) -> Denoiser:
    """A prior as a ``deepinv.models.Denoiser``; ``deepinv.optim.PnP`` or ``RED`` of it is a prior.

    Called with pictures (batch, channels, height, width) or videos (batch, channels, frames,
    height, width) in [0, 1] and sigma, one number or one for every element of the batch. It is
    ``(decode(E[z_0 | z_t]) + 1) / 2`` with ``z_t = signal encode(2 u - 1)`` at the time where
    ``noise / signal = 2 sigma``, or the nearest of a discrete schedule. This is the posterior
    mean for a prior on pixels; an autoencoder does not keep white noise white, so with one it is
    an approximation. For a prior of :func:`prior_from_deepinv` the original denoiser is returned.
    """
    if not isinstance(prior, LatentPrior):
        raise InputError(f"prior {prior!r} is none: give a value, such as PocketPrior.load()")
    if isinstance(prior, DenoiserPrior) and isinstance(prior.denoiser, Denoiser):
        return prior.denoiser
    return PriorDenoiser(prior)
