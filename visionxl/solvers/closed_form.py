"""The damped normal equations of a factored operator, solved exactly."""

import math
from functools import lru_cache
from hashlib import sha256

import torch
from attrs import field, frozen
from torch import Tensor

from visionxl.errors import InputError
from visionxl.operators.factors import FROZEN, Factored, Shape, factors_of
from visionxl.protocols import Correction, InverseProblem, NoiseLevel, Video
from visionxl.solvers.centrosymmetric import centrosymmetric_svd
from visionxl.solvers.contract import check_linear
from visionxl.solvers.spread import LEAST_NOISE, ScheduleSpread, Spread, damping_of, is_spread
from visionxl.validators import above_zero

NEGLIGIBLE = 1e-9  # singular values below this share of the largest are dropped
NEGLIGIBLE_FLOAT32 = 1e-5  # and below this share of an axis' largest carry nothing in float32


@frozen(eq=False)
class AxisSVD:
    """``matrix = left @ diag(values) @ right.T`` of one axis, thin."""

    left: Tensor
    values: Tensor
    right: Tensor


Spectrum = tuple[tuple[AxisSVD | None, ...], Tensor | None]
"""The decomposition of every axis, None for the identity, and the mask."""


class _Matrix:
    """A matrix that is known by its values."""

    def __init__(self, values: Tensor) -> None:
        self.values = values.cpu()
        kind = f"{self.values.dtype} {tuple(self.values.shape)} ".encode()
        self.digest = sha256(kind + self.values.numpy().tobytes()).digest()

    def __hash__(self) -> int:
        return hash(self.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Matrix) and self.digest == other.digest


@lru_cache(maxsize=8)
def svd_of(matrix: _Matrix) -> tuple[Tensor, Tensor, Tensor]:
    """In float64, and kept: the windows of a clip have the axes of a frame in common."""
    left, values, right = centrosymmetric_svd(matrix.values)
    kept = values > NEGLIGIBLE * values[0]
    return left[:, kept], values[kept], right[:, kept]


class _NoFactorsError(Exception):
    """An operator has none for this shape: raised, and not returned, so that it is not kept."""


@lru_cache(maxsize=8)
def decompose(
    operator: Factored, shape: Shape, dtype: torch.dtype, device: torch.device
) -> Spectrum:
    """The singular value decomposition of every axis, and the mask as the operator has it.

    Kept for the last eight operators, because every step needs it again, and the windows of a clip
    have several by turns. As usual tensors, whatever mode the caller is in.
    """
    with torch.inference_mode(False), torch.no_grad():
        factors = factors_of(operator, shape)
        if factors is None:
            raise _NoFactorsError
        decomposed = []
        for matrix in factors.axes:
            pieces = () if matrix is None else svd_of(_Matrix(matrix))
            parts = [piece.to(device, dtype).contiguous() for piece in pieces]
            decomposed.append(AxisSVD(*parts) if parts else None)
        return tuple(decomposed), factors.mask


def spectrum_of(operator: object, video: Tensor) -> Spectrum | None:
    """The decomposition of any operator for videos like this one; None without factors."""
    if not isinstance(operator, Factored):
        return None
    frames, channels, height, width = video.shape
    shape = frames, channels, height, width
    try:
        hash(operator)
    except TypeError as error:
        if factors_of(operator, shape) is None:
            return None
        raise InputError(f"{operator!r} has factors but no hash ({error}): {FROZEN}") from error
    try:
        axes, mask = decompose(operator, shape, video.dtype, video.device)
    except _NoFactorsError:
        return None
    return axes, None if mask is None else mask.to(video)


def along(video: Tensor, axis: int, matrix: Tensor) -> Tensor:
    """``matrix`` applied to one axis of a video."""
    if axis == 3:
        return video @ matrix.T
    if axis == 2:
        return matrix @ video
    if axis == 1:
        return torch.einsum("dc,fchw->fdhw", matrix, video)
    return (matrix @ video.flatten(1)).view(len(matrix), *video.shape[1:])


def least_damping(axes: tuple[AxisSVD | None, ...], dtype: torch.dtype) -> float:
    """Less would divide rounding errors by singular values that are themselves rounding."""
    rounding = NEGLIGIBLE if dtype == torch.float64 else NEGLIGIBLE_FLOAT32
    largest = math.prod(1.0 if svd is None else svd.values[0].item() for svd in axes)
    return (rounding * largest) ** 2


def solve_damped(axes: tuple[AxisSVD | None, ...], residual: Tensor, damping: float) -> Tensor:
    """``(A^T A + damping)^-1 A^T residual`` for ``A`` the product of the axes."""
    damping = max(damping, least_damping(axes, residual.dtype))
    for axis, svd in enumerate(axes):
        if svd is not None:
            residual = along(residual, axis, svd.left.T)
    frames, channels, rows, columns = (
        residual.new_ones(size) if svd is None else svd.values
        for size, svd in zip(residual.shape, axes, strict=True)
    )
    plane = channels[:, None, None] * rows[:, None] * columns
    solution = torch.empty_like(residual)
    for value, source, target in zip(frames, residual, solution, strict=True):
        gain = plane * value
        torch.mul(source, gain.div_(gain.square().add_(damping)), out=target)
    for axis, svd in enumerate(axes):
        if svd is not None:
            solution = along(solution, axis, svd.right)
    return solution


@frozen
class ClosedForm:
    """Noise-aware consistency, solved exactly, for operators with :class:`Factors`.

    Minimises ``|y - A x|^2 / sigma_y^2 + |x - x0|^2 / r_t^2``: with ``A = U S V^T`` per axis,
    ``x = x0 + V (S / (S^2 + sigma_y^2 / r_t^2)) U^T (y - A x0)``. All frames are solved at once.

    Args:
        spread: ``r_t``, how far the estimate may be from the truth, from the noise level.
        least_noise: stands for ``sigma_y`` where the measurement has less.
    """

    spread: Spread = field(factory=ScheduleSpread, validator=is_spread)
    least_noise: float = field(default=LEAST_NOISE, validator=above_zero)

    def correct(self, estimate: Video, problem: InverseProblem, level: NoiseLevel) -> Correction:
        check_linear(problem, self)
        operator = problem.operator
        spectrum = spectrum_of(operator, estimate)
        if spectrum is None:
            raise InputError(
                f"ClosedForm needs an operator with factors, and {operator!r} has none for a "
                f"video of {tuple(estimate.shape)}: use NoiseAware or DampedCG"
            )
        axes, mask = spectrum
        residual = problem.measurement - operator.forward(estimate)
        if mask is not None:
            residual = residual * mask
        damping = damping_of(problem, level, self.spread, self.least_noise)
        video = solve_damped(axes, residual, damping).add_(estimate)
        return Correction(video, iterations=0, residuals=(), stopped="exact")
