"""What the papers of the methods claim, checked where the truth is known.

    python benchmarks/claims.py --json out.json

Of every method a claim or two, with the place where its paper makes it, checked on the priors and
operators of ``posterior.py``: five frames of 8x8, 64 answers. In each case a figure of the method
must not be above a limit: another method's figure, or rounding where the claim is mathematics.
The table has the case of every claim that is nearest to its limit, and in how many it holds.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import claim_cases as cases
import torch
from attrs import frozen

from visionxl.files import whole
from visionxl.solvers import METHODS


@frozen
class Claim:
    """``where``: of its paper; ``measure``: the figure; ``against``: the limit."""

    method: str
    claim: str
    where: str
    measure: str
    against: str
    cases: Callable[[], Iterator[cases.Case]]


MEAN = "mean error"
ROUNDING = "rounding"
CLAIMS = (
    Claim(
        "vision_tv",
        "frames that follow one another tell what one alone does not",
        "this library's",
        "error, a square that stands still or moves",
        "vision_xl",
        cases.space_and_time,
    ),
    Claim(
        "vision_tv",
        "following the motion is better than staying at the pixel",
        "this library's",
        "error, pans and a moving square",
        "the same without the motion",
        cases.along_the_motion,
    ),
    Claim(
        "vision_xl",
        "frames denoised one at a time give what the batch gives",
        "abstract (pseudo-batch)",
        "difference of the two",
        ROUNDING,
        cases.one_frame_at_a_time,
    ),
    Claim(
        "vision_xl",
        "latents inverted from the measurement are a better start",
        "abstract (inversion)",
        "error, frames that turn",
        "the same from noise",
        cases.informed_start,
    ),
    Claim(
        "gauss_newton",
        "linearizing at every estimate pays where the operator is not linear",
        "this library's",
        "error, clipped averages",
        "the clipping ignored",
        cases.clipped,
    ),
    Claim(
        "svi",
        "with synchronized noise, frames that are alike stay alike",
        "abstract",
        "largest frame difference, still frames",
        ROUNDING,
        cases.still_frames,
    ),
    Claim(
        "svi",
        "synchronized noise makes frames consistent",
        "abstract",
        "error of the frame differences",
        "dds",
        cases.frame_differences,
    ),
    Claim(
        "dds",
        "CG from the denoised estimate stays in its Krylov space",
        "abstract",
        "share of a step outside",
        ROUNDING,
        cases.krylov,
    ),
    Claim(
        "dds",
        "CG steps stand in for gradients through the denoiser",
        "abstract",
        MEAN,
        "latent_dps",
        partial(cases.beside, "dds", "latent_dps"),
    ),
    Claim(
        "diffpir",
        "no more than 100 evaluations are enough",
        "abstract",
        f"{MEAN} with 50",
        "latent_dps",
        partial(cases.beside, "diffpir", "latent_dps"),
    ),
    Claim(
        "ddnm",
        "without noise the result explains the measurement, whatever the denoiser says",
        "section 3.1",
        "residual, relative to y",
        ROUNDING,
        cases.whatever_the_prior,
    ),
    Claim(
        "ddnm_plus",
        "it bears the noise that DDNM amplifies",
        "section 3.3",
        MEAN,
        "ddnm",
        partial(cases.beside, "ddnm_plus", "ddnm"),
    ),
    Claim(
        "daps",
        "with exact draws of x given z_t and y, every level has the posterior's marginal",
        "proposition 1",
        "errors in standard deviations, 1024 answers of 5 steps",
        "twice those of exact draws",
        cases.exact_marginals,
    ),
    Claim(
        "latino",
        "8 evaluations, none differentiated, are enough",
        "abstract",
        f"{MEAN} with 8",
        "psld with 50",
        partial(cases.beside, "latino", "psld"),
    ),
    Claim(
        "latent_dps",
        "with noise, a likelihood is better than a projection onto the measurement",
        "abstract",
        MEAN,
        "dds",
        partial(cases.beside, "latent_dps", "dds"),
    ),
    Claim(
        "psld",
        "of a linear model the sample is recovered",
        "abstract",
        "error",
        ROUNDING,
        cases.recovered,
    ),
    Claim(
        "psld",
        "gluing the latents lowers the error",
        "section 3",
        MEAN,
        "latent_dps",
        cases.glued,
    ),
    Claim(
        "resample",
        "hard consistency: the measurement is explained to within its noise",
        "abstract",
        "residual, divided by the noise",
        "1",
        cases.explained,
    ),
)


def rows_of(claim: Claim) -> list[dict[str, Any]]:
    """One for every case."""
    told = {name: getattr(claim, name) for name in ("method", "claim", "where", "measure")}
    return [
        {
            **told,
            "against": claim.against,
            "case": case.name,
            "figure": float(f"{case.figure:.4g}"),
            "limit": float(f"{case.limit:.4g}"),
            "holds": case.figure <= case.limit,
        }
        for case in claim.cases()
    ]


def line(rows: list[dict[str, Any]]) -> str:
    """Of the table: a claim, its nearest case, and in how many it holds."""
    nearest = max(rows, key=lambda row: row["figure"] / row["limit"])
    held = sum(row["holds"] for row in rows)
    holds = ("yes" if held == len(rows) else "no") + f", {held} of {len(rows)}"
    compared = f"{nearest['figure']} against {nearest['limit']} ({nearest['case']})"
    told = (nearest[name] for name in ("method", "claim", "where", "measure", "against"))
    return f"| {' | '.join((*told, compared, holds))} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--method", action="append", choices=list(METHODS), help="default: all")
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    torch.set_num_threads(1)
    names = ("method", "claim", "where", "measure", "against", "nearest case", "holds")
    print(f"| {' | '.join(names)} |\n{'|---' * len(names)}|", flush=True)
    kept: list[dict[str, Any]] = []
    for claim in CLAIMS:
        if given.method is None or claim.method in given.method:
            rows = rows_of(claim)
            kept += rows
            print(line(rows), flush=True)
            if given.json is not None:
                with whole(given.json) as partial_file:
                    partial_file.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
