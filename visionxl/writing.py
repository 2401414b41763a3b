"""Writing videos: mp4, lossless mkv, PNG, safetensors."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from fractions import Fraction
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen
from torch import Tensor

from visionxl.errors import InputError
from visionxl.files import check_output, save_in_pieces, whole
from visionxl.protocols import FAR, Video
from visionxl.sizes import fit_to, next_multiple
from visionxl.sound import CopiedSound, has_sound
from visionxl.video import RATE, to_pictures


@frozen
class Encoding:
    """How a kind of file is encoded."""

    codec: str
    pixels: str
    options: dict[str, str]
    even: bool  # the chroma of yuv420p needs even sizes


# One thread and portable code: x264's AVX-512 code gives other bytes now and then.
X264 = {"crf": "14", "preset": "medium", "x264-params": "threads=1:asm=0"}
ENCODINGS = {
    ".mp4": Encoding("libx264", "yuv420p", X264, even=True),
    ".mkv": Encoding("ffv1", "bgr0", {"level": "3", "slicecrc": "1"}, even=False),
}
BT709, LIMITED = 1, 1  # FFmpeg's numbers for the colours of high definition
SUFFIXES = (*ENCODINGS, ".safetensors", ".png", "")


def check_kind(path: Path, frames: int | None = None) -> None:
    """Raise InputError for a suffix that cannot be written, or not with so many frames."""
    if path.name and path.name.lower() in SUFFIXES:
        raise InputError(f"output {str(path)!r} is a suffix without a name: write one before it")
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(
            f"output {str(path)!r}: {path.suffix!r} cannot be written; choose .mp4 (H.264), "
            ".mkv (FFV1, lossless), .safetensors (float32), .png for a single frame, or no suffix "
            "for a folder of PNG"
        )
    if path.suffix.lower() == ".png" and frames is not None and frames != 1:
        raise InputError(
            f"output {str(path)!r} holds one frame, and there are {frames}: give the name "
            f"{str(path.with_suffix(''))!r} for a folder of PNG, or choose .mp4 or .mkv"
        )


def write_clip(
    path: str | Path,
    video: Video,
    rate: Fraction | float | int = RATE,
    *,
    sound: Path | None = None,
    overwrite: bool = False,
) -> list[str]:
    """Write a video: ``.mp4``, ``.mkv``, ``.safetensors``; PNG of one frame, or a folder of them.

    The same video gives the same bytes. The file appears whole or not at all.

    Args:
        path: its suffix decides the kind: ``.png`` for one frame, none for a folder.
        video: (frames, 1 or 3, height, width) in [-1, 1]; values beyond are clipped, except in
            safetensors.
        rate: frames per second.
        sound: a file whose sound is copied, where the container can hold it.
        overwrite: replace what is there.

    Returns:
        Notes for the user on what was changed to fit the file.

    Raises:
        InputError: the path cannot be written, or a value is not finite.
    """
    return write_pieces(
        path, lambda: iter([video]), len(video), rate, sound=sound, overwrite=overwrite
    )


def write_pieces(
    path: str | Path,
    pieces: Callable[[], Iterator[Video]],
    frames: int,
    rate: Fraction | float | int,
    *,
    sound: Path | None = None,
    overwrite: bool = False,
) -> list[str]:
    """Write a video given in pieces, in the memory of one; the same bytes as :func:`write_clip`.

    Ctrl-C waits until all is written: pieces that take long to compute are better in files before.

    Args:
        path: as in :func:`write_clip`, like the other arguments.
        pieces: returns an iterator over the pieces, in order; called again where sound cannot be
            kept.
        frames: total number in all pieces.
        rate: frames per second.
        sound: a file whose sound is copied.
        overwrite: replace what is there.

    Returns:
        Notes on what was changed to fit the file.
    """
    path, rate = Path(path), _checked_rate(rate)
    check_kind(path, frames)
    check_output(path, overwrite)
    if frames < 1:
        raise InputError(f"output {str(path)!r}: a video of {frames} frames: expected 1 or more")
    channels = None if path.suffix.lower() == ".safetensors" else (1, 3)
    notes: list[str] = []
    pieces = partial(_checked_pieces, pieces, frames, channels, notes)
    with whole(path) as unfinished:
        if path.suffix.lower() == ".safetensors":
            save_in_pieces(unfinished, "video", pieces(), frames, {"rate": str(rate)}, {})
        elif path.suffix == "":
            unfinished.mkdir()
            _write_pictures(pieces(), lambda index: unfinished / f"{index:05d}.png")
        elif path.suffix.lower() == ".png":
            _write_pictures(pieces(), lambda _: unfinished)
        else:
            encoding = ENCODINGS[path.suffix.lower()]
            if encoding.even:
                pieces = partial(_even, pieces, path.name, notes)
            _encode_or_fail(unfinished, pieces, rate, encoding, sound, notes)
            return notes
    if sound is not None:
        notes.append(f"the sound of {sound.name} is not kept: {path.name} holds none")
    return notes


def _checked_rate(rate: Fraction | float | int) -> Fraction:
    try:
        found = Fraction(rate).limit_denominator(100_000)
    except (ValueError, TypeError, OverflowError, ZeroDivisionError):
        found = Fraction(0)
    if found <= 0:
        raise InputError(f"rate {rate!r}: expected frames per second, above 0")
    return found


def _checked_pieces(
    pieces: Callable[[], Iterator[Video]],
    frames: int,
    channels: tuple[int, ...] | None,
    notes: list[str],
) -> Iterator[Video]:
    done, first = 0, None
    for piece in pieces():
        if not isinstance(piece, Tensor) or not piece.is_floating_point() or piece.ndim != 4:
            what = (piece.dtype, tuple(piece.shape)) if isinstance(piece, Tensor) else type(piece)
            raise InputError(
                f"video is {what}: expected floating point numbers in [-1, 1] of shape (frames, "
                "channels, height, width)"
            )
        if channels is not None and piece.shape[1] not in channels:
            raise InputError(
                f"video has {piece.shape[1]} channels: pictures have 1 or 3; .safetensors keeps any"
            )
        if not bool(piece.isfinite().all()):
            count = int((~piece.isfinite()).sum())
            raise InputError(f"video has {count} values that are not finite: it is not written")
        largest = piece.abs().max().item() if piece.numel() else 0.0
        if channels is not None and largest > FAR and not any("clipped" in note for note in notes):
            bytes_ = "" if piece.min() < 0 else ": for values from 0 to 255 write video / 127.5 - 1"
            notes.append(f"values up to {largest:.4g} were clipped to [-1, 1]{bytes_}")
        first = piece[:0] if first is None else first
        if piece.shape[1:] != first.shape[1:] or piece.dtype != first.dtype:
            raise InputError(
                f"a piece of the video is {piece.dtype} of {tuple(piece.shape[1:])}, and the first "
                f"is {first.dtype} of {tuple(first.shape[1:])}: expected pieces that are alike"
            )
        done += len(piece)
        yield piece
    if done != frames:
        raise InputError(
            f"the pieces have {done} frames, and {frames} were announced: give frames={done}"
        )


def _even(pieces: Callable[[], Iterator[Video]], name: str, notes: list[str]) -> Iterator[Video]:
    """The pieces, reflected to an even height and width, as yuv420p needs."""
    for piece in pieces():
        height, width = piece.shape[-2:]
        up = next_multiple(height, 2), next_multiple(width, 2)
        words = (
            f"{name}: {height}x{width} was reflected to {up[0]}x{up[1]}, because "
            "yuv420p needs even sizes"
        )
        if up != (height, width) and words not in notes:
            notes.append(words)
        yield fit_to(piece, *up)


def _pictures(pieces: Iterator[Video]) -> Iterator[np.ndarray]:
    return chain.from_iterable(map(to_pictures, pieces))


def _write_pictures(pieces: Iterator[Video], name: Callable[[int], Path]) -> None:
    from PIL import Image

    for index, picture in enumerate(_pictures(pieces)):
        Image.fromarray(picture).save(name(index))


def _encode_or_fail(
    path: Path,
    pieces: Callable[[], Iterator[Video]],
    rate: Fraction,
    encoding: Encoding,
    sound: Path | None,
    notes: list[str],
) -> None:
    import av

    try:
        if sound is not None and not has_sound(sound):
            notes.append(f"no sound is kept: {sound.name} is not there, or has none")
            sound = None
        copied = _encode(path, pieces(), rate, encoding, sound)
        if sound is not None and not copied:
            notes.append(f"no sound is kept: {sound.name} has none while its pictures are shown")
    except InputError:  # of the pieces
        raise
    except (av.FFmpegError, ValueError) as error:
        if sound is None:  # a full disk, for instance
            raise OSError(str(error)) from error
        said = getattr(error, "strerror", None) or error
        notes.append(f"the sound was not copied: {path.suffix} cannot hold it ({said})")
        _encode_or_fail(path, pieces, rate, encoding, None, notes)


def _encode(
    path: Path,
    pieces: Iterator[Video],
    rate: Fraction,
    encoding: Encoding,
    sound: Path | None,
) -> int:
    """Write the pictures, and the sound beside them; how many packets of it."""
    import av
    from av.codec.context import Flags

    with ExitStack() as opened:
        # Without bitexact the muxers write their version and a random identifier.
        to = str(path.absolute())  # "12:30.mp4" would be a protocol
        container = opened.enter_context(av.open(to, "w", options={"fflags": "+bitexact"}))
        stream: Any = container.add_stream(encoding.codec, rate, options=encoding.options)
        first = next(pieces)
        stream.height, stream.width = first.shape[-2:]
        stream.pix_fmt = encoding.pixels
        stream.codec_context.flags |= Flags.bitexact
        if encoding.pixels == "yuv420p":  # players guess by the size, unless they are told
            context = stream.codec_context
            context.colorspace = context.color_primaries = context.color_trc = BT709
            context.color_range = LIMITED
        copied = None
        if sound is not None:
            source = opened.enter_context(av.open(str(Path(sound).absolute())))
            copied = CopiedSound(source, container)
        for shown, picture in enumerate(_pictures(chain([first], pieces)), 1):
            container.mux(stream.encode(_frame(picture, encoding)))
            if copied is not None:
                copied.until(shown / rate)
        container.mux(stream.encode(None))
        return 0 if copied is None else copied.copied


def _frame(picture: np.ndarray, encoding: Encoding) -> Any:
    import av
    from av.video.reformatter import Colorspace

    frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
    if encoding.pixels == "yuv420p":
        return frame.reformat(format=encoding.pixels, dst_colorspace=Colorspace.ITU709)
    return frame.reformat(format=encoding.pixels)
