"""Videos and measurements whose frames are read when they are asked for."""

from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from attrs import frozen
from torch import Tensor

from visionxl.errors import InputError
from visionxl.protocols import Video
from visionxl.sizes import cover
from visionxl.video import clip_pictures, read_clip, to_video


def clip_in_pieces(path: Path, sizes: Iterable[int], frames: int | None = None) -> Iterator[Video]:
    """The frames that :func:`visionxl.video.read_clip` reads, in pieces.

    It ends with the clip or the sizes, whichever is first; the last piece may have fewer frames.

    Args:
        path: of the clip.
        sizes: frames of each piece.
        frames: the most to read; None for all.
    """
    if path.suffix.lower() == ".safetensors":
        read_clip(path, 1)  # says what is wrong
        tensor, first = TensorFrames(path, "video"), 0
        most = len(tensor) if frames is None else min(frames, len(tensor))
        for size in sizes:
            if first >= most:
                return
            yield tensor[first : min(first + size, most)]
            first += size
        return
    pictures = clip_pictures(path, frames)[0]
    for size in sizes:
        piece = list(islice(pictures, size))
        if not piece:
            return
        yield to_video(piece)


def _stamp(path: Path) -> tuple[int, int, int]:
    """What changes with a file or folder."""
    told = path.stat()
    return told.st_ino, told.st_size, told.st_mtime_ns


def _check_unchanged(path: Path, stamp: tuple[int, int, int]) -> None:
    if not path.exists() or _stamp(path) != stamp:
        raise InputError(
            f"{str(path)!r} was changed or removed while its frames were read: those read before "
            "belong to the old file; start again (--overwrite)"
        )


class TensorFrames:
    """The frames of a tensor in a safetensors file; any of them, in any order.

    Args:
        path: of the file.
        name: of the tensor.
        most: frames at most, the first ones.
    """

    def __init__(self, path: Path, name: str, most: int | None = None) -> None:
        from safetensors import safe_open

        self._path, self._name, self._stamp = path, name, _stamp(path)
        with safe_open(path, framework="pt") as file:
            count, *size = file.get_slice(name).get_shape()
        self.shape: tuple[int, ...] = (count if most is None else min(most, count), *size)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, frames: slice) -> Tensor:
        from safetensors import safe_open

        _check_unchanged(self._path, self._stamp)
        with safe_open(self._path, framework="pt") as file:
            return file.get_slice(self._name)[frames.start : frames.stop].float()


@runtime_checkable
class FrameStream(Protocol):
    """Frames that are read when they are asked for, and their shape."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]: ...

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, frames: slice, /) -> Tensor: ...


@frozen(eq=False)
class ChangedFrames:
    """The frames of a source, changed as they are read.

    Args:
        source: of the frames.
        change: (piece, which frames it has) -> the piece, changed.
        shape: of the whole.
    """

    source: FrameStream
    change: Callable[[Tensor, slice], Tensor]
    shape: tuple[int, ...]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, frames: slice, /) -> Tensor:
        return self.change(self.source[frames], frames)


def masked(source: FrameStream, mask: Tensor) -> ChangedFrames:
    """The frames, 0 where a mask has 0: nothing was measured there.

    Args:
        source: of the frames.
        mask: (height, width), or of each frame (frames, 1 or channels, height, width).
    """
    alike = mask.ndim == 2 or len(mask) == 1

    def change(piece: Tensor, frames: slice) -> Tensor:
        return torch.where(mask if alike else mask[frames], piece, 0)

    return ChangedFrames(source, change, source.shape)


def covering(source: FrameStream, height: int, width: int) -> ChangedFrames:
    """The frames, scaled and cropped to a size in pixels as :func:`visionxl.sizes.cover` does."""
    shape = (*source.shape[:2], height, width)
    return ChangedFrames(source, lambda piece, _: cover(piece, height, width), shape)


def cut(source: FrameStream, height: int, width: int) -> ChangedFrames:
    """The frames without what lies below and to the right of a size in pixels."""
    shape = (*source.shape[:2], height, width)
    return ChangedFrames(source, lambda piece, _: piece[..., :height, :width], shape)


class VideoFrames:
    """The frames of a video file, folder of images or animated image, in [-1, 1].

    Frames are decoded in order. Skipping ahead decodes those in between; going back by more than
    ``kept`` frames restarts at the first, so windows that move forward decode a file once more in
    every step. The first pass counts the frames.

    Args:
        path: of the video.
        kept: frames that stay in memory, 8 bits each, behind the one that was decoded last.
        most: frames at most, the first ones.
    """

    def __init__(self, path: Path, kept: int, most: int | None = None) -> None:
        self._path, self._kept, self._most = path, kept, most
        pictures, self.rate, self.sound = clip_pictures(path, most)
        self._stamp = _stamp(path)
        count, first = 0, None
        for picture in pictures:
            first = picture if first is None else first
            count += 1
        if first is None:
            raise InputError(f"clip {str(path)!r} holds no frame: give a video")
        self.shape: tuple[int, ...] = (count, 3, *first.shape[:2])
        self._begin()

    rate: Fraction
    sound: Path | None

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, frames: slice) -> Tensor:
        first, stop = frames.start, frames.stop
        if first < self._done - len(self._recent):
            self._begin()
        recent: Any = deque(self._recent, maxlen=max(self._kept, max(stop, self._done) - first))
        while self._done < stop:
            recent.append(next(self._pictures))
            self._done += 1
        self._recent = recent
        offset = self._done - len(recent)
        wanted = [recent[i - offset] for i in range(first, stop)]
        return to_video(wanted) if wanted else torch.empty(0, *self.shape[1:])

    def _begin(self) -> None:
        _check_unchanged(self._path, self._stamp)
        self._pictures: Iterator[np.ndarray] = clip_pictures(self._path, self._most)[0]
        self._recent: Any = deque(maxlen=self._kept)
        self._done = 0
