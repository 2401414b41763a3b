"""Frames as WebP pictures inside a page, within a budget of bytes."""

import io
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence

from attrs import frozen
from PIL import Image

from visionxl.protocols import Video
from visionxl.video import to_pictures

LOSSLESS = 100  # the quality that keeps every value of 8 bits
MOST_LOSSLESS = 2_000_000  # bytes; beyond it nobody sees the difference, and pages are mailed
BUDGET = 10_500_000  # bytes of all pictures; base64 makes a third more of them
THUMBNAIL = 320  # pixels across or down


@frozen
class Fitting:
    """How frames are made to fit: picture quality, scale, and ``every`` n-th frame."""

    quality: int
    scale: float = 1.0
    every: int = 1


@frozen
class Shown:
    """The frames of a page.

    Args:
        columns: data URIs of the frames by title.
        numbers: of the frames in the clip, from 1.
        width: of the pictures.
        height: likewise.
        remarks: what was given up to make them fit, in sentences.
    """

    columns: dict[str, list[str]]
    numbers: tuple[int, ...]
    width: int
    height: int
    remarks: tuple[str, ...]


def shown(columns: Mapping[str, Video], budget: int = BUDGET) -> Shown:
    """The frames of videos of one size as data URIs, as good as ``budget`` bytes allow.

    Lossless if ``MOST_LOSSLESS`` bytes suffice. Otherwise quality is reduced first, from 95 to 75,
    then the size, to a half, then the number of frames.
    """
    frames = min(len(video) for video in columns.values())
    for fitting in _fittings(frames):
        kept = range(0, frames, fitting.every)
        most = min(budget, MOST_LOSSLESS) if fitting.quality == LOSSLESS else budget
        middle = _files(columns, [kept[len(kept) // 2]], fitting)
        if sum(map(len, middle)) * len(kept) > most:  # an estimate, to save time
            continue
        files = list(_files(columns, kept, fitting))
        if sum(map(len, files)) <= most:
            break
    else:
        raise AssertionError("the last of the fittings is a single dot")
    uris = [data_uri(file, "image/webp") for file in files]
    parts = {title: uris[i * len(kept) : (i + 1) * len(kept)] for i, title in enumerate(columns)}
    height, width = next(iter(columns.values())).shape[-2:]
    size = _scaled(width, height, fitting.scale)
    remarks = tuple(_remarks(fitting, frames, len(kept), width, height, size))
    return Shown(parts, tuple(index + 1 for index in kept), *size, remarks)


def thumbnail(frame: Video) -> bytes:
    """One frame, (1, channels, height, width), as a small picture."""
    picture = Image.fromarray(next(to_pictures(frame)))
    picture.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    return _webp(picture, 85)


def data_uri(file: bytes, kind: str) -> str:
    """A file as an address that holds all of it."""
    return f"data:{kind};base64,{b64encode(file).decode('ascii')}"


def _fittings(frames: int) -> Iterator[Fitting]:
    yield from (Fitting(quality) for quality in (LOSSLESS, 95, 90, 85, 80, 75))
    yield from (Fitting(80, scale) for scale in (0.75, 0.5))
    every = 2
    while every <= frames:
        yield Fitting(80, 0.5, every)
        every *= 2
    scale = 0.25
    while scale > 1e-6:
        yield Fitting(75, scale, frames)
        scale /= 2


def _files(
    columns: Mapping[str, Video], indices: Sequence[int], fitting: Fitting
) -> Iterator[bytes]:
    for video in columns.values():
        for index in indices:
            picture = Image.fromarray(next(to_pictures(video[index : index + 1])))
            if fitting.scale < 1:
                size = _scaled(*picture.size, fitting.scale)
                picture = picture.resize(size, Image.Resampling.LANCZOS)
            yield _webp(picture, fitting.quality)


def _webp(picture: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=quality, method=2, lossless=quality == LOSSLESS)
    return file.getvalue()


def _scaled(width: int, height: int, scale: float) -> tuple[int, int]:
    return max(1, round(width * scale)), max(1, round(height * scale))


def _remarks(
    fitting: Fitting, frames: int, kept: int, width: int, height: int, size: tuple[int, int]
) -> Iterator[str]:
    if kept < frames:
        yield f"{kept} of the {frames} frames are shown, to keep this page small."
    if fitting.scale < 1:
        yield (
            f"Frames are shown at {size[0]}x{size[1]} pixels, not {width}x{height}, to keep this "
            "page small."
        )
    if fitting.quality < LOSSLESS:
        yield f"Frames are compressed, at WebP quality {fitting.quality}."
