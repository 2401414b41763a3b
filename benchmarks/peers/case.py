"""One inverse problem of the benchmark, and what a method answers to it."""

from collections.abc import Callable

import torch
from attrs import evolve, frozen

from visionxl import InverseProblem, Video, simulate
from visionxl.operators import task_named
from visionxl.protocols import LatentPrior


@frozen(eq=False)
class Case:
    """A measured clip with its truth.

    Args:
        truth: the clip, (frames, channels, height, width) in [-1, 1].
        task: one of ``visionxl.operators.TASKS``.
        noise: standard deviation of the measurement's noise, in units of the range [-1, 1].
        seed: of the mask, the noise and the method.
        problem: what a method may see. Only an oracle looks at ``truth``.
    """

    truth: Video
    task: str
    noise: float
    seed: int
    problem: InverseProblem

    @classmethod
    def make(
        cls, truth: Video, task: str, noise: float, seed: int, device: torch.device | str = "cpu"
    ) -> "Case":
        """Measure a clip: the same arguments give the same problem, on ``device``."""
        generator = torch.Generator().manual_seed(seed)
        frames, _, height, width = truth.shape
        operator = task_named(task)(frames, height, width, generator)
        problem = simulate(truth, operator, noise, generator=generator)
        problem = evolve(problem, measurement=problem.measurement.to(device))
        return cls(truth.to(device), task, noise, seed, problem)


@frozen(eq=False)
class Estimate:
    """A method's answer.

    Args:
        video: the restored clip.
        evaluations: of the denoising network, for one frame.
        note: what an oracle chose, such as ``weight 0.003``; empty where there was no choice.
    """

    video: Video
    evaluations: int = 0
    note: str = ""


Method = Callable[[Case, LatentPrior], Estimate]
"""A row of the benchmark. Classical methods leave the prior alone."""
