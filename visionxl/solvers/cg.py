"""The method of conjugate gradients (Hestenes & Stiefel 1952), generic and frugal."""

import math
from collections.abc import Callable

import torch
from attrs import frozen
from jaxtyping import Float
from torch import Tensor

from visionxl.operators.checks import normal as normal_of
from visionxl.protocols import NOT_A_NUMBER, Correction, ForwardOperator, Measurement, Video

CONVERGED = "converged"
USED_UP = "iterations used up"
INDEFINITE = (
    "breakdown: the operator is not positive definite; the adjoint may not be "
    "the transpose of forward (visionxl.operators.check_adjoint measures it, and "
    "visionxl.testing.check_operator says what to mend)"
)

Action = Callable[[Tensor], Tensor]


@frozen(eq=False)
class CGResult:
    """What :func:`conjugate_gradient` found.

    ``residuals[k]`` is ``|b - N x_k| / |b|`` (the recurrence's residual, absolute where ``b`` is
    0), from ``k = 0`` on; ``stopped`` is one of the reasons of this module.
    """

    solution: Tensor
    iterations: int
    residuals: tuple[float, ...]
    stopped: str


def dot(left: Tensor, right: Tensor) -> float:
    """The inner product over every dimension, summed over the first one in double precision."""
    if left.ndim < 2:
        return torch.dot(left.flatten(), right.flatten()).item()
    parts = [torch.dot(a.flatten(), b.flatten()) for a, b in zip(left, right, strict=True)]
    return torch.stack(parts).double().sum().item()


def conjugate_gradient(
    normal: Action,
    b: Float[Tensor, "*shape"],
    x0: Float[Tensor, "*shape"] | None,
    *,
    iterations: int = 10,
    tolerance: float = 0.0,
    inner_product: Callable[[Tensor, Tensor], float] = dot,
) -> CGResult:
    """Solve ``N x = b`` for a symmetric positive definite ``N``.

    One inner product runs over the whole tensor, so frames coupled by ``N`` are solved together.
    Beside ``b`` and ``x0`` it holds four tensors of their size and what ``normal`` needs. The
    arguments are not changed.

    Args:
        normal: ``N``, for instance ``lambda x: A.adjoint(A.forward(x))``.
        b: right-hand side, of any shape; float32 or float64.
        x0: where to start, of the same shape; None for zeros.
        iterations: at most this many.
        tolerance: it stops once ``|b - N x| <= tolerance * |b|``, and at the rounding error.
        inner_product: of two tensors; replace it if a tensor is only a part of the vector.

    Returns:
        The last iterate, also after a breakdown, with its history. Its residual need not be the
        smallest, because the residuals of conjugate gradients are not monotone.
    """
    rounding = 4 * torch.finfo(b.dtype).eps
    x = torch.zeros_like(b) if x0 is None else x0.clone()
    r = b.clone() if x0 is None else normal(x).neg().add_(b)
    size = math.sqrt(inner_product(b, b)) or 1.0
    if not math.isfinite(size):
        return CGResult(x, 0, (size,), NOT_A_NUMBER)
    del b, x0  # frees them if the caller does not hold them
    p = r.clone()
    squared = inner_product(r, r)
    residuals = [math.sqrt(squared) / size]
    # Rounding errors may lie in the null space of N: a step along them would be unbounded.
    tolerance = max(tolerance, rounding * max(1.0, residuals[0]))

    for iteration in range(iterations):
        if not math.isfinite(residuals[-1]):
            return CGResult(x, iteration, tuple(residuals), NOT_A_NUMBER)
        if residuals[-1] <= tolerance:
            return CGResult(x, iteration, tuple(residuals), CONVERGED)
        normal_p = normal(p)
        curvature = inner_product(p, normal_p)
        if not math.isfinite(curvature):
            return CGResult(x, iteration, tuple(residuals), NOT_A_NUMBER)
        if curvature <= 0:
            return CGResult(x, iteration, tuple(residuals), INDEFINITE)
        x.add_(p, alpha=squared / curvature)
        r.sub_(normal_p, alpha=squared / curvature)
        del normal_p
        squared, previous = inner_product(r, r), squared
        p.mul_(squared / previous).add_(r)
        residuals.append(math.sqrt(squared) / size)

    stopped = CONVERGED if residuals[-1] <= tolerance else USED_UP
    if not math.isfinite(residuals[-1]):
        stopped = NOT_A_NUMBER
    return CGResult(x, iterations, tuple(residuals), stopped)


def damped_cg(
    operator: ForwardOperator,
    measurement: Measurement,
    estimate: Video,
    damping: float,
    *,
    iterations: int,
    tolerance: float,
    inner_product: Callable[[Tensor, Tensor], float] = dot,
) -> Correction:
    """``x`` of ``(A^T A + damping) (x - x0) = A^T (y - A x0)``; see :func:`conjugate_gradient`."""
    found = conjugate_gradient(
        lambda x: normal_of(operator, x).add(x, alpha=damping),
        operator.adjoint(measurement - operator.forward(estimate)),
        None,
        iterations=iterations,
        tolerance=tolerance,
        inner_product=inner_product,
    )
    video = found.solution.add_(estimate)
    return Correction(video, found.iterations, found.residuals, found.stopped)
