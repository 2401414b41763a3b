"""Every row on a device, one after the other, and the floor below them."""

import gc
import time
import traceback
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import torch
from attrs import evolve, frozen

from scale.counting import META, Cost, frames_of, run_flop, stage_costs
from scale.networks import DTYPES, Networks, build, in_usual_order
from scale.records import Record, Setup
from scale.rows import ROWS, Run
from scale.watching import Watch
from visionxl import InverseProblem, Sampler, simulate
from visionxl.operators import TASKS
from visionxl.priors.compiling import compiled, warm_up
from visionxl.protocols import LatentPrior
from visionxl.solvers import hosted
from visionxl.solvers.decomposition import decompose, svd_of

TASK, NOISE = "deblur+", 0.01
TINY_AT_ONCE = 4  # frames in one call of the tiny autoencoder take what one does of the full one
SIDES = {"cuda": 8192, "cpu": 1024}  # of the matrices whose product is timed


def matmul_rate(device: torch.device, dtype: torch.dtype, seconds: float = 0.5) -> float:
    """Multiplications and additions a second, in the best product of large square matrices.

    Args:
        device: to measure.
        dtype: of the matrices.
        seconds: to go on for; the first product only warms up.
    """
    side = SIDES.get(device.type, 2048)
    # Random ones: a product of equal numbers takes less power, and so less time.
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    best, spent, repetitions = float("inf"), 0.0, 0
    while spent < seconds or repetitions < 2:
        began = time.perf_counter()
        torch.mm(a, b)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken = time.perf_counter() - began
        spent += taken
        best = min(best, taken) if repetitions else best
        repetitions += 1
    return 2 * side**3 / best


@frozen(eq=False)
class Bench:
    """Networks on a device, and what is the same for all rows.

    Args:
        setup: of the run, as the records tell it.
        device: of the networks.
        networks: on the device.
        ours: those of our rows: the same, or compiled.
        hollow: on the meta device, to count.
        rate: of matrix products.
    """

    setup: Setup
    device: torch.device
    networks: Networks
    ours: Networks
    hollow: Networks
    rate: float

    @classmethod
    def make(cls, config: dict[str, Any], setup: Setup, device: torch.device) -> "Bench":
        dtype = DTYPES[setup.dtype]
        rate = matmul_rate(device, dtype)
        networks = build(config, device, dtype)
        ours, hollow = ours_of(networks, setup), build(config, META, dtype)
        return cls(setup, device, networks, ours, hollow, rate)

    def under(self, setup: Setup) -> "Bench":
        """The same networks, on the same device and in the same dtype, otherwise set up."""
        return evolve(self, setup=setup, ours=ours_of(self.networks, setup))

    def place(self, problem: InverseProblem, sampler: Sampler) -> tuple[InverseProblem, Sampler]:
        """Ours, where videos are kept apart from the networks: computed on their device."""
        apart = torch.device(self.setup.video_device).type != self.device.type
        return hosted(problem, sampler, str(self.device)) if apart else (problem, sampler)

    def run_of(self, row: str, problem: InverseProblem) -> Run:
        """What a row is given; its watch begins now."""
        watch, at_once = Watch(self.device), self.at_once(row)
        if row == "paper":
            place, networks = (lambda *both: both), self.networks
        else:
            place, networks = self.place, self.ours
        return Run(problem, networks.full, networks.tiny, at_once, place, watch)

    def at_once(self, row: str) -> int:
        return 1 if row == "paper" else self.setup.frames_at_once

    def problem(self, row: str, height: int, width: int, frames: int) -> InverseProblem:
        """A measured video of noise. The paper's row has it on the device, in the networks' dtype,
        and no noise in the measurement; ours in float32 where videos are kept."""
        generator = torch.Generator().manual_seed(0)
        video = torch.rand(frames, 3, height, width, generator=generator) * 2 - 1
        operator = TASKS[TASK](frames, height, width, generator)
        if row == "paper":
            video = video.to(self.device, DTYPES[self.setup.dtype])
            return simulate(video, operator, generator=generator)
        problem = simulate(video.to(self.device), operator, NOISE, generator=generator)
        return evolve(problem, measurement=problem.measurement.to(self.setup.video_device))


def ours_of(networks: Networks, setup: Setup) -> Networks:
    """Those of our rows."""
    priors: list[Any] = [networks.full, networks.tiny]
    if setup.compiled:
        priors = [compiled(prior) for prior in priors]
    counts = zip(priors, (setup.vae_frames, TINY_AT_ONCE), strict=True)
    return Networks(*(evolve(p, codec=evolve(p.codec, frames_at_once=n)) for p, n in counts))


def measured(
    bench: Bench, height: int, width: int, frames: int, rows: list[str]
) -> Iterator[Record]:
    """A record of each row; one that fails tells the error, and the next goes on."""
    costs = stage_costs(bench.hollow, height, width)
    for row in rows:
        with in_usual_order(bench.networks) if row == "paper" else nullcontext():
            record = record_of(bench, row, height, width, frames, costs)
        yield record
        gc.collect()
        if bench.device.type == "cuda":
            torch.cuda.empty_cache()


def record_of(
    bench: Bench, row: str, height: int, width: int, frames: int, costs: dict[str, Cost]
) -> Record:
    """Warm up, run and watch a row."""
    decompose.cache_clear()  # every row pays for its own
    svd_of.cache_clear()
    flop, warming, iterations, error, stages = 0, 0.0, 0, None, {}
    try:
        flop = run_flop(frames_of(row, frames), costs)
        problem = bench.problem(row, height, width, frames)
        run = bench.run_of(row, problem)
        priors = [run.prior, run.tiny] if row.endswith("fast") else [run.prior]
        at_once = 2 if row == "paper" else bench.at_once(row)  # of the paper's, both prompts
        warming = warmed(priors, at_once, problem, height, width, frames)
        run = bench.run_of(row, problem)
        iterations = ROWS[row](run)
        run.watch.end("rest")
        stages = run.watch.stages
    except Exception as reason:  # out of memory above all
        error = f"{type(reason).__name__}: {(str(reason).splitlines() or [''])[0]}"
        traceback.print_exc()
    return Record(
        row=row,
        height=height,
        width=width,
        frames=frames,
        flop=flop,
        matmul_rate=bench.rate,
        warm_up_seconds=warming,
        iterations=iterations,
        stages=stages,
        error=error,
    )


def warmed(
    priors: list[LatentPrior],
    at_once: int,
    problem: InverseProblem,
    height: int,
    width: int,
    frames: int,
) -> float:
    """Run the networks with every number of frames that the run will ask for; the seconds."""
    counts = {1, min(at_once, frames), frames % at_once or at_once}
    device = problem.measurement.device
    return sum(
        warm_up(prior, count, height, width, device)
        for prior in priors
        for count in sorted(counts)
        if count <= frames
    )
