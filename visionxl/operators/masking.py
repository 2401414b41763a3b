"""Missing pixels."""

from collections.abc import Sequence
from typing import Any

import torch
from attrs import field, frozen
from torch import Generator, Tensor

from visionxl.errors import InputError
from visionxl.operators.composition import EachFrame
from visionxl.operators.factors import Factors, Shape
from visionxl.protocols import Video
from visionxl.randomness import check_generator, draw_uniform
from visionxl.validators import array, check_count, check_number


def _mask(value: Any) -> Tensor:
    mask = array("mask", value, "only 0 and 1, in a tensor or an array")
    if mask.ndim not in (2, 4) or not bool(((mask == 0) | (mask == 1)).all()):
        raise InputError(
            f"mask of shape {tuple(mask.shape)}: expected only 0 and 1 (or False and True) in the "
            "shape (height, width), or (frames, 1 or channels, height, width)"
        )
    return mask.to(torch.bool, copy=True)


@frozen(eq=False, repr=False)
class Mask(EachFrame):
    """Known pixels are kept, the others are 0: inpainting.

    Forward: ``y = m * x``. Self-adjoint: the adjoint is the same product.

    Args:
        mask: 1 where a pixel is known; (height, width) for every frame and channel alike, or
            (1 or frames, 1 or channels, height, width).
    """

    mask: Tensor = field(converter=_mask)

    @classmethod
    def random(cls, keep: float, height: int, width: int, generator: Generator) -> "Mask":
        """Each pixel is known with probability ``keep`` (the paper's: 0.5)."""
        check_number("keep", keep, lambda k: 0 < k <= 1, "a share of the pixels, 0 < keep <= 1")
        check_count("height", height)
        check_count("width", width)
        check_generator(generator)
        return cls(draw_uniform(generator, height, width) < keep)

    @classmethod
    def box(cls, top: int, left: int, bottom: int, right: int, height: int, width: int) -> "Mask":
        """Everything is known but rows ``top:bottom``, columns ``left:right``."""
        if not (0 <= top < bottom <= height and 0 <= left < right <= width):
            raise InputError(
                f"box rows {top}:{bottom}, columns {left}:{right} does not lie in a frame of "
                f"{height}x{width}: expected 0 <= top < bottom <= height, the same for left, right"
            )
        mask = torch.ones(height, width, dtype=torch.bool)
        mask[top:bottom, left:right] = False
        return cls(mask)

    def at(self, frames: Sequence[int], count: int) -> "Mask":
        """The mask of some frames of a video of ``count``, by their numbers."""
        if self.mask.ndim == 2 or len(self.mask) == 1:
            return self
        if len(self.mask) != count:
            raise InputError(
                f"mask has {len(self.mask)} frames and the video {count}: give one mask for all, "
                "or one for each"
            )
        return Mask(self.mask[list(frames)])

    def forward(self, video: Video) -> Video:
        fits = self.mask.shape[-2:] == video.shape[-2:] and all(
            m in (1, v) for m, v in zip(self.mask.shape[::-1], video.shape[::-1], strict=False)
        )
        if not fits:
            raise InputError(
                f"mask of {tuple(self.mask.shape)} does not fit a video of {tuple(video.shape)}: "
                f"make a mask of height {video.shape[-2]} and width {video.shape[-1]}, with 1 or "
                f"{video.shape[1]} channels, for 1 or {len(video)} frames"
            )
        return torch.where(self.mask.to(video.device), video, 0)

    def adjoint(self, measurement: Video) -> Video:
        return self.forward(measurement)

    def factors(self, shape: Shape) -> Factors:
        return Factors(mask=self.mask[(None,) * (4 - self.mask.ndim)])

    def __repr__(self) -> str:
        height, width = self.mask.shape[-2:]
        return f"Mask(<{height}x{width}, {self.mask.float().mean().item():.1%} known>)"
