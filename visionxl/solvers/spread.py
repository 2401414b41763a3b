"""How far an estimate may be from the truth, and the damping that follows."""

import math
from collections.abc import Callable
from numbers import Real
from typing import Any

import torch
from attrs import field, frozen
from torch import Tensor

from visionxl.errors import InputError
from visionxl.protocols import (
    ForwardOperator,
    InverseProblem,
    NoiseLevel,
    NonlinearOperator,
    Video,
)
from visionxl.randomness import draw_noise
from visionxl.validators import above_zero, from_zero

Spread = Callable[[NoiseLevel], float]
"""``r_t``: the estimate's standard deviation around the truth, in units of the video's range."""

LEAST_NOISE = 2e-4
"""Stands for the noise of a measurement that has none, so that the equations stay well posed."""

BLIND = 1e-5  # times what white noise is measured as: less is the rounding of what cancels
FARTHEST = 4.0  # twice as far as two videos in [-1, 1] can be apart
PROBE = 1728  # a seed that masks are not drawn with: noise of their seed would depend on them


def is_spread(_: object, attribute: Any, value: object) -> None:
    """attrs validator: a function of the noise level."""
    if isinstance(value, type) or not callable(value):
        raise InputError(
            f"{attribute.name} {value!r} is no function of the noise level: give a value such as "
            "ConstantSpread(0.1) or ScheduleSpread()"
        )


@frozen
class ScheduleSpread:
    """``r_t^2 = (scale * noise / signal)^2 + floor^2``, and at most 4.

    ``noise / signal`` is how far a latent alone leaves its clean one unknown: without end where a
    schedule ends in noise alone, as a flow's does, but no video is farther from another.

    The numbers are round and safe, and fitted to no prior: for the pocket prior ``r_t`` is 2.7 to
    4.5 times the root mean square error of what it decodes (``pocket/CARD.md``), which trusts the
    measurement more than it need.

    Args:
        scale: what an error of 1 in the latents is in pixels, less what the denoiser knows.
        floor: what is left at the clean end: the autoencoder's error, and more.
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
    """``1 / r_t^2 = 1 / std^2 + (signal / noise)^2``: of a white Gaussian given ``z_t``.

    Args:
        std: of the pixels before anything is known, in units of the video's range.
    """

    std: float = field(default=0.3, validator=above_zero)

    def __call__(self, level: NoiseLevel) -> float:
        """``r_t``, in units of the video's range."""
        return 1 / math.hypot(1 / self.std, level.signal / level.noise)


def _from_zero(_: object, __: object, value: object) -> None:
    if not isinstance(value, Real) or not float(value) >= 0:
        raise InputError(f"value {value!r} is not a number from 0, or infinity")


@frozen
class ConstantSpread:
    """The same ``r_t`` at every level.

    Args:
        value: in units of the video's range; infinity for an estimate that tells nothing.
    """

    value: float = field(validator=_from_zero)

    def __call__(self, level: NoiseLevel) -> float:
        """``r_t``, in units of the video's range."""
        return self.value


def gain_of(operator: ForwardOperator | NonlinearOperator, video: Video) -> float:
    """The measurement's unit: the root mean square of what a video of ones is measured as.

    1 for a blur, an average, a pooling or an orthonormal transform, the root of the known share for
    a mask, 127.5 times as much where values are counted in grey levels. Where ``A`` takes a video
    of ones to 0, as one of differences does, white noise is measured instead; for ``A = 0`` it is
    1.
    """
    even = _size(operator.forward(torch.ones_like(video)))
    if isinstance(operator, NonlinearOperator):  # which need not take values beyond [-1, 1]
        return even or 1.0
    noise = _size(operator.forward(_still_noise(video)))
    return (even if even > BLIND * noise else noise) or 1.0


def unit_of(operator: ForwardOperator | NonlinearOperator, video: Video) -> float:
    """As :func:`gain_of`, of the measured values that are not 0: 1 for a mask, too."""
    measured = operator.forward(torch.ones_like(video))
    gain, size = gain_of(operator, video), _size(measured[measured != 0])
    return size if size >= gain else gain


def is_fine(operator: ForwardOperator, video: Video, gain: float) -> bool:
    """Whether the measurement shows fine detail: white noise a third as strongly as an even grey.

    The noise is the same in all frames. A mask or an average over time shows it as strongly, a
    pooling of 4 x 4 pixels a quarter, a blur of 3 pixels a tenth.

    Args:
        operator: of the measurement.
        video: for its size.
        gain: the measurement's unit (:func:`gain_of`).
    """
    return _size(operator.forward(_still_noise(video))) > gain / 3


def _still_noise(video: Video) -> Video:
    """White noise of the video's size, the same in all frames and in every run."""
    noise = draw_noise(video, 1, torch.Generator().manual_seed(PROBE))
    return noise.expand_as(video).contiguous()  # operators may view what they measure


def _size(measured: Tensor) -> float:
    """Its root mean square."""
    return measured.norm().item() / math.sqrt(max(measured.numel(), 1))


def damping_of(
    problem: InverseProblem, level: NoiseLevel, spread: Spread, least_noise: float
) -> float:
    """``sigma_y^2 / r_t^2``. Raises InputError for a spread of 0: nothing would be corrected."""
    around = spread(level)
    if not around > 0:
        raise InputError(
            f"spread {spread!r} is {around} at time {level.time}, for an estimate that is right "
            "already: make it return a number above 0"
        )
    return (max(problem.noise_std, least_noise) / around) ** 2
