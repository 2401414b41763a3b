"""Random numbers, drawn from the caller's generator only."""

import torch
from torch import Generator, Tensor

from visionxl.errors import InputError


def draw_noise(like: Tensor, frames: int, generator: Generator) -> Tensor:
    """White Gaussian noise for ``frames`` frames of the size, dtype and device of ``like``.

    ``like`` is a tensor of frames: latents, videos or measurements. The noise is drawn in float32
    on the generator's device and then moved, so a CPU generator gives the same whatever the device
    and precision.
    """
    shape = (frames, *like.shape[1:])
    place = generator.device
    return torch.randn(shape, dtype=torch.float32, generator=generator, device=place).to(like)


def draw_uniform(generator: Generator, *shape: int) -> Tensor:
    """Numbers from 0 to 1, in float32 on the generator's device, whatever the default dtype."""
    return torch.rand(*shape, dtype=torch.float32, generator=generator, device=generator.device)


def check_generator(generator: object) -> None:
    """Raise InputError unless ``generator`` is a ``torch.Generator``."""
    if not isinstance(generator, Generator):
        raise InputError(
            f"generator {generator!r} is no torch.Generator: give torch.Generator().manual_seed(0)"
        )
