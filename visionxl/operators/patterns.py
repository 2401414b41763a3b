"""Masks that cameras make: interlaced lines, colour filters."""

from itertools import product

import torch

from visionxl.errors import InputError
from visionxl.operators.masking import Mask

COLOURS = "rgb"


def interlaced(frames: int, height: int, width: int, *, top_first: bool = True) -> Mask:
    """Even lines of even frames and odd lines of odd ones: video in fields.

    Args:
        frames: of the video.
        height: of its frames.
        width: of its frames.
        top_first: whether the first frame has the even lines, counted from 0.
    """
    time, line = torch.arange(frames)[:, None], torch.arange(height)
    seen = (time + line) % 2 == (0 if top_first else 1)
    return Mask(seen[:, None, :, None].expand(-1, -1, -1, width))


def bayer(height: int, width: int, pattern: str = "rggb") -> Mask:
    """One colour at each pixel: the colour filter mosaic of a sensor (Bayer 1976).

    The measurement has three channels, with 0 where a colour was not seen.

    Args:
        height: of the frames.
        width: of the frames.
        pattern: the colours of a block of two by two pixels, row by row.
    """
    if len(pattern) != 4 or set(pattern) - set(COLOURS):
        raise InputError(
            f"pattern {pattern!r} is no colour filter: give four letters of r, g, b, as 'rggb'"
        )
    mask = torch.zeros(1, 3, height, width, dtype=torch.bool)
    for (down, right), colour in zip(product((0, 1), repeat=2), pattern, strict=True):
        mask[0, COLOURS.index(colour), down::2, right::2] = True
    return Mask(mask)
