"""What the command line checks of the files that it is given, before any work."""

from collections.abc import Iterable
from pathlib import Path

from visionxl.errors import InputError
from visionxl.measurements import Description
from visionxl.pictures import IMAGES
from visionxl.protocols import Video
from visionxl.simulation import FAR


def check_there(option: str, path: Path) -> None:
    """Raise InputError for an option's file that does not exist."""
    if not path.exists():
        raise InputError(
            f"{option} {str(path)!r} does not exist: give a video, a folder of images, an image, "
            "or a .safetensors file"
        )


def check_apart(output: Path, written: Iterable[Path], inputs: Iterable[Path | None]) -> None:
    """Raise InputError where what is written would replace an input, or the folder that it is in,
    or lie among its pictures.

    Args:
        output: for messages.
        written: files and folders.
        inputs: files and folders; None for none.
    """
    for given in [path for path in inputs if path is not None and path.exists()]:
        for path in written:
            same = path.exists() and path.samefile(given)
            same = same or (path.is_dir() and path.resolve() in given.resolve().parents)
            among = path.suffix.lower() in IMAGES and given.is_dir()
            if same or (among and given.resolve() == path.resolve().parent):
                what = "replace" if same else "add to"
                raise InputError(
                    f"output {str(output)!r} would {what} an input, {str(given)!r}: choose another "
                    "name"
                )


def check_original(name: str, video: Video, channels: tuple[int, ...] = (3,)) -> None:
    """Raise InputError for values that are no video in [-1, 1] of so many channels."""
    if not bool(video.isfinite().all()):
        raise InputError(f"{name} has values that are not finite: give a clip without them")
    if video.ndim != 4 or video.shape[1] not in channels:
        expected = " or ".join(map(str, channels))
        raise InputError(
            f"{name} has frames of shape {tuple(video.shape[1:])}: expected {expected} channels, "
            "height and width"
        )
    if video.abs().max() > FAR:
        raise InputError(
            f"{name} has values up to {video.abs().max():.4g}: expected about -1 to 1; for values "
            "from 0 to 255 use video / 127.5 - 1"
        )


def about_truth(frames: int, size: tuple[int, int], description: Description) -> list[str]:
    """Notes if the truth has more frames or another size; InputError if it has fewer.

    Args:
        frames: of the truth.
        size: height and width of its frames.
        description: of the measurement.
    """
    measured, height, width = description.frames, description.height, description.width
    if frames < measured:
        raise InputError(
            f"--truth has {frames} frames and the measured video {measured}: give the "
            "clip that was measured, or leave --truth out"
        )
    notes = []
    if frames > measured:
        notes.append(f"--truth is longer: its first {measured} frames are compared")
    if size != (height, width):
        scale = max(height / size[0], width / size[1])
        way = "cut" if scale == 1 else f"{'enlarged' if scale > 1 else 'reduced'} and cut"
        notes.append(f"--truth is {size[0]}x{size[1]}: {way} to {height}x{width}")
    return notes
