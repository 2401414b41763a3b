"""Photographs on a device, and random crops of them cut there."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

SCALES = (1.0, 0.75, 0.56, 0.42, 0.32, 0.24)  # photographs, reduced as a camera's frames would be


@dataclass(frozen=True)
class Photographs:
    """Pictures one after the other in one tensor, those with the longest short side first.

    Args:
        pixels: uint8, shape (pixels of all pictures, 3).
        starts: of each picture in ``pixels``, shape (pictures,).
        sizes: height and width of each picture, shape (pictures, 2).
        sides: the shorter of the two, falling.
    """

    pixels: torch.Tensor
    starts: torch.Tensor
    sizes: torch.Tensor
    sides: tuple[int, ...]


def load_photographs(folder: Path, device: torch.device, threads: int) -> Photographs:
    """Every photograph of a folder at every scale."""

    def scaled(path: Path) -> list[np.ndarray]:
        with Image.open(path) as opened:
            whole = opened.convert("RGB")
        sizes = [(round(whole.width * scale), round(whole.height * scale)) for scale in SCALES]
        return [np.asarray(whole.resize(size, Image.Resampling.LANCZOS)) for size in sizes]

    with ThreadPoolExecutor(threads) as pool:
        found = pool.map(scaled, sorted(folder.glob("*.jpg")))
        pictures = [picture for scales in found for picture in scales]
    if not pictures:
        raise SystemExit(f"--photos {folder}: no .jpg file in it")
    pictures.sort(key=lambda picture: -min(picture.shape[:2]))
    sizes = torch.tensor([picture.shape[:2] for picture in pictures])
    areas = sizes.prod(1)
    pixels = np.concatenate([picture.reshape(-1, 3) for picture in pictures])
    return Photographs(
        torch.from_numpy(pixels).to(device),
        (areas.cumsum(0) - areas).to(device),
        sizes.to(device),
        tuple(sizes.amin(1).tolist()),
    )


def crops(pictures: Photographs, count: int, size: int, generator: torch.Generator) -> torch.Tensor:
    """Random crops in [-1, 1], mirrored, transposed and with varied exposure.

    Cut where the photographs and the generator are, all at once: shape (count, 3, size, size).
    """
    usable = sum(side >= size for side in pictures.sides)
    if not usable:
        raise SystemExit(f"--crop {size}: no photograph is that large; give a smaller crop")
    device = pictures.pixels.device
    draws = torch.rand(7, count, 1, 1, generator=generator, device=device, dtype=torch.float64)
    which = (draws[0] * usable).long()
    height, width = pictures.sizes[which].unbind(-1)
    top = (draws[1] * (height - size + 1)).long()
    left = (draws[2] * (width - size + 1)).long()
    mirrored, transposed = draws[3] < 1 / 2, draws[4] < 1 / 4
    rows = torch.arange(size, device=device).view(-1, 1)
    columns = rows.T
    down = torch.where(transposed, columns, rows)
    across = torch.where(transposed, rows, columns)
    across = torch.where(mirrored, size - 1 - across, across)
    index = pictures.starts[which] + (top + down) * width + left + across
    # Gathered as (..., 3), which is channels_last once the channels are called the second axis.
    values = pictures.pixels[index].permute(0, 3, 1, 2).float() / 255
    gain, gamma = draws[5:, ..., None].float()
    return values.pow(2 ** (gamma - 0.5)) * (0.7 + 0.3 * gain) * 2 - 1
