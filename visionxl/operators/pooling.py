"""Operators that make frames smaller."""

import torch
from attrs import field, frozen
from torch import Tensor
from torch.nn.functional import avg_pool2d

from visionxl.errors import InputError
from visionxl.operators.composition import EachFrame
from visionxl.operators.factors import Factors, Shape
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
class AveragePool(EachFrame):
    """The mean over blocks of ``factor`` x ``factor`` pixels.

    Forward: ``y[i, j] = mean of x over block (i, j)``. Adjoint: each value, divided by
    ``factor**2``, goes to every pixel of its block.

    Args:
        factor: block size; it has to divide height and width. The paper's is 4.
    """

    factor: int = field(default=4, validator=from_one)

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


def bicubic_matrix(size: int, factor: int) -> Tensor:
    """The reduction of one axis, (size // factor, size), float64.

    The kernel is stretched by the factor (antialiasing); taps beyond the border are left out and
    the rest normalised, as Pillow does.
    """
    centres = (torch.arange(size // factor, dtype=torch.float64) + 0.5) * factor - 0.5
    weights = cubic((torch.arange(size) - centres[:, None]) / factor)
    return weights / weights.sum(dim=1, keepdim=True)


@frozen
class BicubicDownsample(EachFrame):
    """Bicubic reduction with antialiasing, as Pillow's ``BICUBIC`` and MATLAB's ``imresize``.

    Forward: each axis is weighted with Keys' kernel (a = -1/2) stretched by the factor; at the
    border the taps that remain are normalised (Pillow's rule; MATLAB reflects). Adjoint: each
    value is spread with the same weights.

    Args:
        factor: it has to divide height and width.
    """

    factor: int = field(default=4, validator=from_one)

    def forward(self, video: Video) -> Measurement:
        check_divides(self.factor, video)
        rows, columns = (bicubic_matrix(size, self.factor).to(video) for size in video.shape[-2:])
        return torch.stack([rows @ (frame @ columns.T) for frame in video])

    def adjoint(self, measurement: Measurement) -> Video:
        sizes = (self.factor * size for size in measurement.shape[-2:])
        rows, columns = (bicubic_matrix(size, self.factor).to(measurement) for size in sizes)
        return torch.stack([rows.T @ (frame @ columns) for frame in measurement])

    def factors(self, shape: Shape) -> Factors:
        rows, columns = (bicubic_matrix(size, self.factor) for size in shape[2:])
        return Factors((None, None, rows, columns))
