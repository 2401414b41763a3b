"""A process of a run over several: restores small problems and compares with one process."""

import os
import signal
import sys
from pathlib import Path

import torch
from attrs import evolve, frozen
from dense import generator

from visionxl import GaussianPrior, PocketPrior, restore, simulate, vision_tv, vision_xl
from visionxl.distributed import processes
from visionxl.errors import InputError
from visionxl.operators import AveragePool, Blur, GaussianBlur, TemporalAverage


def cases():
    natural = GaussianPrior.natural(16, 16)
    for frames in (1, 2, 5, 7):
        truth = natural.sample(frames, 3, generator())
        for operator in (AveragePool(2) @ TemporalAverage(3), Blur([[0.2, 0.5, 0.3]])):
            problem = simulate(truth, operator, 0.05, generator=generator(1))
            yield f"{frames} frames, {operator!r}", natural, problem, vision_xl()
    pocket = PocketPrior.load()
    truth = torch.rand(5, 3, 64, 64, generator=generator()) * 2 - 1
    problem = simulate(truth, GaussianBlur(1.0) @ TemporalAverage(3), 0.05, generator=generator(1))
    for name, method in (("xl", vision_xl(count=7)), ("tv", vision_tv(count=13))):
        yield f"pocket, {name}", pocket, problem, method


def equality(group):
    for name, prior, problem, method in cases():
        frames = len(problem.measurement)
        alone = restore(problem, prior, method, generator=generator(2))
        split = group.split(prior)
        together = restore(problem, split, method, generator=generator(2), frames_at_once=frames)
        apart = (together.video - alone.video).abs().max().item()
        if group.first:
            print(f"{name}: {apart}", flush=True)


@frozen(eq=False)
class Dying:
    """A prior that ends the process of a rank in its third denoising, by a signal or an error."""

    prior: GaussianPrior
    rank: int
    how: str
    calls: list

    @property
    def schedule(self):
        return self.prior.schedule

    def encode(self, video):
        return self.prior.encode(video)

    def decode(self, latent):
        return self.prior.decode(latent)

    def denoise(self, latent, level):
        self.calls.append(1)
        if int(os.environ["RANK"]) == self.rank and len(self.calls) == 3:
            if self.how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise InputError("the frames are too dark")
        return self.prior.denoise(latent, level)


def failing(group, how):
    natural = GaussianPrior.natural(16, 16)
    truth = natural.sample(6, 3, generator())
    problem = simulate(truth, AveragePool(2), 0.05, generator=generator(1))
    dying = group.split(Dying(natural, 1, how, []), 6)
    restore(problem, dying, vision_xl(), generator=generator(2), frames_at_once=6)


def other_problem(group):
    truth = GaussianPrior.natural(16, 16).sample(2, 3, generator())
    problem = simulate(truth, AveragePool(2), 0.05, generator=generator(1))
    group.check_same(problem)
    group.check_same(evolve(problem, noise_std=0.05 + group.rank))


def main():
    torch.set_num_threads(1)
    what = sys.argv[1]
    Path(f"{what}-{os.environ['RANK']}.pid").write_text(str(os.getpid()))
    with processes() as group:
        if what == "equality":
            equality(group)
        elif what == "problem":
            other_problem(group)
        else:
            failing(group, what)


if __name__ == "__main__":
    main()
