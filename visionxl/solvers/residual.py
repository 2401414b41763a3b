"""How far a video is from its measurement."""

import math
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor

from visionxl.protocols import ForwardOperator, InverseProblem, Measurement, Video
from visionxl.solvers.cg import dot
from visionxl.solvers.hosted_operator import HostedOperator
from visionxl.solvers.windows import FrameSource

PART = 2**16  # values at once in sums over all of them: they stay in the processor's cache

# A result may miss y by this much, plus these multiples of the noise and of the size of y.
MISSED, NOISES, SIZES = 0.01, 2.0, 0.02
NEAR, NOISES_NEAR = 0.002, 1.25  # the same for a consistency with fits_noise
FAR, FEW = 2.0, 0.01  # times the range of the video and the measurement; a share of the values


def data_residual(problem: InverseProblem, video: Video) -> float:
    """Root mean square of ``y - A x``, in units of ``y``."""
    operator, measurement = problem.operator, problem.measurement
    if isinstance(operator, HostedOperator):
        return residual_in_pieces(operator.pieces(video), measurement)
    total = _square(operator.forward(video), measurement)
    return math.sqrt(total.item() / measurement.numel())


def residual_in_pieces(
    pieces: Iterator[tuple[slice, Measurement]], measurement: FrameSource
) -> float:
    """As :func:`data_residual`, from some frames of ``A x`` at a time.

    Args:
        pieces: frames of the measurement, and ``A x`` for them, in order.
        measurement: ``y``.
    """
    squares, count = [], 0
    for frames, answer in pieces:
        squares.append(_square(answer, measurement[frames].to(answer.device)))
        count += answer.numel()
    return math.sqrt(torch.stack(squares).sum().item() / count)


def is_near(residual: float, noise_std: float, gain: float = 1.0) -> bool:
    """Whether a result is about as far from its measurement as the noise, or nearer."""
    return residual <= NEAR * gain + NOISES_NEAR * noise_std


def check_result(
    problem: InverseProblem, consistency: object, video: Video, residual: float, gain: float
) -> None:
    """Warn of a result that is farther from its measurement than the noise, or far outside [-1, 1].

    A consistency whose results are no farther than the noise sets ``fits_noise = True``, as
    :class:`SpaceTimeTV` does. For others the threshold is higher.

    Args:
        problem: that was to be solved.
        consistency: of the method.
        video: the result.
        residual: how far it is from the measurement (:func:`data_residual`).
        gain: the operator's (:func:`~visionxl.solvers.gain.gain_of`).
    """
    y = problem.measurement
    size = math.sqrt(dot(y, y) / y.numel())
    missed = residual > MISSED * gain + NOISES * problem.noise_std + SIZES * size
    if getattr(consistency, "fits_noise", False):
        missed = not is_near(residual, problem.noise_std, gain)
    if size and missed:
        steep = ""
        if not isinstance(problem.operator, ForwardOperator):
            steep = (
                ", or a place where the operator is so steep that its linearization does not even "
                "hold nearby: bound its derivative"
            )
        warnings.warn(
            f"the result does not explain its measurement: y - A x is {residual:.3g}, where the "
            f"noise is {problem.noise_std:g} and y itself {size:.3g} (root mean squares). Look for "
            "a wrong operator or noise, too few steps, or a consistency that diverges or does "
            f"nothing (visionxl.testing.check_consistency){steep}",
            stacklevel=5,
        )
    bound = FAR * max(1.0, torch.linalg.vector_norm(y, math.inf).item() / gain)
    share = sum(int((frame.abs() > bound).sum()) for frame in video) / video.numel()
    if share > FEW:
        warnings.warn(
            f"{share:.0%} of the result's values are beyond {bound:.3g}, and a video's are between "
            "-1 and 1: it follows the errors of the measurement, or the prior's. Look for a wrong "
            f"operator, for more noise than noise_std {problem.noise_std:g} "
            "(visionxl.measurements.estimate_noise), or for a prior whose clean latents are beyond "
            "their range at high noise (visionxl.testing.check_prior)",
            stacklevel=5,
        )


def _square(answer: Tensor, measured: Tensor) -> Tensor:
    """``|answer - measured|^2``, float64, where they are: a GPU is not waited for."""
    size = PART if answer.device.type == "cpu" else 64 * PART  # a GPU wants few calls
    dots = []
    parts = zip(answer.flatten().split(size), measured.flatten().split(size), strict=True)
    for there, here in parts:  # short ones: a sum in float64 takes ten times as long
        apart = (there - here).to(torch.promote_types(answer.dtype, torch.float32))
        dots.append(torch.dot(apart, apart))
    return torch.stack(dots).sum(dtype=torch.float64)
