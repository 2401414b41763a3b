"""How far an estimate may be from the truth, and the damping that follows."""

import math
from collections.abc import Callable
from typing import Any

from attrs import field, frozen

from visionxl.errors import InputError
from visionxl.protocols import (
    InverseProblem,
    NoiseLevel,
)
from visionxl.validators import above_zero, check_number, from_zero

Spread = Callable[[NoiseLevel], float]
"""``r_t``: the estimate's standard deviation around the truth, in units of the video's range."""

LEAST_NOISE = 2e-4
"""Stands for the noise of a measurement that has none, so that the equations stay well posed."""

FARTHEST = 4.0  # twice as far as two videos in [-1, 1] can be apart


def is_spread(_: object, attribute: Any, value: object) -> None:
    """attrs validator: a function of the noise level."""
    if isinstance(value, type) or not callable(value):
        raise InputError(
            f"{attribute.name} {value!r} is no function of the noise level: give a value such as "
            "ConstantSpread(0.1) or ScheduleSpread()"
        )


@frozen
class ScheduleSpread:
    """``r_t^2 = (scale * noise / signal)^2 + floor^2``, with ``r_t`` at most 4.

    ``noise / signal`` is how uncertain a latent alone leaves its clean one: unbounded if a schedule
    ends in noise alone, as a flow's does; but no two videos are farther apart than the bound.

    The defaults are round and safe, not fitted to any prior: for the pocket prior ``r_t`` is 2.7 to
    4.5 times the root mean square error of what it decodes (``pocket/CARD.md``), which trusts the
    measurement more than necessary.

    Args:
        scale: the error in pixels for an error of 1 in the latents, less what the denoiser knows.
        floor: the error that remains at the clean end: the autoencoder's, and more.
    """

    scale: float = field(default=0.25, validator=from_zero)
    floor: float = field(default=0.07, validator=from_zero)

    def __call__(self, level: NoiseLevel) -> float:
        """``r_t``, in units of the video's range."""
        if self.scale * level.noise >= FARTHEST * level.signal:
            return FARTHEST
        return min(FARTHEST, math.hypot(self.scale * level.noise / level.signal, self.floor))


@frozen
class WienerSpread:
    """``1 / r_t^2 = 1 / std^2 + (signal / noise)^2``: for a white Gaussian given ``z_t``.

    Args:
        std: prior standard deviation of the pixels, in units of the video's range.
    """

    std: float = field(default=0.3, validator=above_zero)

    def __call__(self, level: NoiseLevel) -> float:
        """``r_t``, in units of the video's range."""
        return 1 / math.hypot(1 / self.std, level.signal / level.noise)


def _from_zero(_: object, __: object, value: Any) -> None:
    check_number("value", value, lambda v: v >= 0, "a number from 0, or infinity")


@frozen
class ConstantSpread:
    """The same ``r_t`` at every level.

    Args:
        value: in units of the video's range; infinity for an estimate without information.
    """

    value: float = field(validator=_from_zero)

    def __call__(self, level: NoiseLevel) -> float:
        """``r_t``, in units of the video's range."""
        return self.value


def damping_of(
    problem: InverseProblem, level: NoiseLevel, spread: Spread, least_noise: float
) -> float:
    """``sigma_y^2 / r_t^2``. Raises InputError for a spread of 0, which would correct nothing."""
    around = spread(level)
    if not around > 0:
        raise InputError(
            f"spread {spread!r} is {around} at time {level.time}, as if the estimate were already "
            "right: make it return a number above 0"
        )
    return (max(problem.noise_std, least_noise) / around) ** 2
