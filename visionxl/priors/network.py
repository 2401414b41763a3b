"""What the priors of diffusers' networks have in common, whatever their denoiser predicts."""

from abc import abstractmethod
from typing import Any, ClassVar

import torch
from attrs import evolve

from visionxl.priors.codec import AutoencoderCodec, check_multiple
from visionxl.priors.conditioning import Conditioning, needed
from visionxl.protocols import Denoised, Latent, NoiseLevel, Video


class NetworkPrior:
    """A prior of diffusers' networks: a denoiser and an autoencoder.

    Kinds of it are attrs classes with the fields below, and one for their denoiser.
    """

    __slots__ = ()

    _denoiser: ClassVar[str]  # name of its field
    codec: AutoencoderCodec
    conditional: Conditioning
    unconditional: Conditioning
    guidance: float | None
    schedule: Any  # a NoiseSchedule

    @abstractmethod
    def denoise(self, latent: Latent, level: NoiseLevel) -> Denoised:
        """Clean latents and noise, guided if the prior is."""
        ...

    @property
    def network(self) -> Any:
        """The denoiser."""
        return getattr(self, self._denoiser)

    @property
    @abstractmethod
    def multiple(self) -> int:
        """Height and width in pixels have to be multiples of this."""
        ...

    def with_networks(
        self,
        network: Any,
        codec: AutoencoderCodec,
        conditional: Conditioning,
        unconditional: Conditioning,
    ) -> Any:
        """The same model with these networks instead of its own: moved, compiled, in strips."""
        others = {"codec": codec, "conditional": conditional, "unconditional": unconditional}
        changed: Any = self
        return evolve(changed, **{self._denoiser: network}, **others)

    @property
    def evaluations(self) -> int:
        """How often the denoiser's network runs in one call of ``denoise``."""
        return len(self._needed())

    @property
    def dtypes(self) -> dict[str, torch.dtype]:
        """What the networks compute in, by method."""
        pixels = next(self.codec.vae.parameters()).dtype
        denoising = next(self.network.parameters()).dtype
        return {"encode": pixels, "decode": pixels, "denoise": denoising}

    def encode(self, video: Video) -> Latent:
        check_multiple(video, self.multiple)
        return self.codec.encode(video)

    def decode(self, latent: Latent) -> Video:
        return self.codec.decode(latent)

    def _needed(self) -> tuple[Conditioning, ...]:
        return needed(self.conditional, self.unconditional, self.guidance)
