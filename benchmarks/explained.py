"""How much of an estimate's error the prior knows about, at each step of the default.

    python benchmarks/explained.py [CLIP ...] --task inpaint+ --noise 0.01

A step gives the network the video that the step before has found, and takes what it makes of it
for an estimate. What it changed, ``d``, is of use as far as it points to what is missing, ``e``:
the truth less that video. Printed for each step are

    before    PSNR of the video that the network is given
    estimate  PSNR of what it makes of it
    after     PSNR of that after the consistency (the finish is left out)
    r         the correlation of d and e, over all pixels
    gain      by how many dB the best share of d would come nearer to the truth than before
    by band   the same, with a share for each of seven bands of spatial frequency

The shares are chosen by the truth, so that ``by band`` is more than any weight by frequency can
have from this prior before the measurement is asked again. It costs nothing to try another prior:
--prior takes a folder in diffusers' layout or a hub id.
"""

import math
import sys
from argparse import Namespace, RawDescriptionHelpFormatter
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from attrs import evolve, frozen
from clips import name_of, sized
from options import add_case
from peers.case import Case
from peers.published import FRAMES_AT_ONCE, generator_of
from torch import Tensor
from words import Parser

from visionxl import InputError, PocketPrior, trajectory, vision_tv
from visionxl.cli.priors import prior_named
from visionxl.metrics import psnr
from visionxl.protocols import Latent, LatentPrior, NoiseSchedule, Video
from visionxl.solvers import FrameByFrame
from visionxl.video import DEMO_CLIP

HELP = "videos or folders of images; without any, the demo's"
EDGES = (0.06, 0.12, 0.25, 0.4, 0.6, 0.8)  # of the bands, in units of Nyquist's frequency
HEADS = ("clip", "task", "noise", "step", "before", "estimate", "after", "r", "gain", "by band")


@frozen(eq=False)
class Remembering:
    """A prior that remembers the first video it has encoded: what the start has found."""

    prior: LatentPrior
    first: list[Video]

    @property
    def schedule(self) -> NoiseSchedule:
        return self.prior.schedule

    def encode(self, video: Video) -> Latent:
        if not self.first:
            self.first.append(video)
        return self.prior.encode(video)

    def decode(self, latent: Latent) -> Video:
        return self.prior.decode(latent)

    def denoise(self, latent, level):
        return self.prior.denoise(latent, level)


def bands(height: int, width: int) -> Tensor:
    """The band of each frequency of ``rfft2``, from 0 at the lowest."""
    rows, columns = torch.fft.fftfreq(height), torch.fft.rfftfreq(width)
    frequency = 2 * torch.hypot(rows[:, None], columns[None])
    return torch.bucketize(frequency, torch.tensor(EDGES))


def correlation(change: Tensor, error: Tensor) -> float:
    """``<d, e> / |d| |e|``; 0 where either is 0."""
    norms = change.norm() * error.norm()
    return ((change * error).sum() / norms).item() if norms > 0 else 0.0


def explained(change: Video, error: Video) -> float:
    """The share of ``|e|^2`` that the best ``g(f) d`` takes off, ``g`` constant in each band.

    ``sum_b r_b^2 |e_b|^2 / |e|^2`` by Parseval, of the bands whose ``r_b`` is above 0.
    """
    of = bands(*error.shape[-2:]).to(error.device)
    # What lies beside the columns 0 and Nyquist stands for its conjugate, too.
    twice = torch.full((of.shape[-1],), math.sqrt(2))
    twice[[0, *([-1] if error.shape[-1] % 2 == 0 else [])]] = 1.0
    left, right = (
        torch.view_as_real(torch.fft.rfft2(v, norm="ortho") * twice.to(v)) for v in (change, error)
    )
    taken = 0.0
    for band in range(len(EDGES) + 1):
        mine, its = left[..., of == band, :], right[..., of == band, :]
        taken += max(0.0, correlation(mine, its)) ** 2 * its.square().sum().item()
    return taken / max(error.square().sum().item(), 1e-30)


def decibel(share: float) -> float:
    """What taking off a share of the square of the error adds to the PSNR."""
    return -10 * math.log10(max(1 - share, 1e-12)) if share > 0 else 0.0


def rows_of(options: Namespace, prior: LatentPrior) -> Iterator[tuple[str, ...]]:
    """A row for each step of each case, in the order of ``HEADS``."""
    method = evolve(vision_tv(), finish=None)
    for path in options.clips:
        clip = sized(path, options.frames, options.height, options.width).video
        for task in options.task:
            for noise_std in options.noise:
                case = Case.make(clip, task, noise_std, seed=0)
                seen = Remembering(FrameByFrame(prior, FRAMES_AT_ONCE), [])
                before, chance = None, generator_of(case)
                for step in trajectory(
                    case.problem, seen, method, generator=chance, frames_at_once=None
                ):
                    before = seen.first[0] if before is None else before
                    error, change = clip - before, step.decoded - before
                    r = correlation(change, error)
                    figures = [psnr(v, clip) for v in (before, step.decoded, step.corrected)]
                    figures += [r, decibel(max(0.0, r) ** 2), decibel(explained(change, error))]
                    told = name_of(path), task, f"{noise_std:g}", str(step.record.index + 1)
                    yield *told, *(f"{figure:.2f}" for figure in figures)
                    before = step.corrected


def options_of(words: Sequence[str]) -> Namespace:
    made = Parser(
        prog="explained.py",
        description=__doc__,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("clips", metavar="CLIP", nargs="*", type=Path, help=HELP)
    add_case(made)
    options = made.parse_intermixed_args(words)
    options.clips = options.clips or [DEMO_CLIP]
    options.task = options.task or ["deblur+", "sr4+", "inpaint+"]
    options.noise = options.noise or [0.01]
    return options


def main(words: Sequence[str] | None = None) -> None:
    options = options_of(sys.argv[1:] if words is None else words)
    try:
        if options.prior is None:
            prior = PocketPrior.load()
        else:
            place = options.device, options.dtype
            prior = prior_named(options.prior, *place, prompt=options.prompt)
        print("| " + " | ".join(HEADS) + " |\n" + "|---" * len(HEADS) + "|")
        for row in rows_of(options, prior):
            print("| " + " | ".join(row) + " |", flush=True)
    except InputError as error:
        print(f"explained.py: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
