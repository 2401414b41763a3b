"""The exact solution against ten conjugate gradient steps, in time and in what is left over.

    python benchmarks/consistency.py --height 384 --width 640

One correction of ``deblur+`` (blur and average) for 25 frames: seconds of each, their ratio, and
the relative residual of the damped normal equations that each leaves.
"""

import argparse
import time

import torch
from words import count, noise

from visionxl import ClosedForm, DampedCG, simulate
from visionxl.operators import TASKS, normal
from visionxl.priors import DiscreteSchedule
from visionxl.solvers.spread import damping_of


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--height", type=count, default=384)
    parser.add_argument("--width", type=count, default=640)
    parser.add_argument("--frames", type=count, default=25)
    parser.add_argument("--noise", type=noise, default=0.01)
    options = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    frames, height, width = options.frames, options.height, options.width
    video = torch.rand(frames, 3, height, width, generator=generator)
    operator = TASKS["deblur+"](frames, height, width, generator)
    problem = simulate(video, operator, options.noise, generator=generator)
    level = DiscreteSchedule.stable_diffusion().level(0.121)
    estimate = torch.zeros_like(video)

    def timed(solver):
        began = time.perf_counter()
        corrected = solver.correct(estimate, problem, level).video
        return time.perf_counter() - began, corrected

    def left_over(corrected):
        damping = damping_of(problem, level, ClosedForm().spread, ClosedForm().least_noise)
        right = operator.adjoint(problem.measurement)
        return (
            (normal(operator, corrected) + damping * corrected - right).norm() / right.norm()
        ).item()

    first, _ = timed(ClosedForm())
    exact, solution = timed(ClosedForm())
    steps, approximation = timed(DampedCG(iterations=10, tolerance=0))
    once = first - exact
    print(f"closed form {exact:.2f} s ({once:.2f} s once), residual {left_over(solution):.1e}")
    print(f"ten CG steps {steps:.2f} s, residual {left_over(approximation):.1e}")
    print(f"ratio {steps / exact:.1f}")


if __name__ == "__main__":
    main()
