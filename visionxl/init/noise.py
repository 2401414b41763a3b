"""Starts that draw noise instead of inverting."""

import math
from collections.abc import Sequence

from attrs import field, frozen
from torch import Generator

from visionxl.operators.lifting import lift
from visionxl.protocols import InverseProblem, Latent, LatentPrior, NoiseLevel
from visionxl.randomness import draw_noise
from visionxl.validators import flag


@frozen
class Noise:
    """White Gaussian noise: the start of an ordinary sampler.

    Its variance is that of latents of unit variance at the first level, ``signal^2 + noise^2``,
    which is 1 where the schedule preserves it. It knows nothing of the measurement; begin with a
    late time, ``vision_xl(start=1.0)``.

    Args:
        shared: one draw for all frames; otherwise each frame has its own.
    """

    shared: bool = field(default=True, validator=flag)

    def start(
        self,
        problem: InverseProblem,
        prior: LatentPrior,
        levels: Sequence[NoiseLevel],
        generator: Generator,
    ) -> Latent:
        lifted = lift(problem.operator, problem.measurement)
        like = prior.encode(lifted[:1])  # tells the latents' size
        draw = draw_noise(like, 1 if self.shared else len(lifted), generator)
        size = math.hypot(levels[0].signal, levels[0].noise)
        return (size * draw).expand(len(lifted), -1, -1, -1)


@frozen
class EncodedBackProjection:
    """The lifted measurement, encoded, with one draw of noise for all frames: no inversion.

    ``z_t = signal_t E(lift(y)) + noise_t n``: SDEdit (Meng et al. 2022) with a shared draw.
    """

    def start(
        self,
        problem: InverseProblem,
        prior: LatentPrior,
        levels: Sequence[NoiseLevel],
        generator: Generator,
    ) -> Latent:
        encoded = prior.encode(lift(problem.operator, problem.measurement))
        noise = draw_noise(encoded, 1, generator)
        return encoded * levels[0].signal + noise * levels[0].noise
