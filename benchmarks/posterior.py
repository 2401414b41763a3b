"""Every method against the exact posterior, for priors that are known.

    python benchmarks/posterior.py --json out.json

The prior is a Gaussian with the spectrum of natural images, or a mixture of four pictures with
white noise around each: frames of 8x8, five of them. For a linear measurement the posterior of
both is known, dense. Each method restores the same measurement in 64 channels at once, each with
chance of its own, and the columns tell:

- mean_error: how far the mean of the 64 answers is from the posterior mean, relative to how far the
  prior's mean is from it;
- spread_error: how far their standard deviation, pixel by pixel, is from that of the posterior,
  relative to it; only for methods that claim to sample;
- residual: root mean square of y - A x, divided by the noise;
- evaluations: of the denoiser, for one frame.
"""

import argparse
import json
import math
from collections.abc import Callable
from itertools import product
from pathlib import Path

import torch
from attrs import asdict, frozen
from torch import Tensor

from visionxl import GaussianPrior, InverseProblem, restore, simulate, vision_tv, vision_xl
from visionxl.files import whole
from visionxl.operators import AveragePool, GaussianBlur, Mask, TemporalAverage
from visionxl.priors import MixturePrior
from visionxl.protocols import Denoised, ForwardOperator, Latent, LatentPrior, NoiseLevel, Video
from visionxl.solvers import Sampler, gauss_newton, peers

FRAMES, SIZE, CHANNELS = 5, 8, 64
NOISES = (0.02, 0.1)
METHODS: dict[str, tuple[Callable[[], Sampler], bool]] = {
    "vision_xl": (vision_xl, False),
    "vision_tv": (vision_tv, False),
    "gauss_newton": (gauss_newton, False),
    "svi": (peers.svi, True),
    "dds": (peers.dds, True),
    "diffpir": (peers.diffpir, True),
    "ddnm": (peers.ddnm, True),
    "ddnm_plus": (peers.ddnm_plus, True),
    "daps": (peers.daps, True),
    "latino": (peers.latino, True),
    "latent_dps": (peers.latent_dps, True),
    "psld": (peers.psld, True),
    "resample": (peers.resample, True),
}
"""By name: the method, and whether it claims to sample the posterior."""


@frozen
class Row:
    """One method on one problem; see the beginning of this file."""

    prior: str
    method: str
    operator: str
    noise: float
    mean_error: float
    spread_error: float | None
    residual: float
    evaluations: int


@frozen(eq=False)
class Posterior:
    """Mean and standard deviation of every pixel, (frames, 1, height, width)."""

    mean: Tensor
    std: Tensor


@frozen(eq=False)
class Counting:
    """A prior that counts the frames it has denoised."""

    prior: LatentPrior
    frames: list[int]

    @property
    def schedule(self):
        return self.prior.schedule

    def encode(self, video: Video) -> Latent:
        return self.prior.encode(video)

    def decode(self, latent: Latent) -> Video:
        return self.prior.decode(latent)

    def denoise(self, latent: Latent, level: NoiseLevel) -> Denoised:
        self.frames.append(len(latent))
        return self.prior.denoise(latent, level)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def operators() -> dict[str, ForwardOperator]:
    average = TemporalAverage(3)
    return {
        "deblur+": GaussianBlur(1.0) @ average,
        "sr2+": AveragePool(2) @ average,
        "inpaint+": Mask.random(0.5, SIZE, SIZE, generator(7)) @ average,
    }


def priors() -> dict[str, GaussianPrior | MixturePrior]:
    natural = GaussianPrior.natural(SIZE, SIZE, std=0.3)
    pictures = natural.sample(4, 1, generator(11))[:, 0]
    return {"gaussian": natural, "mixture": MixturePrior(pictures, std=0.1)}


def dense(action: Callable[[Video], Tensor]) -> Tensor:
    """The matrix of a linear action on a video of one channel."""
    units = torch.eye(FRAMES * SIZE**2, dtype=torch.float64).view(-1, FRAMES, 1, SIZE, SIZE)
    return torch.stack([action(unit).flatten() for unit in units], 1)


def gaussian_posterior(prior: GaussianPrior, problem: InverseProblem) -> Posterior:
    matrix, y = dense(problem.operator.forward), problem.measurement[:, :1].flatten()
    precision = torch.linalg.inv(dense(prior.covariance))
    covariance = torch.linalg.inv(precision + matrix.T @ matrix / problem.noise_std**2)
    return shaped(covariance @ (matrix.T @ y) / problem.noise_std**2, covariance.diagonal())


def mixture_posterior(prior: MixturePrior, problem: InverseProblem) -> Posterior:
    """Over all choices of a mode for each frame: Gaussians of one covariance."""
    matrix, y = dense(problem.operator.forward), problem.measurement[:, :1].flatten()
    noise, size = problem.noise_std**2, FRAMES * SIZE**2
    covariance = torch.linalg.inv(
        torch.eye(size, dtype=torch.float64) / prior.std**2 + matrix.T @ matrix / noise
    )
    marginal = prior.std**2 * matrix @ matrix.T + noise * torch.eye(len(y), dtype=torch.float64)
    factor = torch.linalg.cholesky(marginal)
    weights = prior.log_weights()
    means, logs = [], []
    for modes in product(range(len(prior.means)), repeat=FRAMES):
        picked = prior.means[list(modes)].flatten()
        apart = y - matrix @ picked
        logs.append(
            weights[list(modes)].sum()
            - apart @ torch.cholesky_solve(apart[:, None], factor)[:, 0] / 2
        )
        means.append(covariance @ (picked / prior.std**2 + matrix.T @ y / noise))
    share, stacked = torch.stack(logs).softmax(0), torch.stack(means)
    mean = share @ stacked
    return shaped(mean, covariance.diagonal() + share @ (stacked - mean).square())


