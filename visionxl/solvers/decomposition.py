"""The singular value decomposition of a factored operator, axis by axis, and kept."""

import math
from functools import lru_cache
from hashlib import sha256

import torch
from attrs import frozen
from torch import Tensor

from visionxl.errors import InputError
from visionxl.operators.factors import FROZEN, Factored, Shape, factors_of
from visionxl.solvers.centrosymmetric import centrosymmetric_svd

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
    """The SVD in float64, cached: the windows of a clip share the axes of a frame."""
    left, values, right = centrosymmetric_svd(matrix.values)
    kept = values > NEGLIGIBLE * values[0]
    return left[:, kept], values[kept], right[:, kept]


class _NoFactorsError(Exception):
    """An operator has no factors for this shape: raised, not returned, so that it is not cached."""


@lru_cache(maxsize=8)
def decompose(
    operator: Factored, shape: Shape, dtype: torch.dtype, device: torch.device
) -> Spectrum:
    """The singular value decomposition of every axis, and the mask as the operator has it.

    Cached for the last eight operators, because every step needs it again, and the windows of a
    clip alternate between several. Plain tensors, even if the caller is in inference mode.
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
    """The least damping that the dtype allows.

    Below it, modes whose singular value is nothing but rounding would be amplified.
    """
    rounding = NEGLIGIBLE if dtype == torch.float64 else NEGLIGIBLE_FLOAT32
    largest = math.prod(1.0 if svd is None else svd.values[0].item() for svd in axes)
    return (rounding * largest) ** 2
