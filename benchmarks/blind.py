"""How near the kernel that ``estimate_kernel`` finds is, and what a restoration makes of it.

    python benchmarks/blind.py [CLIP...] --json blind.json --picture blind.jpg

The clips are those of the folder beside the repository, or the package's own. A kernel is known
up to a shift, so each is compared, and used, at its best shift by whole pixels. Columns:

correlation, error   of the kernel; the error is ``|k - k_true| / |k_true|``
seconds              that ``estimate_kernel`` took
refitted             the correlation once the kernel was fitted to the restored video
measurement          its PSNR, without the border, as are the others
blind, again         PSNR of the restoration with the estimated and with the refitted kernel
known                and with the true one

The restoration is the consistency of ``vision_tv`` alone, without its bend and without a model.
"""

import argparse
import json
import math
import time
from itertools import product
from pathlib import Path

import torch
from clips import clips_at_hand, name_of, sized
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate, pad
from words import count, frame_size

from visionxl import InverseProblem, SpaceTimeTV, Video, fit_to, simulate
from visionxl.files import whole
from visionxl.metrics import psnr
from visionxl.operators import Blur
from visionxl.protocols import NoiseLevel
from visionxl.solvers import ConstantSpread, estimate_kernel, fit_kernel
from visionxl.video import to_pictures

Tile = tuple[tuple[Video, Video], tuple[Tensor, Tensor]]
"""Measured and restored; the true kernel and the one found."""

LEVEL = NoiseLevel(time=0.0, signal=1.0, noise=0.0)
SHIFT = 4  # pixels, at most
BORDER = 16  # pixels that PSNR leaves out, as what a shift brings in is not known


def drawn(rows: Tensor, columns: Tensor, size: int) -> Tensor:
    """A curve through the points, in pixels from the middle, spread bilinearly; it sums to 1."""
    kernel = torch.zeros(size, size, dtype=torch.float64)
    rows, columns = rows + size // 2, columns + size // 2
    for down, right in product((0, 1), (0, 1)):
        i, j = rows.floor() + down, columns.floor() + right
        weight = (1 - (rows - i).abs()) * (1 - (columns - j).abs())
        kernel.index_put_((i.long(), j.long()), weight, accumulate=True)
    return kernel / kernel.sum()


def kernels(size: int) -> dict[str, Tensor]:
    """Four motions, a Gaussian and a disc, of ``size`` pixels at most."""
    t = torch.linspace(-1, 1, 401, dtype=torch.float64)
    unit = (size - 3) / 12
    slope = math.radians(30)
    place = torch.arange(size, dtype=torch.float64) - size // 2
    distance = torch.hypot(place[:, None], place[None])
    gaussian, disc = torch.exp(-0.5 * (distance / 2) ** 2), (3.5 - distance).clamp(0, 1)
    hook = unit * (4 * torch.cos(2.2 * t) - 1.5), unit * (4 * torch.sin(2.2 * t) + 0.6 * t)
    return {
        "line": drawn(-5.5 * unit * t * math.sin(slope), 5.5 * unit * t * math.cos(slope), size),
        "arc": drawn(unit * (5 * t**2 - 2.5), 5.5 * unit * t, size),
        "wave": drawn(5.5 * unit * t, 4 * unit * torch.sin(math.pi * t), size),
        "hook": drawn(*hook, size),
        "gaussian": gaussian / gaussian.sum(),
        "disc": disc / disc.sum(),
    }


