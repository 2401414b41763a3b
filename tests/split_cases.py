"""What test_distributed.py runs in one process and, by torchrun, in several.

    torchrun --nproc-per-node 2 tests/split_cases.py CASE MODEL OUTPUT
"""

import os
import signal
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from visionxl import DiffusersPrior, GaussianPrior, simulate, vision_tv, vision_xl
from visionxl.distributed import Processes, processes, split_restore
from visionxl.operators import AveragePool, TemporalAverage

SIZE = 32
METHODS = {"vision_xl": vision_xl, "vision_tv": vision_tv}
GAUSSIAN = [(method, frames) for method in METHODS for frames in (1, 2, 5, 7)]
NETWORKS = [("vision_xl", 1), ("vision_xl", 5), ("vision_tv", 2)]


class Seen:
    """A prior that counts the frames its denoiser is handed."""

    def __init__(self, prior):
        self.prior, self.frames = prior, 0

    @property
    def schedule(self):
        return self.prior.schedule

    def encode(self, video):
        return self.prior.encode(video)

    def decode(self, latent):
        return self.prior.decode(latent)

    def denoise(self, latent, level):
        self.frames += len(latent)
        return self.prior.denoise(latent, level)


def problem_of(frames, dtype=torch.float64):
    generator = torch.Generator().manual_seed(frames)
    truth = GaussianPrior.natural(SIZE, SIZE).sample(frames, 3, generator).to(dtype)
    operator = AveragePool(4) @ TemporalAverage(3)
    return simulate(truth, operator, noise_std=0.02, generator=generator)


def restored(prior, method, frames, together, dtype=torch.float64, **options):
    # DDIM's own start: every process could otherwise see one frame alone
    return split_restore(
        problem_of(frames, dtype),
        prior,
        METHODS[method](count=10),
        processes=together,
        generator=torch.Generator().manual_seed(0),
        **options,
    ).video


def results(model: Path, together: Processes):
    """Videos by case, the same in every process."""
    exact = GaussianPrior.natural(SIZE, SIZE)
    videos, seen = {}, {}
    for method, frames in GAUSSIAN:
        prior = Seen(exact)
        videos[f"gaussian {method} {frames}"] = restored(prior, method, frames, together)
        seen[f"seen {method} {frames}"] = torch.tensor(together.exchange(prior.frames))
    network = DiffusersPrior.from_pretrained(model)
    for method, frames in NETWORKS:
        videos[f"network {method} {frames}"] = restored(
            network, method, frames, together, torch.float32
        )
    for name, video in videos.items():
        first = together.share(video)
        together.exchange(None, None if torch.equal(first, video) else ValueError(name))
    return {**videos, **seen}


class Failing(Seen):
    """A prior that comes to grief in the last process at its third call."""

    def __init__(self, prior, together, grief):
        super().__init__(prior)
        self.grief, self.calls = grief, 0
        self.last = together.rank == together.size - 1

    def denoise(self, latent, level):
        self.calls += 1
        if self.last and self.calls == 3:
            return self.grief(super().denoise(latent, level))
        return super().denoise(latent, level)


def killed(_):
    os.kill(os.getpid(), signal.SIGKILL)


def raising(_):
    raise ValueError("the third call is one too many")


def not_a_number(denoised):
    denoised.clean.fill_(torch.nan)
    return denoised


GRIEFS = {"killed": killed, "raising": raising, "not a number": not_a_number}


def main(case: str, model: str, output: str) -> None:
    torch.set_num_threads(1)
    with processes(timeout=60) as together:
        if case == "equal":
            found = results(Path(model), together)
            if together.first:
                save_file(found, output)
        elif case == "other seeds":
            generator = torch.Generator().manual_seed(together.rank)
            prior = GaussianPrior.natural(SIZE, SIZE)
            split_restore(
                problem_of(3), prior, vision_xl(), processes=together, generator=generator
            )
        else:
            prior = Failing(GaussianPrior.natural(SIZE, SIZE), together, GRIEFS[case])
            restored(prior, "vision_xl", 5, together)


if __name__ == "__main__":
    main(*sys.argv[1:])
