"""Operators that are a product of one small matrix per axis.

Most operators of video restoration act on each axis by itself: ``A = T (x) C (x) H (x) W`` over
(frames, channels, height, width), perhaps followed by a mask. For an operator that
provides these factors, the damped normal equations are solved exactly
(:class:`visionxl.solvers.ClosedForm`), by the separable singular value decomposition of
DDRM (Kawar et al. 2022) with time as one more axis.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from attrs import frozen
from torch import Tensor

from visionxl.errors import InputError

Shape = tuple[int, int, int, int]
FROZEN = (
    "make it a frozen value of parts that have a hash (for an array, nested tuples), or one that "
    "is equal to itself alone: attrs.frozen(eq=False), dataclass(eq=False)"
)
"""How to make an operator hashable."""


@frozen(eq=False)
class Factors:
    """``A = mask * (T (x) C (x) H (x) W)``.

    Args:
        axes: for frames, channels, height and width a float64 matrix (measured size x video
            size), or None for the identity.
        mask: of 0 and 1, with four axes of the video's size or of 1, or None. It is allowed only
            where height, width and all axes along which it changes are the identity, so that it
            commutes with the other axes.
    """

    axes: tuple[Tensor | None, ...] = (None, None, None, None)
    mask: Tensor | None = None

    def __attrs_post_init__(self) -> None:
        axes = self.axes if isinstance(self.axes, tuple) else (self.axes,)
        if len(axes) != 4 or not all(isinstance(axis, Tensor | None) for axis in axes):
            given = ", ".join(type(axis).__name__ for axis in axes)
            raise InputError(
                f"axes ({given}): expected a tuple of four matrices, for frames, channels, height "
                "and width, with None for an axis that is left alone"
            )
        if not isinstance(self.mask, Tensor | None):
            raise InputError(f"mask {self.mask!r} is no tensor: give one of four axes, or None")
        if self.mask is not None and (self.mask.ndim != 4 or _meet(self.axes, self.mask)):
            raise InputError(
                f"mask of shape {tuple(self.mask.shape)}: expected four axes, and no matrix for "
                "height, width or an axis along which it changes; make factors() return None"
            )
        # On the meta device there are no values to look at.
        if self.mask is not None and not self.mask.is_meta:
            other = self.mask[(self.mask != 0) & (self.mask != 1)]
            if len(other):
                raise InputError(
                    f"mask has the value {other[0].item():g}: expected 0 and 1, which the exact "
                    "solution relies on; make factors() return None"
                )

    def measured(self, shape: Shape) -> Shape:
        """The measurement's shape for a video of ``shape``."""
        frames, channels, height, width = (
            size if axis is None else axis.shape[0]
            for size, axis in zip(shape, self.axes, strict=True)
        )
        return frames, channels, height, width


@runtime_checkable
class Factored(Protocol):
    """An operator that may know its factors.

    It has to be hashable and must not change: its decomposition is kept between steps.
    """

    @abstractmethod
    def factors(self, shape: Shape) -> Factors | None:
        """The factors for a video of ``shape``, or None where it has none."""
        ...


def factors_of(operator: object, shape: Shape) -> Factors | None:
    """The factors of any operator: None for one that does not offer them."""
    return operator.factors(shape) if isinstance(operator, Factored) else None


def on_axis(axis: int, matrix: Tensor) -> Factors:
    """Factors with one matrix on one axis."""
    return Factors(tuple(matrix if i == axis else None for i in range(4)))


def matrix_of(action: Callable[[Tensor], Tensor], axis: int, size: int) -> Tensor:
    """The matrix of a linear action on one axis, read off its answers to the unit vectors."""
    units = torch.eye(size, dtype=torch.float64)
    other = 3 if axis != 3 else 2  # the unit vectors lie along an axis the action leaves alone
    shape = [1, 1, 1, 1]
    shape[axis], shape[other] = size, size
    video = units.reshape(shape) if axis < other else units.T.reshape(shape)
    answer = action(video).movedim((axis, other), (0, 1))
    return answer.reshape(answer.shape[0], size)


def compose_factors(outer: Factors, inner: Factors) -> Factors | None:
    """The factors of ``outer @ inner``, or None where a mask and a factor share an axis."""
    mask = outer.mask
    if inner.mask is not None:
        mask = inner.mask if mask is None else inner.mask * mask
    axes = tuple(map(_product, outer.axes, inner.axes))
    return None if mask is not None and _meet(axes, mask) else Factors(axes, mask)


def _meet(axes: tuple[Tensor | None, ...], mask: Tensor) -> bool:
    """Whether a matrix mixes values along an axis on which a mask may differ."""
    changes = (mask.shape[0] > 1, mask.shape[1] > 1, True, True)
    return any(c and axis is not None for c, axis in zip(changes, axes, strict=True))


def _product(left: Tensor | None, right: Tensor | None) -> Tensor | None:
    if left is None or right is None:
        return right if left is None else left
    return left @ right
