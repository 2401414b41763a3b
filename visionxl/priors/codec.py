"""An image autoencoder of diffusers, from and to pixels."""

import math
from collections.abc import Callable
from typing import Any

import torch
from attrs import field, frozen
from attrs.validators import optional
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from visionxl.errors import InputError
from visionxl.protocols import Latent, Video
from visionxl.transfer import Downloads, moved, room, sent
from visionxl.validators import from_one


def check_multiple(video: Video, multiple: int) -> None:
    """Raise InputError, with the way out, for a size that is not a multiple of ``multiple``."""
    height, width = video.shape[-2:]
    for name, size in (("height", height), ("width", width)):
        if size % multiple:
            raise InputError(
                f"{name} {size} is not a multiple of {multiple}, which the networks need: wrap "
                f"the prior in Padded(prior, height={height}, width={width}, multiple={multiple})"
            )


@frozen(eq=False)
class AutoencoderCodec:
    """``AutoencoderKL`` or ``AutoencoderTiny``: pixels to scaled latents and back, not sampled.

    An autoencoder with ``3 p^2`` input channels is fed ``p x p`` pixel-unshuffled frames; one with
    a single channel, gray frames.

    Args:
        vae: the network, in evaluation mode.
        frames_at_once: in one call of the network; None for all that are given.
    """

    vae: Any = field(repr=lambda network: f"<{type(network).__name__}>")
    frames_at_once: int | None = field(default=None, validator=optional(from_one))

    @property
    def patch(self) -> int:
        """Side of the square of pixels that the network sees at one position."""
        return max(1, math.isqrt(self.vae.config.in_channels // 3))

    @property
    def channels(self) -> int:
        """Channels of the frames: 3, or 1 if they are gray."""
        return self.vae.config.in_channels // self.patch**2

    @property
    def factor(self) -> int:
        """Pixels per latent, along height and width."""
        return self.patch * 2 ** (len(self.vae.config.block_out_channels) - 1)

    def encode(self, video: Video) -> Latent:
        """The mode of the encoder's posterior, shifted and scaled to about unit variance."""
        if video.shape[1] != self.channels:
            raise InputError(
                f"video has {video.shape[1]} channels, and the autoencoder takes {self.channels}: "
                "make the operator's videos have as many; for gray ones, Grayscale(weights=...) "
                "before it (docs/own-operator)"
            )
        check_multiple(video, self.factor)
        return self._in_parts(self._encode, video)

    def decode(self, latent: Latent) -> Video:
        return self._in_parts(self._decode, latent)

    def _in_parts(self, action: Callable[[Tensor], Tensor], frames: Tensor) -> Tensor:
        """``action`` of some frames at a time, where the frames are."""
        size = self.frames_at_once or len(frames)
        if size >= len(frames):
            return moved(action(frames), frames)
        result = None
        with Downloads() as copies:
            for first in range(0, len(frames), size):
                part = action(frames[first : first + size]).to(frames.dtype)
                if result is None:
                    result = room(frames, len(frames), *part.shape[1:])
                copies.add(result[first : first + size], part)
        assert result is not None  # there is at least one frame
        return result

    def _encode(self, video: Video) -> Latent:
        pixels = pixel_unshuffle(video, self.patch) if self.patch > 1 else video
        encoded = self.vae.encode(self._to_network(pixels))
        latent = encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latents
        shift, scale = self._shift_and_scale(latent)
        return (latent - shift) * scale

    def _decode(self, latent: Latent) -> Video:
        network = self._to_network(latent)
        shift, scale = self._shift_and_scale(network)
        decoded = self.vae.decode(network / scale + shift).sample
        return pixel_shuffle(decoded, self.patch) if self.patch > 1 else decoded

    def _to_network(self, tensor: Tensor) -> Tensor:
        like = next(self.vae.parameters())
        # Converted there: of two dtypes a copy goes by way of memory that is not pinned.
        return sent(tensor, like.device).to(like.dtype, memory_format=torch.channels_last)

    def _shift_and_scale(self, like: Tensor) -> tuple[Tensor | float, Tensor | float]:
        config = self.vae.config
        mean, std = getattr(config, "latents_mean", None), getattr(config, "latents_std", None)
        if mean is not None and std is not None:  # per channel, as the Playground model has them
            mean, std = (like.new_tensor(v).view(1, -1, 1, 1) for v in (mean, std))
            return mean, config.scaling_factor / std
        return getattr(config, "shift_factor", None) or 0.0, config.scaling_factor
