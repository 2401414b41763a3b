"""The small parts of a step: times and low-pass."""

import math
from numbers import Integral, Real
from typing import Any

from attrs import field, frozen

from visionxl.errors import InputError
from visionxl.operators.blur import gaussian_taps
from visionxl.operators.filtering import correlate_separable
from visionxl.protocols import NoiseLevel, Video
from visionxl.validators import from_zero

TOTAL = 1000  # times that denoisers are trained with


def leading_times(count: int = 25, start: float = 0.3) -> tuple[float, ...]:
    """``count`` leading-spaced times of 1000, those up to ``start``, from late to early.

    The paper's grid and, if ``count`` divides 1000, DDIM's of Stable Diffusion (an offset of 1): 25
    up to 0.3 are 281, 241, ..., 1, as fractions of 1000.

    Args:
        count: times over the whole schedule, 1 to 1000.
        start: the latest time that is used, 0 to 1 (the paper's tau).
    """
    _check_grid(count, start)
    grid = [1 + step * TOTAL // count for step in range(count)]
    times = tuple(t / TOTAL for t in reversed(grid) if t <= round(start * TOTAL))
    if not times:
        raise InputError(f"start {start} leaves no time: the earliest of the grid is {1 / TOTAL}")
    return times


def trailing_times(count: int, start: float = 1.0) -> tuple[float, ...]:
    """``count`` trailing-spaced times of 1000, those up to ``start``, from late to early.

    The grid that few-step models are distilled for: 4 are 999, 749, 499 and 249, as fractions of
    1000 (Lin et al. 2024).

    Args:
        count: times over the whole schedule, 1 to 1000.
        start: the latest time that is used, 0 to 1.
    """
    _check_grid(count, start)
    grid = [round(TOTAL * (count - step) / count) - 1 for step in range(count)]
    # Without duplicates: with ``count`` near ``TOTAL`` the earliest time would occur twice.
    times = tuple(dict.fromkeys(max(t, 1) / TOTAL for t in grid if t <= round(start * TOTAL)))
    if not times:
        raise InputError(f"start {start} leaves no time: the earliest is {grid[-1] / TOTAL}")
    return times


def _check_grid(count: Any, start: Any) -> None:
    whole = isinstance(count, Integral) and not isinstance(count, bool)
    if not whole or not 1 <= int(count) <= TOTAL:
        raise InputError(f"count {count!r} of times: expected 1 to {TOTAL}")
    if not isinstance(start, Real) or not 0 <= float(start) <= 1:
        raise InputError(f"start {start!r}: expected a number from 0 to 1, the latest time")


@frozen
class ScheduledLowPass:
    """A Gaussian low-pass of ``sigma_t = strength * sqrt(1 - alpha_bar_t)`` pixels.

    It removes what the encoder cannot represent, less at every step (VISION-XL).

    Args:
        strength: the paper's is sqrt(2); 0 leaves the video unchanged.
    """

    strength: float = field(default=math.sqrt(2), validator=from_zero)

    def __call__(self, video: Video, level: NoiseLevel) -> Video:
        """The filtered video, of the same shape."""
        sigma = self.strength * level.noise
        # Below a tenth of a pixel the taps beside the centre are less than 1e-21.
        if sigma < 0.1:
            return video
        return correlate_separable(video, gaussian_taps(sigma), "reflect")
