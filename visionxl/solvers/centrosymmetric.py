"""SVD of centrosymmetric matrices, by their symmetric and antisymmetric halves."""

import math

import torch
from torch import Tensor

ALIKE = 1e-14  # a share of the largest entry


def centrosymmetric_svd(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The thin SVD, ``matrix = left @ diag(values) @ right.T``, the values falling.

    A centrosymmetric matrix, ``A[i, j] = A[-1 - i, -1 - j]``, takes symmetric vectors to symmetric
    ones and antisymmetric vectors to antisymmetric ones (Cantoni & Butler 1976). Its two halves are
    decomposed separately, with a quarter of the work. Symmetric kernels have such matrices if both
    borders are alike; so do averages of neighbours. Other matrices are decomposed as usual.

    Args:
        matrix: of any shape.

    Returns:
        ``left``, ``values`` and ``right``.
    """
    scale = matrix.abs().max().item()
    if (matrix.flip(0, 1) - matrix).abs().max().item() > ALIKE * scale:
        left, values, right = torch.linalg.svd(matrix, full_matrices=False)
        return left, values, right.T
    parts = []
    for sign in (1, -1):
        half = _folded(_folded(matrix, sign).T, sign).T
        left, values, right = torch.linalg.svd(half, full_matrices=False)
        rows, columns = matrix.shape
        parts.append((_unfolded(left, sign, rows), values, _unfolded(right.T, sign, columns)))
    left, values, right = (torch.cat(both, dim=-1) for both in zip(*parts, strict=True))
    order = values.argsort(descending=True)
    return left[:, order], values[order], right[:, order]


def _folded(matrix: Tensor, sign: int) -> Tensor:
    """What the rows' symmetric part is (sign 1), or the antisymmetric one (-1): half as many rows.

    With an odd number of rows the middle one is symmetric.
    """
    half = len(matrix) // 2
    folded = (matrix[:half] + sign * matrix.flip(0)[:half]) / math.sqrt(2)
    middle = matrix[half : len(matrix) - half] if sign > 0 else matrix[:0]
    return torch.cat([folded, middle])


def _unfolded(vectors: Tensor, sign: int, rows: int) -> Tensor:
    """The way back."""
    half = rows // 2
    outer = vectors[:half] / math.sqrt(2)
    middle = vectors[half:] if sign > 0 else vectors.new_zeros(rows - 2 * half, vectors.shape[1])
    return torch.cat([outer, middle, sign * outer.flip(0)])
