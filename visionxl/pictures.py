"""Reading images, animated or not."""

import struct
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np

from visionxl.errors import InputError

IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".apng")
UNREAD = (OSError, SyntaxError, ValueError, TypeError, IndexError, struct.error)
"""What Pillow raises for an image that is none, or damaged."""

LOSSY_IMAGES = (".jpg", ".jpeg", ".webp", ".gif")


def frames_of_image(path: Path) -> Iterator[np.ndarray]:
    """The frames of an image, upright, in 8-bit RGB, (height, width, 3)."""
    from PIL import Image, ImageOps, ImageSequence

    try:
        with Image.open(path) as image:
            frames = ImageSequence.Iterator(image)
            # What a phone's JPEG holds beside its picture is that of another lens, or a depth.
            for frame in islice(frames, 1 if image.format == "MPO" else None):
                upright = ImageOps.exif_transpose(frame)
                if upright.mode.startswith("I"):  # 16 bits, which convert would clip
                    upright = Image.fromarray(_of_16_bits(path, np.asarray(upright)))
                elif upright.mode == "F":
                    raise _unknown_range(path, "floating point numbers")
                yield np.array(upright.convert("RGB"))
    except InputError:
        raise
    except (Image.DecompressionBombError, *UNREAD) as error:
        raise InputError(
            f"clip {str(path)!r} is no image that can be read ({error}): give another file"
        ) from error


def _of_16_bits(path: Path, levels: np.ndarray) -> np.ndarray:
    if levels.min() < 0 or levels.max() > 65535:
        raise _unknown_range(path, "whole numbers beyond 16 bits")
    return (levels.astype(np.float64) / 257).round().astype(np.uint8)


def _unknown_range(path: Path, what: str) -> InputError:
    return InputError(
        f"clip {str(path)!r} holds {what}, which do not say what is black and what is white: save "
        "it with 8 or 16 bits, or as safetensors in [-1, 1]"
    )


def rate_of_image(path: Path) -> Fraction | None:
    """Frames per second of an animated one, in the mean; None where it does not tell."""
    from PIL import Image, ImageSequence

    durations = []
    try:
        with Image.open(path) as image:
            if image.format == "MPO":
                return None
            for frame in ImageSequence.Iterator(image):
                frame.load()  # some formats tell it only then
                durations.append(frame.info.get("duration") or 0)
    except (Image.DecompressionBombError, *UNREAD):
        return None  # reading the frames will say what is wrong
    if sum(durations) < len(durations):  # milliseconds: no picture is meant to be seen so shortly
        return None
    return Fraction(len(durations) * 1000 / sum(durations)).limit_denominator(1001)
