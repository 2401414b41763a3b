"""Chance enters through the caller's generator, and only here."""

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from visionxl.protocols import Latent


def draw_noise(
    like: Latent, frames: int, generator: Generator
) -> Float[Tensor, "drawn z_channels z_height z_width"]:
    """White Gaussian noise for ``frames`` frames of the size, dtype and device of ``like``.

    It is drawn in float32 on the generator's device and then moved, so a CPU generator gives the
    same noise whatever the device and precision.
    """
    shape = (frames, *like.shape[1:])
    place = generator.device
    return torch.randn(shape, dtype=torch.float32, generator=generator, device=place).to(like)


def draw_uniform(generator: Generator, *shape: int) -> Tensor:
    """Numbers from 0 to 1, in float32 on the generator's device, whatever the default dtype."""
    return torch.rand(*shape, dtype=torch.float32, generator=generator, device=generator.device)
