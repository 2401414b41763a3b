"""The benchmark's clips: which ones, and each in the size it is measured in."""

from collections.abc import Sequence
from pathlib import Path

import torch
from attrs import evolve

from visionxl import InputError
from visionxl.sizes import cover
from visionxl.video import DEMO_CLIP, Clip, read_clip

BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data" / "clips"
MULTIPLE = 16  # of height and width: what the pocket prior's networks need


def clips_at_hand(folder: Path = BESIDE) -> list[Path]:
    """The clips in the folder beside the repository; the package's own where there are none."""
    found = [path for path in folder.iterdir() if path.name[0] != "."] if folder.is_dir() else []
    return sorted(found) or [DEMO_CLIP]


def name_of(path: Path) -> str:
    """What a clip is called in records and tables: a file without its suffix, or a folder."""
    return path.resolve().name if path.is_dir() else path.stem


def names_of(paths: Sequence[Path]) -> dict[str, Path]:
    """The clips by name. Raises InputError where two have the same one."""
    named: dict[str, Path] = {}
    for path in paths:
        name = name_of(path)
        if name in named:
            raise InputError(
                f"CLIP {str(path)!r} and {str(named[name])!r} are both called {name!r} in the "
                "records: rename one, or leave it out"
            )
        named[name] = path
    return named


def sized(path: Path, frames: int, height: int, width: int) -> Clip:
    """The first ``frames`` frames of a clip, or as many as it has, covering a size.

    Args:
        path: of a video or a folder of images.
        frames: at most so many.
        height: wanted, in pixels; changes places with ``width`` where the clip is portrait and
            the size landscape, or the other way round.
        width: wanted, in pixels.

    Returns:
        The clip, (frames, 3, height, width) in [-1, 1].

    Raises:
        InputError: it cannot be read, has other than 3 channels, or is not finite.
    """
    clip = read_clip(path, frames)
    video = clip.video
    if video.ndim != 4 or video.shape[1] != 3 or not bool(torch.isfinite(video).all()):
        raise InputError(
            f"CLIP {str(path)!r} holds values of shape {tuple(video.shape)}: expected finite "
            "numbers of shape (frames, 3, height, width); give another file"
        )
    tall, wanted_tall = video.shape[-2] - video.shape[-1], height - width
    if tall * wanted_tall < 0:
        height, width = width, height
    return evolve(clip, video=cover(video.float(), height, width))
