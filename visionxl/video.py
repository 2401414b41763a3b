"""Reading videos: files, folders of images, single and animated images."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from attrs import field, frozen

from visionxl.errors import InputError
from visionxl.pictures import IMAGES, LOSSY_IMAGES, frames_of_image, rate_of_image
from visionxl.protocols import Video, shape_of
from visionxl.validators import check_count

LOSSLESS = ("apng", "bmp", "ffv1", "ffvhuff", "huffyuv", "magicyuv", "png", "qtrle", "rawvideo")
LOSSLESS += ("tiff", "utvideo", "v210", "v410", "zlib")  # FFmpeg's names of codecs
# Files of pictures, and no playlist, which would have other files read in its place.
CONTAINERS = (
    "mov,matroska,webm,avi,mpeg,mpegts,mpegvideo,m4v,h261,h263,h264,hevc,vvc,obu,ivf,dirac,mjpeg,"
    "asf,flv,ogg,mxf,gxf,nut,dv,rm,wtv,yuv4mpegpipe"
)
FLOATING = ("F16", "BF16", "F32", "F64")  # as safetensors calls them
RATE = Fraction(25)  # of folders of images, which do not tell
DEMO_CLIP = Path(__file__).parent / "assets" / "flower.mp4"
"""25 frames of 288x512 that come with the package: an opening flower, CC0."""


@frozen(eq=False)
class Clip:
    """A video, its frames per second, and the file whose sound belongs to it, if any."""

    video: Video = field(repr=shape_of)
    rate: Fraction
    sound: Path | None = None


def natural_order(path: Path) -> list[tuple[int, int, str]]:
    """Sort key: numbers inside names count as numbers, so frame2 comes before frame10."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [(0, int(p), "") if p.isdecimal() else (1, 0, p) for p in parts if p]


def read_clip(path: str | Path, frames: int | None = None) -> Clip:
    """Read a video: any file PyAV reads, a folder of images, or an image, animated or not.

    Args:
        path: of the file or folder. Images of a folder are read in natural order.
        frames: the most to read; None for all.

    Returns:
        The clip, float32, (frames, 3, height, width) in [-1, 1].

    Raises:
        InputError: the file is missing, empty, truncated or no video, or image sizes differ.
    """
    path = Path(path)
    if frames is not None:
        check_count("frames", frames)
    if path.suffix.lower() == ".safetensors" and path.is_file() and path.stat().st_size:
        return _tensor(path, frames)
    pictures, rate, sound = clip_pictures(path, frames)
    return Clip(to_video(pictures), rate, sound)


def is_lossy(path: Path) -> bool:
    """Whether a video's codec, or an image's format, loses detail.

    Codecs that can be lossless but seldom are, such as H.264, count as lossy.
    """
    if path.is_dir():
        return any(is_lossy(file) for file in path.iterdir() if file.suffix.lower() in IMAGES)
    if path.suffix.lower() in IMAGES:
        return path.suffix.lower() in LOSSY_IMAGES
    with _opened(path) as container:
        return container.streams.video[0].codec_context.name not in LOSSLESS


