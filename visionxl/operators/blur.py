"""Blurs of the image plane."""

import math
from typing import Any

import torch
from attrs import field, frozen
from torch import Tensor

from visionxl.errors import InputError
from visionxl.operators.boundary import Boundary, check_boundary
from visionxl.operators.composition import EachFrame
from visionxl.operators.factors import Factors, Shape
from visionxl.operators.filtering import (
    correlate_plane,
    correlate_plane_adjoint,
    correlate_separable,
    correlate_separable_adjoint,
    correlation_matrix,
)
from visionxl.operators.lifting import divide_where_seen
from visionxl.protocols import Video
from visionxl.validators import above_zero, array, finite


def gaussian_taps(sigma: float) -> list[float]:
    """A normalised Gaussian whose taps reach 10 sigma to either side (sigma 3: 61 taps)."""
    reach = math.ceil(10 * sigma)
    weights = [math.exp(-0.5 * (k / sigma) ** 2) for k in range(-reach, reach + 1)]
    total = math.fsum(weights)
    return [weight / total for weight in weights]


@frozen
class GaussianBlur(EachFrame):
    """A Gaussian blur, as two passes of one dimension.

    Forward: each row and each column is correlated with ``exp(-k^2 / 2 sigma^2)``, normalised,
    ``|k| <= ceil(10 sigma)``. Adjoint: the same taps, with the border folded back.
    Self-adjoint where the border is circular or zero.

    Args:
        sigma: standard deviation in pixels. The paper's is 3.0 with 61 taps and a reflecting
            border.
        boundary: what lies beyond the frame.
    """

    sigma: float = field(validator=above_zero)
    boundary: Boundary = field(default="reflect", validator=check_boundary)

    def forward(self, video: Video) -> Video:
        return correlate_separable(video, gaussian_taps(self.sigma), self.boundary)

    def adjoint(self, measurement: Video) -> Video:
        return correlate_separable_adjoint(measurement, gaussian_taps(self.sigma), self.boundary)

    def lift(self, measurement: Video) -> Video:
        return divide_where_seen(measurement, self.forward(torch.ones_like(measurement[:1, :1])))

    def factors(self, shape: Shape) -> Factors:
        taps = gaussian_taps(self.sigma)
        rows, columns = (correlation_matrix(taps, size, self.boundary) for size in shape[2:])
        return Factors((None, None, rows, columns))


def _kernel(value: Any) -> tuple[tuple[float, ...], ...]:
    kernel = array("kernel", value, "numbers, in a tensor, an array or lists", torch.float64)
    if kernel.ndim != 2 or kernel.shape[0] % 2 == 0 or kernel.shape[1] % 2 == 0:
        raise InputError(
            f"kernel of shape {tuple(kernel.shape)} has no centre: give two odd sizes, "
            "padding it with a row or column of zeros"
        )
    if not torch.isfinite(kernel).all():
        raise InputError("kernel has values that are not finite: every tap must be a number")
    return tuple(tuple(row) for row in kernel.tolist())


@frozen
class Blur(EachFrame):
    """Correlation with a kernel of two dimensions, the same for every frame and channel.

    Forward: ``y[i, j] = sum_ab kernel[a, b] x[i + a - centre, j + b - centre]``. Adjoint: each
    pixel is spread by the kernel and the border is folded back.

    Args:
        kernel: (height, width), both odd: a tensor, an array or nested lists. It is taken as it
            is, without normalisation.
        boundary: what lies beyond the frame.
    """

    kernel: tuple[tuple[float, ...], ...] = field(
        converter=_kernel, repr=lambda k: f"<{len(k)}x{len(k[0])}>"
    )
    boundary: Boundary = field(default="reflect", validator=check_boundary)

    def forward(self, video: Video) -> Video:
        return correlate_plane(video, self.kernel, self.boundary)

    def adjoint(self, measurement: Video) -> Video:
        return correlate_plane_adjoint(measurement, self.kernel, self.boundary)

    def lift(self, measurement: Video) -> Video:
        gain = self.forward(torch.ones_like(measurement[:1, :1]))
        terms = sum(abs(tap) for row in self.kernel for tap in row)
        return divide_where_seen(measurement, gain, terms)


def motion_kernel(length: float, angle: float) -> Tensor:
    """A line of ``length`` pixels through the centre, spread bilinearly on the grid; sums to 1."""
    reach = math.ceil(length / 2)
    count = 16 * math.ceil(length) + 1
    along = torch.linspace(-0.5, 0.5, count, dtype=torch.float64) * length
    column = along * math.cos(math.radians(angle)) + reach
    row = -along * math.sin(math.radians(angle)) + reach
    kernel = torch.zeros(2 * reach + 1, 2 * reach + 1, dtype=torch.float64)
    for down in (0, 1):
        for right in (0, 1):
            i, j = row.floor() + down, column.floor() + right
            weight = (1 - (row - i).abs()) * (1 - (column - j).abs())
            size = kernel.shape[0]
            inside = (i >= 0) & (i < size) & (j >= 0) & (j < size) & (weight > 1e-12)
            kernel.index_put_((i[inside].long(), j[inside].long()), weight[inside], accumulate=True)
    return kernel / kernel.sum()


@frozen
class MotionBlur(EachFrame):
    """The blur of a steady motion along a line.

    Forward: :class:`Blur` with a line as its kernel. Adjoint: that of :class:`Blur`.

    Args:
        length: of the line, in pixels.
        angle: in degrees, counter-clockwise from the horizontal.
        boundary: what lies beyond the frame.
    """

    length: float = field(validator=above_zero)
    angle: float = field(default=0.0, validator=finite)
    boundary: Boundary = field(default="reflect", validator=check_boundary)

    def _blur(self) -> Blur:
        return Blur(motion_kernel(self.length, self.angle), self.boundary)

    def forward(self, video: Video) -> Video:
        return self._blur().forward(video)

    def adjoint(self, measurement: Video) -> Video:
        return self._blur().adjoint(measurement)

    def lift(self, measurement: Video) -> Video:
        return self._blur().lift(measurement)
