"""A prior that is known exactly: stationary Gaussian images, without an autoencoder."""

from typing import Any

import torch
from attrs import field, frozen
from torch import Generator, Tensor

from visionxl.errors import InputError
from visionxl.priors.schedule import DiscreteSchedule
from visionxl.protocols import Denoised, Latent, NoiseLevel, NoiseSchedule, Video
from visionxl.validators import finite, of_kind


def _spectrum(_: Any, __: Any, value: Any) -> None:
    if not isinstance(value, Tensor):
        raise InputError(f"spectrum {value!r} is no tensor: give one of shape (height, width)")
    if value.ndim != 2 or not bool((value > 0).all()):
        raise InputError(
            f"spectrum of shape {tuple(value.shape)}: expected positive variances (height, width)"
        )
    mirrored = value.flip(0, 1).roll((1, 1), (0, 1))
    if not torch.allclose(value, mirrored):
        raise InputError("spectrum is not that of real images: it has to be the same at f and -f")


@frozen(eq=False)
class GaussianPrior:
    """Frames ``x ~ N(mean, C)``, ``C`` diagonal in Fourier space; latents are the pixels.

    Every frame and channel is independent. The denoiser is exact,
    ``E[x | z] = mean + C signal (signal^2 C + noise^2)^-1 (z - signal mean)``, so the posterior
    of a linear measurement is known, and a method can be compared with it in seconds.

    Args:
        spectrum: (height, width) variance of every coefficient of the orthonormal
            two-dimensional Fourier transform. A constant c^2 is white noise of variance c^2.
        mean: of every pixel.
        schedule: default, that of Stable Diffusion.
    """

    spectrum: Tensor = field(validator=_spectrum, repr=lambda s: f"<{s.shape[0]}x{s.shape[1]}>")
    mean: float = field(default=0.0, validator=finite)
    schedule: NoiseSchedule = field(
        factory=DiscreteSchedule.stable_diffusion, validator=of_kind(NoiseSchedule)
    )

    @classmethod
    def natural(
        cls, height: int, width: int, std: float = 0.5, exponent: float = 2.0
    ) -> "GaussianPrior":
        """The power law of natural images, ``1 / f^exponent``, with pixels of deviation ``std``."""
        rows = torch.fft.fftfreq(height, dtype=torch.float64)[:, None]
        columns = torch.fft.fftfreq(width, dtype=torch.float64)
        lowest = 1 / max(height, width)
        power = (rows**2 + columns**2 + lowest**2) ** (-exponent / 2)
        return cls(power / power.mean() * std**2)

    def covariance(self, video: Video) -> Video:
        """``C x``."""
        return self._filter(video, self.spectrum.to(video))

    def sample(self, frames: int, channels: int, generator: Generator) -> Video:
        """Frames drawn from the prior, float64."""
        shape = (frames, channels, *self.spectrum.shape)
        white = torch.randn(
            shape, generator=generator, dtype=torch.float64, device=generator.device
        )
        return self.mean + self._filter(white, self.spectrum.double().sqrt())

    def encode(self, video: Video) -> Latent:
        return video

    def decode(self, latent: Latent) -> Video:
        return latent

    def denoise(self, latent: Latent, level: NoiseLevel) -> Denoised:
        if latent.shape[-2:] != self.spectrum.shape:
            raise InputError(
                f"latent of {tuple(latent.shape[-2:])}: this prior knows frames of "
                f"{tuple(self.spectrum.shape)}; make one for that size"
            )
        spectrum = self.spectrum.to(latent)
        gain = level.signal * spectrum / (level.signal**2 * spectrum + level.noise**2)
        clean = self.mean + self._filter(latent - level.signal * self.mean, gain)
        return Denoised(clean, (latent - level.signal * clean) / level.noise)

    @staticmethod
    def _filter(video: Tensor, gain: Tensor) -> Tensor:
        return torch.fft.ifft2(torch.fft.fft2(video) * gain).real
