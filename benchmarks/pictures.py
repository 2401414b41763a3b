"""Pictures of one case: a contact sheet, and a video of everything side by side."""

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch.nn.functional import avg_pool2d

from visionxl import Video
from visionxl.files import whole
from visionxl.video import to_pictures, to_video
from visionxl.writing import write_clip

COLUMNS = 5  # tiles in a row
LABEL, NARROWEST, MARGIN = 20, 176, 4  # pixels: height of a label, its least width, the gap
PAPER, INK = (255, 255, 255), (30, 30, 30)

Frames = np.ndarray
"""8-bit RGB pictures, (frames, height, width, 3)."""


def paths_of(folder: Path, name: str) -> tuple[Path, Path]:
    """Where the sheet and the video of a case are."""
    return folder / f"{name}.png", folder / f"{name}.mp4"


def keep(path: Path, video: Video) -> Frames:
    """Put a video's pictures on disk as ``.npy``; what is returned reads them as they are needed.

    So the memory of one method is not counted for the next.
    """
    np.save(path, np.stack(list(to_pictures(video))))
    return np.load(path, mmap_mode="r")


def draw(folder: Path, name: str, tiles: Mapping[str, Frames], rate: Fraction) -> None:
    """Write the sheet and the video of a case; files of the same name are replaced whole.

    Args:
        folder: is there already.
        name: of the files, without a suffix.
        tiles: videos of one size by label, the truth first.
        rate: frames per second.
    """
    sheet, film = paths_of(folder, name)
    with whole(sheet) as partial:
        Image.fromarray(contact_sheet(tiles)).save(partial)
    count = len(next(iter(tiles.values())))
    frames = [grid({label: tile[i] for label, tile in tiles.items()}) for i in range(count)]
    write_clip(film, to_video(frames), rate, overwrite=True)


def contact_sheet(tiles: Mapping[str, Frames]) -> np.ndarray:
    """The middle frame of every tile, and below it the part that has the most texture in the
    truth, a quarter of the height and of the width, four times enlarged."""
    middle = {label: tile[len(tile) // 2] for label, tile in tiles.items()}
    top, left, height, width = most_textured(next(iter(middle.values())))
    return grid(
        {
            label: np.concatenate(
                [picture, enlarged(picture[top : top + height, left : left + width])]
            )
            for label, picture in middle.items()
        }
    )


def enlarged(picture: np.ndarray) -> np.ndarray:
    """Every pixel four times as high and as wide."""
    return picture.repeat(4, axis=0).repeat(4, axis=1)


def most_textured(picture: np.ndarray) -> tuple[int, int, int, int]:
    """(top, left, height, width) of the quarter by quarter of a picture with the largest mean
    squared difference between neighbours."""
    grey = torch.from_numpy(picture.astype(np.float32)).mean(dim=-1)
    energy = grey[1:, 1:].sub(grey[:-1, 1:]).square() + grey[1:, 1:].sub(grey[1:, :-1]).square()
    height, width = picture.shape[0] // 4, picture.shape[1] // 4
    means = avg_pool2d(energy[None, None], (height, width), stride=1)[0, 0]
    top, left = divmod(int(means.argmax()), means.shape[1])
    return top, left, height, width


def grid(pictures: Mapping[str, np.ndarray], most: int = COLUMNS) -> np.ndarray:
    """Labelled pictures of one size, at most so many in a row; even height and width."""
    height, width = next(iter(pictures.values())).shape[:2]
    across, down = max(width, NARROWEST) + MARGIN, height + LABEL + MARGIN
    columns = min(most, len(pictures))
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * across, rows * down), PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for index, (label, picture) in enumerate(pictures.items()):
        left, top = index % columns * across, index // columns * down
        pen.text((left + 2, top + 2), label, fill=INK, font=font)
        sheet.paste(Image.fromarray(picture), (left, top + LABEL))
    return np.array(sheet)
