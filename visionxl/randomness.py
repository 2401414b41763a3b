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
    return torch.randn(shape, generator=generator, device=generator.device).to(like)