def shaped(mean: Tensor, variance: Tensor) -> Posterior:
    shape = (FRAMES, 1, SIZE, SIZE)
    return Posterior(mean.view(shape), variance.sqrt().view(shape))


def measured(
    prior: GaussianPrior | MixturePrior, operator: ForwardOperator, noise: float
) -> tuple[InverseProblem, Posterior]:
    """One measurement, repeated over the channels, and its posterior."""
    truth = prior.sample(FRAMES, 1, generator(1))
    one = simulate(truth, operator, noise, generator=generator(2))
    if isinstance(prior, GaussianPrior):
        posterior = gaussian_posterior(prior, one)
    else:
        posterior = mixture_posterior(prior, one)
    repeated = one.measurement.expand(-1, CHANNELS, -1, -1).contiguous()
    return InverseProblem(operator, repeated, noise), posterior


def row(
    names: tuple[str, str, str],
    prior: GaussianPrior | MixturePrior,
    problem: InverseProblem,
    posterior: Posterior,
) -> Row:
    prior_name, method, operator = names
    make, samples = METHODS[method]
    counting = Counting(prior, [])
    if method in (
        "vision_tv",
        "gauss_newton",
    ):  # total variation couples the channels, and 64 are no picture
        one = problem.measurement[:, :1].contiguous()
        problem = InverseProblem(problem.operator, one, problem.noise_std)
    video = restore(problem, counting, make(), generator=generator(3), frames_at_once=FRAMES).video
    mean = video.mean(1, keepdim=True)
    base = (
        posterior.mean.norm()
        if isinstance(prior, GaussianPrior)
        else ((posterior.mean - prior.means.mean(0)).norm())
    )
    spread = None
    if samples:
        apart = video.std(1, keepdim=True) - posterior.std
        spread = round((apart.norm() / posterior.std.norm()).item(), 4)
    residual = (problem.measurement - problem.operator.forward(video)).square().mean().sqrt()
    return Row(
        prior=prior_name,
        method=method,
        operator=operator,
        noise=problem.noise_std,
        mean_error=round(((mean - posterior.mean).norm() / base).item(), 4),
        spread_error=spread,
        residual=round((residual / problem.noise_std).item(), 4),
        evaluations=math.ceil(sum(counting.frames) / FRAMES),
    )


def table(rows: list[Row]) -> str:
    names = ("prior", "method", "operator", "noise", "mean_error", "spread_error", "residual")
    lines = [f"| {' | '.join((*names, 'evaluations'))} |", "|---" * 8 + "|"]
    for found in rows:
        told = asdict(found)
        cells = ["" if told[name] is None else str(told[name]) for name in (*names, "evaluations")]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def summary(rows: list[Row]) -> str:
    """Mean error and spread error of every method, means over the operators."""
    problems = list(dict.fromkeys((r.prior, r.noise) for r in rows))
    lines = ["| method | " + " | ".join(f"{p} {n}" for p, n in problems) + " | evaluations |"]
    lines.append("|---" * (len(problems) + 2) + "|")
    for method in dict.fromkeys(r.method for r in rows):
        cells = []
        for problem in problems:
            found = [r for r in rows if r.method == method and (r.prior, r.noise) == problem]
            cell = f"{sum(r.mean_error for r in found) / len(found):.2f}"
            spreads = [r.spread_error for r in found if r.spread_error is not None]
            if spreads:
                cell += f" / {sum(spreads) / len(spreads):.2f}"
            cells.append(cell)
        evaluations = max(r.evaluations for r in rows if r.method == method)
        lines.append(f"| {method} | {' | '.join(cells)} | {evaluations} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--method", action="append", choices=list(METHODS), help="default: all")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--table", type=Path, metavar="FILE", help="print the rows of FILE again")
    given = parser.parse_args()
    if given.table is not None:
        kept = [Row(**told) for told in json.loads(given.table.read_text())]
        print(f"{table(kept)}\n\n{summary(kept)}")
        return
    torch.set_num_threads(1)
    rows: list[Row] = []
    for (prior_name, prior), (operator_name, operator), noise in product(
        priors().items(), operators().items(), NOISES
    ):
        problem, posterior = measured(prior, operator, noise)
        for method in given.method or METHODS:
            names = (prior_name, method, operator_name)
            rows.append(row(names, prior, problem, posterior))
            if given.json is not None:
                with whole(given.json) as partial:
                    partial.write_text(json.dumps([asdict(r) for r in rows], indent=1) + "\n")
    print(
        f"{table(rows)}\n\nmean_error / spread_error, means over the operators:\n\n{summary(rows)}"
    )


if __name__ == "__main__":
    main()
