"""Operators that make frames smaller."""

import torch
from attrs import field, frozen
from torch import Tensor
from torch.nn.functional import avg_pool2d

from visionxl.errors import InputError
from visionxl.operators.composition import Composable
from visionxl.operators.factors import Factors, Shape, matrix_of
from visionxl.operators.reach import Reach
from visionxl.protocols import Measurement, Video
from visionxl.validators import from_one


def check_divides(factor: int, video: Video) -> None:
    """Raise InputError where ``factor`` does not divide height and width."""
    for name, size in zip(("height", "width"), video.shape[-2:], strict=True):
        if size % factor:
            below = size - size % factor
            crop = f"crop to {below} or " if below else ""
            raise InputError(
                f"{name} {size} is not a multiple of the factor {factor}: "
                f"{crop}pad to {below + factor} (visionxl.fit_to, or simulate --size)"
            )


@frozen
class AveragePool(Composable):
    """The mean over blocks of ``factor`` x ``factor`` pixels.

    Forward: ``y[i, j] = mean of x over block (i, j)``. Adjoint: each value, divided by
    ``factor**2``, goes to every pixel of its block.

    Args:
        factor: block size; it has to divide height and width. The paper's is 4.
    """

    factor: int = field(default=4, validator=from_one)

    def reach(self) -> Reach:
        return Reach()

    def forward(self, video: Video) -> Measurement:
        check_divides(self.factor, video)
        return avg_pool2d(video, self.factor)

    def adjoint(self, measurement: Measurement) -> Video:
        rows = (measurement / self.factor**2).repeat_interleave(self.factor, dim=-2)
        return rows.repeat_interleave(self.factor, dim=-1)

    def factors(self, shape: Shape) -> Factors:
        def along(size: int) -> Tensor:
            block = torch.full((1, self.factor), 1 / self.factor, dtype=torch.float64)
            return torch.kron(torch.eye(size // self.factor, dtype=torch.float64), block)

        return Factors((None, None, along(shape[2]), along(shape[3])))


def cubic(x: Tensor) -> Tensor:
    """The cubic convolution kernel with a = -1/2 (Keys 1981)."""
    x = x.abs()
    near = (1.5 * x - 2.5) * x**2 + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


def bicubic_weights(size: int, factor: int) -> tuple[Tensor, Tensor]:
    """Source positions and float64 weights, both (size // factor, taps), of one axis.

    The kernel is stretched by the factor (antialiasing); taps beyond the border are left out and
    the rest normalised, as Pillow does.
    """
    centres = (torch.arange(size // factor, dtype=torch.float64) + 0.5) * factor - 0.5
    first = torch.ceil(centres - 2 * factor)
    positions = first[:, None] + torch.arange(4 * factor)
    weights = cubic((positions - centres[:, None]) / factor)
    weights = torch.where((positions >= 0) & (positions < size), weights, 0)
    return positions.clamp(0, size - 1).long(), weights / weights.sum(dim=1, keepdim=True)


def _shrink(frame: Tensor, dim: int, positions: Tensor, weights: Tensor) -> Tensor:
    result: Tensor | None = None
    column = [-1 if i == dim % frame.ndim else 1 for i in range(frame.ndim)]
    for place, weight in zip(positions.T, weights.T, strict=True):
        term = frame.index_select(dim, place) * weight.view(column)
        result = term if result is None else result.add_(term)
    assert result is not None  # a kernel has at least four taps
    return result


def _grow(frame: Tensor, dim: int, positions: Tensor, weights: Tensor, size: int) -> Tensor:
    column = [-1 if i == dim % frame.ndim else 1 for i in range(frame.ndim)]
    shape = list(frame.shape)
    shape[dim] = size
    result = frame.new_zeros(shape)
    for place, weight in zip(positions.T, weights.T, strict=True):
        result.index_add_(dim, place, frame * weight.view(column))
    return result


@frozen
class BicubicDownsample(Composable):
    """Bicubic reduction with antialiasing, as Pillow's ``BICUBIC`` and MATLAB's ``imresize``.

    Forward: each axis is weighted with Keys' kernel (a = -1/2) stretched by the factor; at the
    border the taps that remain are normalised (Pillow's rule; MATLAB reflects). Adjoint: each
    value is spread with the same weights.

    Args:
        factor: it has to divide height and width.
    """

    factor: int = field(default=4, validator=from_one)

    def _each_axis(self, size: int, like: Tensor) -> tuple[Tensor, Tensor]:
        positions, weights = bicubic_weights(size, self.factor)
        return positions.to(like.device), weights.to(like)

    def reach(self) -> Reach:
        return Reach()

    def forward(self, video: Video) -> Measurement:
        check_divides(self.factor, video)
        rows, columns = (self._each_axis(size, video) for size in video.shape[-2:])
        return torch.stack([_shrink(_shrink(frame, -2, *rows), -1, *columns) for frame in video])

    def adjoint(self, measurement: Measurement) -> Video:
        height, width = (self.factor * size for size in measurement.shape[-2:])
        rows, columns = (self._each_axis(size, measurement) for size in (height, width))
        frames = []
        for frame in measurement:
            wide = _grow(frame, -1, *columns, width)
            frames.append(_grow(wide, -2, *rows, height))
        return torch.stack(frames)

    def factors(self, shape: Shape) -> Factors:
        def along(axis: int) -> Tensor:
            positions, weights = bicubic_weights(shape[axis], self.factor)
            return matrix_of(lambda v: _shrink(v, axis, positions, weights), axis, shape[axis])

        return Factors((None, None, along(2), along(3)))
