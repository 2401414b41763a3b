"""What was uploaded: read, and held against the limits."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from attrs import frozen

from visionxl.errors import InputError
from visionxl.sizes import cover
from visionxl.video import Clip, clip_pictures, to_video

MULTIPLE = 8  # sizes that a clip is shrunk to


@frozen
class Limits:
    """What the app takes.

    Args:
        max_frames: of a clip.
        max_pixels: of a frame, height times width.
    """

    max_frames: int = 50
    max_pixels: int = 400_000

    def check_size(self, name: str, height: int, width: int) -> None:
        """Raise InputError for frames that are too large."""
        if height * width > self.max_pixels:
            raise InputError(
                f"{name} has frames of {height}x{width}, {height * width:,} pixels, and the app "
                f"takes {self.max_pixels:,}: make it smaller, or start visionxl app with "
                "--max-pixels"
            )

    def check_length(self, name: str, frames: int) -> None:
        """Raise InputError for so many frames."""
        if frames > self.max_frames:
            raise InputError(
                f"{name} has more than {self.max_frames} frames, the most that the app takes: cut "
                "it, or start visionxl app with a larger --max-frames"
            )

    def fitting(self, height: int, width: int) -> tuple[int, int]:
        """The size itself where it is allowed; or else a smaller one of about its proportions."""
        if height * width <= self.max_pixels:
            return height, width
        scale = math.sqrt(self.max_pixels / (height * width))
        smaller = (int(size * scale) // MULTIPLE * MULTIPLE for size in (height, width))
        height, width = (max(size, MULTIPLE) for size in smaller)
        return height, width


def read_upload(path: Path, limits: Limits, fit: bool) -> Clip:
    """A video or an image, within the limits. At most one frame is in memory beyond them.

    Args:
        path: of the file.
        limits: what is taken.
        fit: shorten and shrink what is beyond the limits, and do not refuse it.

    Returns:
        The clip, (frames, 3, height, width) in [-1, 1].

    Raises:
        InputError: it is no video and no image, or beyond the limits. The sentence has the file's
            name, and no folder.
    """
    try:
        pictures, rate, sound = clip_pictures(path)
        frames = list(_within(path.name, pictures, limits, fit))
    except InputError as error:
        raise InputError(str(error).replace(str(path), path.name)) from error
    return Clip(torch.cat(frames), rate, sound)


def _within(
    name: str, pictures: Iterator[np.ndarray], limits: Limits, fit: bool
) -> Iterator[torch.Tensor]:
    for index, picture in enumerate(pictures):
        height, width = picture.shape[:2]
        if fit and index == limits.max_frames:
            return
        if not fit:
            limits.check_length(name, index + 1)
            limits.check_size(name, height, width)
        size, frame = limits.fitting(height, width), to_video([picture])
        yield frame if size == (height, width) else cover(frame, *size)