def nearest_shift(found: Tensor, true: Tensor) -> tuple[float, float, Tensor]:
    """Correlation, relative error and the found kernel, where whole pixels make it nearest."""
    room = max(len(found), len(true)) + 2 * SHIFT
    room += 1 - room % 2
    found, true = (pad(k, [(room - len(k)) // 2] * 4) for k in (found.double(), true))
    shifts = product(range(-SHIFT, SHIFT + 1), repeat=2)
    moved = min((found.roll(s, (0, 1)) for s in shifts), key=lambda k: (k - true).norm().item())
    correlation = (moved * true).sum() / (moved.norm() * true.norm())
    return correlation.item(), ((moved - true).norm() / true.norm()).item(), moved


def restored(problem: InverseProblem, kernel: Tensor) -> Video:
    """With the measurement and total variation alone, without a bend: noise would blur the fit."""
    blurred = InverseProblem(Blur(kernel), problem.measurement, problem.noise_std)
    consistency = SpaceTimeTV(ConstantSpread(math.inf), bend=0.0)
    return consistency.correct(problem.measurement, blurred, LEVEL).video


def inner_psnr(video: Video, truth: Video) -> float:
    inner = slice(BORDER, -BORDER)
    return psnr(video[..., inner, inner], truth[..., inner, inner])


def measure(truth: Video, true: Tensor, noise: float, arguments: argparse.Namespace) -> dict:
    """One row, with the videos and kernels of the picture under keys in capitals."""
    generator = torch.Generator().manual_seed(0)
    problem = simulate(truth, Blur(true), noise, generator=generator)
    y, size = problem.measurement, arguments.size
    began = time.perf_counter()
    found = estimate_kernel(y, size, frames=arguments.read)
    seconds = time.perf_counter() - began
    correlation, error, moved = nearest_shift(found, true)
    row = {"correlation": correlation, "error": error, "seconds": seconds}
    if arguments.restore:
        blind = restored(problem, moved)
        found = fit_kernel(blind, y, size)
        refitted, _, moved = nearest_shift(found, true)
        again = restored(problem, moved)
        row |= {
            "refitted": refitted,
            "measurement": inner_psnr(y, truth),
            "blind": inner_psnr(blind, truth),
            "again": inner_psnr(again, truth),
            "known": inner_psnr(restored(problem, true), truth),
            "VIDEOS": (y, again),
            "KERNELS": (true, found),
        }
    return row


def picture(tiles: list[Tile], across: int) -> Image.Image:
    """Measured beside restored, in their corners the true and the found kernel; ``across`` such
    pairs in a row. Frames of several sizes are cropped to what they share."""
    height, width = (min(y.shape[dim] for (y, _), _ in tiles) for dim in (-2, -1))
    sides = []
    for videos, both in tiles:
        most = max(k.max().item() for k in both)
        for video, kernel in zip(videos, both, strict=True):
            middle = fit_to(video[len(video) // 2 :][:1], height, width)
            frame = torch.from_numpy(next(iter(to_pictures(middle))).copy())
            large = interpolate((kernel / most)[None, None], scale_factor=4, mode="nearest")[0, 0]
            side = len(large)
            frame[:side, -side:] = large.mul(255).byte()[..., None]
            sides.append(frame)
    step = 2 * across
    rows = [torch.cat(sides[i : i + step], 1) for i in range(0, len(sides), step)]
    return Image.fromarray(torch.cat(rows).numpy())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clips", nargs="*", type=Path, metavar="CLIP")
    parser.add_argument("--frames", type=count, default=3, help="of a clip")
    parser.add_argument("--read", type=count, default=3, help="frames that the kernel is found in")
    parser.add_argument(
        "--frame-size", type=frame_size(8), default=(192, 320), metavar="HEIGHTxWIDTH"
    )
    parser.add_argument("--blur", type=count, default=15, help="the kernels' true size")
    parser.add_argument("--size", type=count, default=15, help="the size that is asked for")
    parser.add_argument("--noise", type=float, nargs="+", default=[0.005, 0.01])
    parser.add_argument("--kernels", nargs="+", default=list(kernels(15)), metavar="NAME")
    parser.add_argument("--no-restore", dest="restore", action="store_false")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--picture", type=Path, help="a JPEG, a clip in each row")
    arguments = parser.parse_args()
    height, width = arguments.frame_size
    rows, tiles = [], []
    for path in arguments.clips or clips_at_hand():
        truth = sized(path, arguments.frames, height, width).video
        for name, noise in product(arguments.kernels, arguments.noise):
            row = measure(truth, kernels(arguments.blur)[name], noise, arguments)
            if arguments.restore:
                tiles.append((row.pop("VIDEOS"), row.pop("KERNELS")))
            rows.append({"clip": name_of(path), "kernel": name, "noise": noise, **row})
            if len(rows) == 1:
                print(" ".join(f"{key:>13}" for key in rows[0]))
            print(
                " ".join(
                    f"{v:13.3f}" if isinstance(v, float) else f"{v:>13}" for v in rows[-1].values()
                ),
                flush=True,
            )
    if arguments.json:
        with whole(arguments.json) as partial:
            partial.write_text(json.dumps(rows, indent=1))
    if arguments.picture and tiles:
        across = len(arguments.kernels) * len(arguments.noise)  # a clip is a row
        with whole(arguments.picture) as partial:
            picture(tiles, across).save(partial, "JPEG", quality=85)


if __name__ == "__main__":
    main()
