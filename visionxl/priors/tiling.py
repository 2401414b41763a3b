"""Autoencoders a strip of rows at a time: less memory, the same result.

Two things would make seams between parts of a frame. A convolution sees zeros beyond the part's
border, where the frame goes on: strips overlap by what the layers reach, and the rest is cut off.
And a group norm divides by the mean and variance of all it sees, which differ from part to part:
``AutoencoderKL`` therefore goes through its layers one by one, each in strips, and every norm
takes the mean and variance of whole frames. Nothing is blended, and no seam can be seen, for the
result is that of whole frames, to rounding. Between layers, whole frames wait in host memory.
"""

import math
from collections.abc import Callable, Iterator
from itertools import chain
from types import SimpleNamespace
from typing import Any

import torch
from attrs import field, frozen
from torch import Tensor, nn

from visionxl.errors import InputError
from visionxl.transfer import room
from visionxl.validators import from_one


@frozen(eq=False)
class StripedAutoencoder:
    """An autoencoder of diffusers that works on strips of whole rows, with the same results.

    It replaces the network in an :class:`~visionxl.priors.AutoencoderCodec`.

    Args:
        vae: ``AutoencoderKL`` or ``AutoencoderTiny``, in evaluation mode.
        rows: of a strip, at every layer; for ``AutoencoderTiny`` of its output or input, whichever
            is larger, and without the overlap.
        host: where whole frames wait between layers.

    Raises:
        InputError: another kind of autoencoder.
    """

    vae: Any
    rows: int = field(validator=from_one)
    host: torch.device = field(factory=lambda: torch.device("cpu"))

    def __attrs_post_init__(self) -> None:
        if not striped(self.vae):
            raise InputError(
                f"autoencoder {type(self.vae).__name__} cannot work in strips: give an "
                "AutoencoderTiny, or an AutoencoderKL without attention beside its middle"
            )

    @property
    def config(self) -> Any:
        return self.vae.config

    def parameters(self) -> Iterator[nn.Parameter]:
        return self.vae.parameters()

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> SimpleNamespace:
        """With ``latents``: the mode of the posterior, (frames, z_channels, rows, columns)."""
        if is_tiny(self.vae):
            return SimpleNamespace(latents=self._tiny(self.vae.encoder, pixels))
        moments = self._encoded(self.vae.encoder, pixels)
        if self.vae.quant_conv is not None:
            moments = self.vae.quant_conv(moments)
        return SimpleNamespace(latents=moments.chunk(2, dim=1)[0])

    @torch.no_grad()
    def decode(self, latents: Tensor) -> SimpleNamespace:
        """With ``sample``: (frames, channels, height, width), in ``host`` memory."""
        if is_tiny(self.vae):
            return SimpleNamespace(sample=self._tiny(self.vae.decoder, latents))
        if self.vae.post_quant_conv is not None:
            latents = self.vae.post_quant_conv(latents)
        return SimpleNamespace(sample=self._decoded(self.vae.decoder, latents))

    def _tiny(self, network: nn.Module, whole: Tensor) -> Tensor:
        """All layers on each strip in turn: together they see only a few rows beyond it."""
        inside, outside = ratio(network)
        strip = Strips(max(1, self.rows // max(inside, outside)), self.host, whole.device)
        return strip.run(network, whole, reach=reach(network), inside=inside, outside=outside)

    def _encoded(self, encoder: Any, pixels: Tensor) -> Tensor:
        strip = Strips(self.rows, self.host, pixels.device)
        frames = strip.run(encoder.conv_in, pixels)
        for block in encoder.down_blocks:
            for resnet in block.resnets:
                frames = strip.resnet(resnet, frames)
            for down in block.downsamplers or ():
                frames = strip.run(down, frames, inside=2)
        frames = encoder.mid_block(frames.to(pixels.device))
        return encoder.conv_out(encoder.conv_act(encoder.conv_norm_out(frames)))

    def _decoded(self, decoder: Any, latents: Tensor) -> Tensor:
        strip = Strips(self.rows, self.host, latents.device)
        frames = strip.wait(decoder.mid_block(decoder.conv_in(latents)))
        for block in decoder.up_blocks:
            for resnet in block.resnets:
                frames = strip.resnet(resnet, frames)
            for up in block.upsamplers or ():
                frames = strip.run(up, frames, outside=2)
        normed = strip.norm(decoder.conv_norm_out, frames)
        return strip.run(lambda x: decoder.conv_out(decoder.conv_act(normed(x))), frames)


@frozen(eq=False)
class Strips:
    """Layers applied to frames that wait in host memory.

    Args:
        rows: of a strip.
        host: where the frames are.
        device: where the layers are.
    """

    rows: int
    host: torch.device
    device: torch.device

    def run(
        self,
        layer: Callable[..., Tensor],
        *frames: Tensor,
        reach: int = 1,
        inside: int = 1,
        outside: int = 1,
    ) -> Tensor:
        """``layer(*frames)``, (n, channels, height, width), for a layer of few rows' reach.

        Args:
            layer: of arguments of the same height.
            frames: the arguments.
            reach: units beyond a strip that its result depends on.
            inside: rows of the arguments that make a unit.
            outside: rows of the result that a unit makes.
        """
        units = frames[0].shape[-2] // inside
        result: Tensor | None = None
        for first in range(0, units, self.rows):
            last = min(first + self.rows, units)
            low, high = max(first - reach, 0), min(last + reach, units)
            part = layer(*(f[..., low * inside : high * inside, :].to(self.device) for f in frames))
            part = part[..., (first - low) * outside : (last - low) * outside, :]
            if result is None:
                result = self._waiting(part, units * outside)
            _put(part, result[..., first * outside : last * outside, :])
            del part
        assert result is not None
        return result

    def resnet(self, block: Any, frames: Tensor) -> Tensor:
        """A residual block: norm, convolution, norm, convolution, and a shortcut."""
        first, act = self.norm(block.norm1, frames), block.nonlinearity
        middle = self.run(lambda x: block.conv1(act(first(x))), frames)
        second = self.norm(block.norm2, middle)

        def rest(x: Tensor, h: Tensor) -> Tensor:
            h = block.conv2(act(second(h)))
            short = x if block.conv_shortcut is None else block.conv_shortcut(x)
            return (short + h) / block.output_scale_factor

        return self.run(rest, frames, middle)

    def norm(self, norm: nn.GroupNorm, frames: Tensor) -> Callable[[Tensor], Tensor]:
        """A group norm with the mean and variance of whole frames, for strips of them."""
        accurate = torch.promote_types(frames.dtype, torch.float32)
        parts = [
            torch.var_mean(_groups(strip.to(self.device).to(accurate), norm), 2, correction=0)
            for strip in frames.split(self.rows, -2)
        ]
        share = [s.shape[-2] / frames.shape[-2] for s in frames.split(self.rows, -2)]
        mean = sum((m * w for (_, m), w in zip(parts, share, strict=True)), start=0 * parts[0][1])
        spread = [v + (m - mean).square() for v, m in parts]
        variance = sum((v * w for v, w in zip(spread, share, strict=True)), start=0 * mean)
        per_channel = norm.num_channels // norm.num_groups
        scale = (variance + norm.eps).rsqrt().repeat_interleave(per_channel, 1) * norm.weight
        shift = norm.bias - mean.repeat_interleave(per_channel, 1) * scale
        scale, shift = (x[..., None, None] for x in (scale, shift))
        return lambda x: torch.addcmul(shift, x.to(accurate), scale).to(x.dtype)

    def wait(self, frames: Tensor) -> Tensor:
        """The frames, in host memory."""
        waiting = self._waiting(frames, frames.shape[-2])
        _put(frames, waiting)
        return waiting

    def _waiting(self, part: Tensor, height: int) -> Tensor:
        return room(part.new_empty(0, device=self.host), *part.shape[:-2], height, part.shape[-1])


def _put(values: Tensor, place: Tensor) -> None:
    if not values.is_meta or place.is_meta:  # what is only counted has no values
        place.copy_(values)


def _groups(frames: Tensor, norm: nn.GroupNorm) -> Tensor:
    return frames.reshape(len(frames), norm.num_groups, -1)


def is_tiny(vae: Any) -> bool:
    """Whether it is an ``AutoencoderTiny``: convolutions and nothing else, in a row."""
    return isinstance(getattr(getattr(vae, "decoder", None), "layers", None), nn.Sequential)


def unstriped(vae: Any) -> Any:
    """The autoencoder inside a :class:`StripedAutoencoder`; any other as it is."""
    return vae.vae if isinstance(vae, StripedAutoencoder) else vae


def striped(vae: Any) -> bool:
    """Whether :class:`StripedAutoencoder` knows this autoencoder."""
    if is_tiny(vae):
        return True
    try:
        blocks = list(chain(vae.encoder.down_blocks, vae.decoder.up_blocks))
        plain = isinstance(vae.decoder.conv_norm_out, nn.GroupNorm)
    except AttributeError:
        return False
    return plain and not any(getattr(block, "attentions", None) for block in blocks)


def ratio(network: nn.Module) -> tuple[int, int]:
    """Rows of the input, and of the output, that a row at the coarsest layer stands for."""
    inside = outside = 1
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            inside *= layer.stride[0]
        elif isinstance(layer, nn.Upsample):
            outside *= int(layer.scale_factor)  # type: ignore[arg-type]
    return inside, outside


def reach(network: nn.Module) -> int:
    """How far a chain of convolutions sees to each side, in rows of the coarsest layer."""
    inside, _ = ratio(network)
    size, total = 1 / inside, 0.0  # of a row of this layer, in rows of the coarsest
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            total += size * (layer.kernel_size[0] // 2)
            size *= layer.stride[0]
        elif isinstance(layer, nn.Upsample):
            size /= int(layer.scale_factor)  # type: ignore[arg-type]
    return math.ceil(total)
