"""What test_distributed.py runs in one process and, by torchrun, in several.

torchrun --nproc-per-node 2 tests/split_cases.py equal OUTPUT [MODEL]
torchrun --nproc-per-node 2 tests/split_cases.py killed
"""

import json
import os
import signal
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import save_file

from visionxl import (
    DiffusersPrior,
    GaussianPrior,
    InputError,
    NoiseLevel,
    simulate,
    vision_tv,
    vision_xl,
)
from visionxl.distributed import (
    Processes,
    SplitDampedCG,
    SplitOperator,
    processes,
    split_restore,
)
from visionxl.operators import AveragePool, Mask, RollingShutter, TemporalAverage
from visionxl.operators.cutting import operator_at
from visionxl.solvers import DampedCG, hosted

SIZE = 32
METHODS = {"vision_xl": vision_xl, "vision_tv": vision_tv}
GAUSSIAN = [(method, frames) for method in METHODS for frames in (1, 2, 5, 7)]
NETWORKS = [("vision_xl", 1), ("vision_xl", 5), ("vision_tv", 2)]
MASKS = Mask(torch.rand(7, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(7)) < 0.5)
OPERATORS = {
    "circular": AveragePool(4) @ TemporalAverage(3),
    "wide": AveragePool(4) @ TemporalAverage(7),
    "zero": TemporalAverage(5, "zero") @ AveragePool(2),
    "replicate": TemporalAverage(5, "replicate"),
    "reflect": TemporalAverage(5, "reflect"),
    "shutter": RollingShutter(1.5, "reflect"),
    "still": AveragePool(4),
    "masks": MASKS @ TemporalAverage(3),
}


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


def random_video(frames, dtype=torch.float64):
    generator = torch.Generator().manual_seed(frames)
    return GaussianPrior.natural(SIZE, SIZE).sample(frames, 3, generator).to(dtype)


def problem_of(frames, dtype=torch.float64, operator=OPERATORS["circular"]):
    generator = torch.Generator().manual_seed(100 + frames)
    truth = random_video(frames, dtype)
    return simulate(truth, operator, noise_std=0.02, generator=generator)


def restored(
    prior, method, frames, together, dtype=torch.float64, seed=0, parts=None, count=4, **options
):
    with quiet():
        return split_restore(
            problem_of(frames, dtype),
            prior,
            METHODS[method](count=count, **(parts or {})),
            processes=together,
            generator=torch.Generator().manual_seed(seed),
            **options,
        ).video


@contextmanager
def quiet():
    """Without the warning of total variation, which is wrong for these videos."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the result does not explain")
        yield


def by_networks(model: Path, together: Processes):
    network = DiffusersPrior.from_pretrained(model)
    for method, frames in NETWORKS:
        video = restored(network, method, frames, together, torch.float32)
        yield f"network {method} {frames}", video


def by_known_priors(together: Processes):
    for method, frames in GAUSSIAN:
        prior = Seen(GaussianPrior.natural(SIZE, SIZE))
        yield f"gaussian {method} {frames}", restored(prior, method, frames, together)
        yield f"seen {method} {frames}", torch.tensor(together.exchange(prior.frames))
    split = SplitDampedCG(together)
    exact = GaussianPrior.natural(SIZE, SIZE)
    yield (
        "gaussian iterative 5",
        restored(exact, "vision_xl", 5, together, parts={"consistency": split}),
    )
    iterative = METHODS["vision_xl"](count=4, consistency=split)
    on_device = hosted(problem_of(5), iterative, "cpu")  # whose operator is on the device
    with quiet():
        found = split_restore(
            on_device[0],
            exact,
            on_device[1],
            processes=together,
            generator=torch.Generator().manual_seed(0),
        )
    yield "gaussian hosted iterative 5", found.video
    yield "gaussian gone on 5", gone_on(exact, together)
    for method in METHODS:  # more frames than are computed at once
        generator = torch.Generator().manual_seed(0)
        there = hosted(problem_of(23), METHODS[method](count=4), "cpu")
        with quiet():
            found = split_restore(
                there[0], exact, there[1], processes=together, generator=generator
            )
        yield f"gaussian hosted {method} 23", found.video


def gone_on(prior, together: Processes):
    """A run that is cut off after its first step; the first process alone has kept the state."""
    states = []
    restored(prior, "vision_xl", 5, together, observe=lambda step: states.append(step.following))
    assert bool(states) == together.first
    return restored(prior, "vision_xl", 5, together, state=states[0] if states else None)


def by_operators(together: Processes):
    level = NoiseLevel(0.1, 0.9, 0.4)
    for name, whole in OPERATORS.items():
        for frames in (1, 2, 5, 7):
            operator = operator_at(whole, range(frames), 7)
            own = together.part(frames)
            split = SplitOperator(operator, together, frames)
            video = random_video(frames)
            forward = together.gather(split.forward(video[own]), frames)
            yield f"forward {name} {frames}", forward
            backward = together.gather(split.adjoint(forward[own]), frames)
            yield f"adjoint {name} {frames}", backward
            problem = problem_of(frames, operator=operator)
            consistency = SplitDampedCG(together)
            yield f"cg {name} {frames}", consistency.correct(video, problem, level).video


def results(together: Processes, model: Path | None = None):
    """Tensors by case; that they are the same in every process is asserted."""
    found = {**dict(by_known_priors(together)), **dict(by_operators(together))}
    if model is not None:
        found.update(by_networks(model, together))
    for name, tensor in found.items():
        same = torch.equal(together.share(tensor), tensor)
        together.exchange(failure=None if same else AssertionError(f"{name} differs"))
    return found


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


def words(together: Processes):
    """What each process is told when something goes wrong; all of them can go on after it."""
    exact = GaussianPrior.natural(SIZE, SIZE)
    for grief in ("raising", "not a number"):
        try:
            failing = Failing(exact, together, GRIEFS[grief])
            restored(failing, "vision_xl", 5, together, count=10)
        except ValueError as error:
            yield grief, together.exchange(f"{type(error).__name__}: {error}")
    try:
        restored(exact, "vision_xl", 5, together, seed=together.rank)
    except InputError as error:
        yield "seed", together.exchange(str(error))
    other = {"consistency": DampedCG(iterations=5 + together.rank)}
    try:
        restored(exact, "vision_xl", 5, together, parts=other)
    except InputError as error:
        yield "sampler", together.exchange(str(error))


def main(case: str, output: str = "", model: str = "") -> None:
    torch.set_num_threads(1)
    with processes(timeout=60) as together:
        if case == "equal":
            found, told = results(together, Path(model) if model else None), dict(words(together))
            if together.first:
                save_file(found, output)
                Path(output).with_suffix(".json").write_text(json.dumps(told))
        else:
            prior = Failing(GaussianPrior.natural(SIZE, SIZE), together, GRIEFS[case])
            restored(prior, "vision_xl", 5, together, count=10)
    alive = [(task / "comm").read_text() for task in Path("/proc/self/task").glob("*")]
    assert not any("gloo" in name for name in alive)  # one that outlives Python aborts it


if __name__ == "__main__":
    main(*sys.argv[1:])