def about_rate(path: Path) -> list[str]:
    """Notes on a video file whose frames are not evenly spaced, or whose pixels are not square."""
    if path.is_dir() or path.suffix.lower() in (*IMAGES, ".safetensors"):
        return []
    with _opened(path) as container:
        stream = container.streams.video[0]
        times = sorted(p.pts for p in container.demux(stream) if p.pts is not None)
        rate = _rate(stream)
        shape = Fraction(stream.sample_aspect_ratio or 1)
    notes = []
    if shape != 1:
        notes.append(
            f"{path.name} has pixels of {shape.numerator}:{shape.denominator}: they are taken, and "
            "written, as square"
        )
    gaps = sorted(after - before for before, after in pairwise(times))
    if not gaps or gaps[-1] < 2 * gaps[len(gaps) // 2]:
        return notes
    return [
        *notes,
        f"{path.name} has a variable frame rate: its frames are taken as evenly spaced, "
        f"{float(rate):.5g} a second, and may drift from their sound",
    ]


def clip_pictures(
    path: Path, frames: int | None = None
) -> tuple[Iterator[np.ndarray], Fraction, Path | None]:
    """The pictures of a video as they are decoded, its rate, and the file that has its sound.

    Args:
        path: of any video but safetensors, as for :func:`read_clip`.
        frames: at most so many; without it the number is checked against the file's header.
    """
    if not path.exists():
        raise InputError(
            f"clip {str(path)!r} does not exist: give a video, a folder of images, or a "
            ".safetensors file"
        )
    sound = None
    if path.is_dir():
        rate, pictures = RATE, _folder(path)
    elif path.stat().st_size == 0:
        raise InputError(f"clip {str(path)!r} is empty (0 bytes): give a video or an image")
    elif path.suffix.lower() in IMAGES:
        rate, pictures = rate_of_image(path) or RATE, frames_of_image(path)
    else:
        rate, sound = _header(path)
        pictures = _container(path, whole=frames is None)
    return _same_size(path, islice(pictures, frames)), rate, sound


def to_video(pictures: Iterable[np.ndarray]) -> Video:
    """8-bit RGB pictures, (height, width, 3), as a video in [-1, 1]."""
    frames = list(pictures)
    height, width, channels = frames[0].shape
    video = torch.empty(len(frames), channels, height, width, dtype=torch.float32)
    for target, picture in zip(video, frames, strict=True):
        target.copy_(torch.from_numpy(picture).permute(2, 0, 1))
    return video.div_(127.5).sub_(1)


def to_pictures(video: Video) -> Iterator[np.ndarray]:
    """The frames of a video as 8-bit RGB pictures; values are rounded and clipped."""
    for frame in video:
        rgb = frame.detach().cpu().float().expand(3, -1, -1)
        levels = rgb.add(1).mul(127.5).round_().clamp_(0, 255).to(torch.uint8)
        yield levels.permute(1, 2, 0).contiguous().numpy()


def _same_size(path: Path, pictures: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    first = None
    for index, picture in enumerate(pictures):
        first = picture.shape if first is None else first
        if picture.shape != first:
            raise InputError(
                f"clip {str(path)!r}: image {index} has {picture.shape[0]}x{picture.shape[1]} "
                f"pixels and the first has {first[0]}x{first[1]}; all have to be of one size"
            )
        yield picture
    if first is None:
        raise InputError(f"clip {str(path)!r} holds no frame: give a video or a folder of images")


def _folder(folder: Path) -> Iterator[np.ndarray]:
    files = [f for f in folder.iterdir() if f.suffix.lower() in IMAGES and f.is_file()]
    for file in sorted(files, key=natural_order):
        yield from islice(frames_of_image(file), 1)


def _tensor(path: Path, frames: int | None) -> Clip:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            if "measurement" in file.keys():  # noqa: SIM118
                raise InputError(f"clip {str(path)!r} is a measurement: restore it first")
            stored = file.get_slice("video")
            kind, shape = stored.get_dtype(), tuple(stored.get_shape())
            if kind not in FLOATING:
                raise InputError(
                    f"clip {str(path)!r} is {kind}: expected floating point numbers in [-1, 1]"
                )
            if len(shape) != 4 or 0 in shape:
                raise InputError(
                    f"clip {str(path)!r} has shape {shape}: expected (frames, channels, height, "
                    "width), none of them 0"
                )
            video = stored[:frames].float()
            rate = rate_of((file.metadata() or {}).get("rate", RATE), path)
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"clip {str(path)!r} cannot be read ({error}): expected safetensors with a tensor "
            "named 'video', as visionxl writes them"
        ) from error
    return Clip(video, rate)


def rate_of(value: object, path: Path) -> Fraction:
    """Frames per second as a file tells them. Raises InputError for what is no such number."""
    try:
        rate = Fraction(value)  # type: ignore[arg-type]
    except (ValueError, TypeError, ZeroDivisionError, OverflowError):
        rate = Fraction(0)
    if rate <= 0:
        raise InputError(f"{str(path)!r} has rate {value!r}: expected frames per second, above 0")
    return rate


def _header(path: Path) -> tuple[Fraction, Path | None]:
    """Frames per second, and the path itself where it has sound."""
    with _opened(path) as container:
        stream = container.streams.video[0]
        return _rate(stream), path if container.streams.audio else None


def _rate(stream: Any) -> Fraction:
    """Frames per second, on average."""
    return Fraction(stream.average_rate or stream.guessed_rate or RATE)


def _container(path: Path, whole: bool) -> Iterator[np.ndarray]:
    with _opened(path) as container:
        stream = container.streams.video[0]
        # Threads that decode ahead may still be at work when the reader stops: closing then waits
        # for them with Python's lock held, and they may wait for that lock.
        stream.thread_type = "SLICE"
        count, begins = 0, []
        for frame in container.decode(stream):
            count += 1
            begins += [] if frame.time is None else [frame.time]
            yield _upright(frame)
        if whole:
            _check_complete(path, stream, count, begins, _rate(stream))


@contextmanager
def _opened(path: Path, options: dict[str, str] | None = None) -> Iterator[Any]:
    """A container with a video stream; what FFmpeg cannot read becomes an InputError."""
    import av

    try:
        # Absolute, for "12:30.mp4" would be a protocol.
        allowed = {"format_whitelist": CONTAINERS, **(options or {})}
        with av.open(str(path.absolute()), options=allowed) as container:
            if not container.streams.video:
                raise InputError(f"clip {str(path)!r} has no video stream: give another file")
            yield container
    except av.FFmpegError as error:
        raise InputError(
            f"clip {str(path)!r} is no video that can be read, or it is truncated "
            f"({error.strerror or error}): give another file"
        ) from error


def _upright(frame: Any) -> np.ndarray:
    """The frame in RGB, turned as its display matrix says (counter-clockwise)."""
    turns = round(getattr(frame, "rotation", 0) / 90) % 4
    picture = frame.to_ndarray(format="rgb24", **_conversion(frame.format))
    return np.ascontiguousarray(np.rot90(picture, turns))


def _conversion(kind: Any) -> dict[str, Any]:
    """Exact conversion for more than 8 bits: the usual one is 1.6 grey levels too dark."""
    from av.video.reformatter import Interpolation as Flags

    if max(component.bits for component in kind.components) <= 8:
        return {}
    return {"interpolation": Flags.BILINEAR | Flags.ACCURATE_RND | Flags.FULL_CHR_H_INT}


def _packets(path: Path) -> int:
    """The pictures that a file has, also those that its edit list hides."""
    with _opened(path, {"ignore_editlist": "1"}) as container:
        return sum(packet.size > 0 for packet in container.demux(container.streams.video[0]))


def _check_complete(
    path: Path, stream: Any, count: int, begins: list[float], rate: Fraction
) -> None:
    """A file cut off in the middle still decodes: hold the frames against its own header.

    Args:
        path: of the file.
        stream: of the pictures.
        count: of the frames that were read.
        begins: when they are shown, in seconds, as far as they tell.
        rate: frames per second, on average.
    """
    promised, found = f"{stream.frames} frames", f"{count}"
    cut = count < stream.frames - 1 and _packets(path) < stream.frames - 1
    duration = stream.metadata.get("DURATION")
    told = re.fullmatch(r"(\d+):(\d+):([\d.]+)", duration or "")
    if not stream.frames and told and begins:  # Matroska: when it ends
        ends = int(told[1]) * 3600 + int(told[2]) * 60 + float(told[3])
        begins = sorted(begins)
        slowest = max([1 / float(rate), *(b - a for a, b in pairwise(begins))])
        cut = ends - begins[-1] > 2.5 * slowest  # of the last frame, and one that may be missing
        promised, found = f"{ends:.2f} seconds", f"{begins[-1]:.2f}, {count} frames,"
    if cut:
        raise InputError(
            f"clip {str(path)!r} is truncated: its header promises {promised} and {found} "
            f"can be read; copy it again, or take what is there (simulate --frames {count})"
        )
