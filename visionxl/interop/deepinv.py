"""Operators, problems and priors to and from deepinv (``pip install 'visionxl[deepinv]'``).

Range: deepinv's images ``u`` are in [0, 1], videos here ``x = 2 u - 1`` in [-1, 1]. An operator
is the same linear map ``A`` on both sides; only the measurement changes. deepinv's
``v = A u + n`` is ``y = 2 v - A 1 = A x + 2 n`` here, so noise is twice as strong in our units.

Batch: deepinv treats the first dimension as independent images, each with its own scalars in its
solvers. Time couples the frames of a video, so a whole video is one element of the batch:
(1, channels, frames, height, width).
"""

# pyright: reportMissingImports=false

from typing import Any

import torch
from deepinv.physics import GaussianNoise, LinearPhysics, ZeroNoise
from torch import Generator, Tensor

from visionxl.errors import InputError
from visionxl.interop.deepinv_operators import (
    DeepinvOperator,
    Layout,
    OperatorPhysics,
    from_deepinv,
    from_element,
    to_deepinv,
    to_element,
)
from visionxl.interop.deepinv_priors import prior_from_deepinv, prior_to_deepinv
from visionxl.protocols import ForwardOperator, InverseProblem

__all__ = [
    "DeepinvOperator",
    "Layout",
    "from_deepinv",
    "prior_from_deepinv",
    "prior_to_deepinv",
    "problem_from_deepinv",
    "problem_to_deepinv",
    "to_deepinv",
]


def problem_from_deepinv(
    physics: Any,
    measurement: Tensor,
    layout: Layout = "frames",
    *,
    shape: tuple[int, int, int, int] | None = None,
) -> InverseProblem:
    """A physics and what it measured, ``v = A u + n``, as an inverse problem.

    Args:
        physics: linear, with Gaussian noise of one deviation, or without noise.
        measurement: ``v``, (frames, ...) in the layout "frames". In the layout "video", and for
            a physics of :func:`to_deepinv`, one element, (1, ...).
        layout: as in :func:`from_deepinv`.
        shape: as in :func:`from_deepinv`.

    Returns:
        ``y = 2 v - A 1`` and twice the noise.

    Raises:
        InputError: as :func:`from_deepinv`, or for noise of another kind, or for a batch.
    """
    operator = from_deepinv(physics, layout, shape=shape)
    if layout == "video" or isinstance(physics, OperatorPhysics):
        if len(measurement) != 1:
            raise InputError(
                f"measurement of {tuple(measurement.shape)} is a batch of {len(measurement)}: "
                "a problem is one video, give measurement[i : i + 1]"
            )
        measurement = from_element(measurement[0])
    ours = 2 * measurement - _measured_ones(operator, measurement)
    return InverseProblem(operator, ours, _noise_std(physics))


def problem_to_deepinv(
    problem: InverseProblem, *, generator: Generator | None = None
) -> tuple[LinearPhysics, Tensor]:
    """An inverse problem as a physics and a measurement of deepinv, ``v = (y + A 1) / 2``.

    The measurement is a batch of one. ``physics.A_adjoint`` and deepinv's reconstructions have
    the shape (1, channels, frames, height, width), in [0, 1].
    """
    operator, measurement = problem.operator, problem.measurement
    physics = to_deepinv(operator, problem.noise_std, generator=generator)
    unit = (measurement + _measured_ones(operator, measurement)) / 2
    return physics, to_element(unit)[None]


def _measured_ones(operator: ForwardOperator, measurement: Tensor) -> Tensor:
    return operator.forward(torch.ones_like(operator.adjoint(measurement)))


def _noise_std(physics: Any) -> float:
    noise = physics.noise_model
    if isinstance(noise, ZeroNoise):
        return 0.0
    if isinstance(noise, GaussianNoise) and noise.sigma.numel() == 1:
        return 2 * noise.sigma.item()
    raise InputError(
        f"physics has the noise {type(noise).__name__}: expected ZeroNoise or GaussianNoise with "
        "one sigma; set physics.noise_model to the nearest GaussianNoise"
    )
