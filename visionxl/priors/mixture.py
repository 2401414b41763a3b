"""A prior with several modes that is known exactly: a mixture of Gaussians, no autoencoder."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from attrs import field, frozen
from torch import Generator, Tensor

from visionxl.errors import InputError
from visionxl.priors.schedule import DiscreteSchedule
from visionxl.protocols import Denoised, Latent, NoiseLevel, NoiseSchedule, Video
from visionxl.validators import above_zero


def _means(_: Any, __: Any, value: Tensor) -> None:
    if value.ndim != 3 or len(value) < 1:
        raise InputError(
            f"means of shape {tuple(value.shape)}: expected pictures (modes, height, width)"
        )


def _weights(prior: "MixturePrior", __: Any, value: Any) -> None:
    if value is None:
        return
    if len(value) != len(prior.means) or min(value) < 0 or not 0 < sum(value) < math.inf:
        raise InputError(
            f"weights {value} of {len(prior.means)} modes: expected a number from 0 for each, one "
            "of them above 0"
        )


@frozen(eq=False)
class MixturePrior:
    """Each channel of each frame is one of several pictures plus white noise; latents are pixels.

    ``p(x) = sum_k w_k N(x; mean_k, std^2)``. The denoiser is exact: the responsibility of each
    mode for ``z``, times its own posterior mean. A linear measurement has a mixture of Gaussians as
    its posterior, so it shows whether a method finds all modes of a posterior or one.

    Args:
        means: (modes, height, width).
        std: of every pixel around the mean of its mode.
        weights: of the modes, by default all alike; they are scaled to sum to 1.
        schedule: default, that of Stable Diffusion.
    """

    means: Tensor = field(validator=_means)
    std: float = field(default=0.1, validator=above_zero)
    weights: Sequence[float] | None = field(default=None, validator=_weights)
    schedule: NoiseSchedule = field(factory=DiscreteSchedule.stable_diffusion)

    def log_weights(self) -> Tensor:
        """Log-weights of the modes, float64."""
        weights = torch.ones(len(self.means)) if self.weights is None else self.weights
        return torch.as_tensor(weights, dtype=torch.float64).log().log_softmax(0)

    def sample(self, frames: int, channels: int, generator: Generator) -> Video:
        """Frames drawn from the prior, float64."""
        chosen = torch.multinomial(
            self.log_weights().exp(), frames * channels, replacement=True, generator=generator
        )
        means = self.means.double()[chosen].view(frames, channels, *self.means.shape[1:])
        white = torch.randn(
            means.shape, generator=generator, dtype=torch.float64, device=generator.device
        )
        return means + self.std * white

    def encode(self, video: Video) -> Latent:
        return video

    def decode(self, latent: Latent) -> Video:
        return latent

    def denoise(self, latent: Latent, level: NoiseLevel) -> Denoised:
        if latent.shape[-2:] != self.means.shape[1:]:
            raise InputError(
                f"latent of {tuple(latent.shape[-2:])}: this prior knows frames of "
                f"{tuple(self.means.shape[1:])}; make one for that size"
            )
        means = self.means.to(latent)
        variance = (level.signal * self.std) ** 2 + level.noise**2
        apart = latent.unsqueeze(2) - level.signal * means  # (frames, channels, modes, ...)
        likelihood = -apart.square().sum((-1, -2)) / (2 * variance)
        share = (likelihood + self.log_weights().to(latent)).softmax(2)[..., None, None]
        clean = (share * (means + level.signal * self.std**2 / variance * apart)).sum(2)
        return Denoised(clean, (latent - level.signal * clean) / level.noise)
