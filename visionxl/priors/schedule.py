"""Noise schedules."""

import math
from itertools import pairwise
from typing import Any

from attrs import field, frozen

from visionxl.errors import InputError
from visionxl.protocols import NoiseLevel
from visionxl.validators import entries


def _alphas(values: Any) -> tuple[float, ...]:
    alphas = entries("alphas_cumprod", values, float, "numbers, such as scheduler.alphas_cumprod")
    falls = all(0 <= after <= before <= 1 for before, after in pairwise((1.0, *alphas)))
    if not alphas or not falls or alphas[-1] > 0.5:
        ends = f"{len(alphas)} numbers from {alphas[0]:.4g} to {alphas[-1]:.4g}" if alphas else "()"
        raise InputError(
            f"alphas_cumprod {ends}: expected the share of signal at each time, which falls from "
            "about 1 to about 0; give scheduler.alphas_cumprod, and not betas or alphas"
        )
    return alphas


@frozen(repr=False)
class DiscreteSchedule:
    """A variance-preserving schedule of a fixed number of times (DDPM, Ho et al. 2020).

    ``level(i / N)`` is that of training time ``i``: ``signal = sqrt(alpha_bar_i)``,
    ``noise = sqrt(1 - alpha_bar_i)``.

    Args:
        alphas_cumprod: ``alpha_bar_0, ..., alpha_bar_{N-1}``, falling, in [0, 1].
    """

    alphas_cumprod: tuple[float, ...] = field(converter=_alphas)

    @classmethod
    def stable_diffusion(cls) -> "DiscreteSchedule":
        """1000 times, beta from 0.00085 to 0.012, linear in its root: SD 1.5, SDXL, pocket."""
        first, last, count = 0.00085**0.5, 0.012**0.5, 1000
        product, alphas = 1.0, []
        for i in range(count):
            product *= 1 - (first + (last - first) * i / (count - 1)) ** 2
            alphas.append(product)
        return cls(alphas)

    def index(self, time: float) -> int:
        """The training time nearest to ``time`` in [0, 1]."""
        if not 0 <= time <= 1:
            raise InputError(f"time {time} is not in [0, 1]: 0 is clean and 1 is pure noise")
        return min(round(time * len(self.alphas_cumprod)), len(self.alphas_cumprod) - 1)

    def level(self, time: float) -> NoiseLevel:
        alpha = self.alphas_cumprod[self.index(time)]
        return NoiseLevel(time, math.sqrt(alpha), math.sqrt(1 - alpha))

    def __repr__(self) -> str:
        return f"DiscreteSchedule(<{len(self.alphas_cumprod)} times>)"
