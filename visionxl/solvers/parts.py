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


def leading_times(count: int = 25, start: float = 0.3, total: int = 1000) -> tuple[float, ...]:
    """``count`` leading-spaced times of ``total``, those up to ``start``, from late to early.

    The paper's grid and, if ``count`` divides ``total``, DDIM's of Stable Diffusion (an offset of
    1): 25 of 1000, at most 300, are 281, 241, ..., 1, as fractions of 1000.

    Args:
        count: times over the whole schedule, 1 to ``total``.
        start: the latest time that is used, 0 to 1 (the paper's tau).
        total: times that the denoiser was trained with.
    """
    _check_grid(count, start, total)
    grid = [1 + step * total // count for step in range(count)]
    times = tuple(t / total for t in reversed(grid) if t <= round(start * total) and t <= total)
    if not times:
        raise InputError(f"start {start} leaves no time: the earliest of the grid is {1 / total}")
    return times


def trailing_times(count: int, start: float = 1.0, total: int = 1000) -> tuple[float, ...]:
    """``count`` trailing-spaced times of ``total``, those up to ``start``, from late to early.

    The grid that few-step models are distilled for: 4 of 1000 are 999, 749, 499 and 249, as
    fractions of 1000 (Lin et al. 2024).

    Args:
        count: times over the whole schedule, 1 to ``total``.
        start: the latest time that is used, 0 to 1.
        total: times that the denoiser was trained with.
    """
    _check_grid(count, start, total)
    grid = [round(total * (count - step) / count) - 1 for step in range(count)]
    # Without duplicates: with ``count`` near ``total`` the earliest time would occur twice.
    times = tuple(dict.fromkeys(max(t, 1) / total for t in grid if t <= round(start * total)))
    if not times:
        raise InputError(f"start {start} leaves no time: the earliest is {grid[-1] / total}")
    return times


def _check_grid(count: Any, start: Any, total: int) -> None:
    whole = isinstance(count, Integral) and not isinstance(count, bool)
    if not whole or not 1 <= int(count) <= total:
        raise InputError(f"count {count!r} of times: expected 1 to {total}")
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
