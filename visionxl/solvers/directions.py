"""Which way a video changes at each pixel, and by how much: its structure tensor.

The structure tensor ``J`` (Bigün & Granlund 1987) is the mean of ``g g^T`` over the colours and a
neighbourhood, ``g`` the first differences in time, height and width. Differences divided by its
root, ``T g`` with ``T = (J + floor^2)^(-1/2)``, are of size 1 wherever a video goes on as it does
around: along an edge, and along a motion, which are directions without change, it may not begin to
change; across an edge it may change as much as it does.
"""

import math

import torch
from attrs import frozen
from torch import Tensor

from visionxl.operators.blur import gaussian_taps
from visionxl.operators.filtering import correlate_separable
from visionxl.protocols import Video

PAIRS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))  # of a symmetric 3x3 matrix
PLANES = ((0, 1, 2), (1, 3, 4), (2, 4, 5))  # where its rows lie among them


@frozen(eq=False)
class Directions:
    """``T``, a symmetric 3x3 matrix per pixel, over time, height and width.

    Args:
        planes: the entries ``PAIRS`` of ``T``, (frames, 6, height, width).
        least: ``1 / |T|^2``, (frames, height, width).
        usual: the root mean square of the differences.
    """

    planes: Tensor
    least: Tensor
    usual: float

    @classmethod
    def of(cls, video: Video, floor: float, reach: float) -> "Directions":
        """The directions of a video.

        Args:
            video: (frames, channels, height, width).
            floor: differences below it count as none, in units of the video's range; above 0.
            reach: standard deviation of the neighbourhood, in pixels of the frame; above 0.
        """
        frames, _, height, width = video.shape
        planes = video.new_empty(frames, 6, height, width)
        least = video.new_empty(frames, height, width)
        taps, total = gaussian_taps(reach), 0.0
        for t, frame in enumerate(video):
            following = video[t + 1] if t + 1 < frames else None
            g = differences(frame, following, video.new_empty(3, *frame.shape))
            products = torch.stack([(g[a] * g[b]).sum(0) for a, b in PAIRS])
            tensor = correlate_separable(products.unsqueeze(0), taps, "reflect")[0]
            total += tensor[[0, 3, 5]].sum(dtype=torch.float64).item()
            planes[t], least[t] = inverse_root(tensor.double(), floor)
        return cls(planes, least, math.sqrt(total / least.numel()))

    def turn(self, t: int, field: Tensor, out: Tensor) -> Tensor:
        """``T q`` at frame ``t``, of ``q`` (3, channels, height, width), in ``out``."""
        for row, result in zip(PLANES, out, strict=True):
            torch.mul(field[0], self.planes[t, row[0]], out=result)
            result.addcmul_(field[1], self.planes[t, row[1]])
            result.addcmul_(field[2], self.planes[t, row[2]])
        return out


def inverse_root(tensor: Tensor, floor: float) -> tuple[Tensor, Tensor]:
    """``C^(-1/2)`` for ``C = J + floor^2``, and the least eigenvalue of ``C``.

    In closed form: the eigenvalues by their trigonometric formula (Smith 1961), the root by the
    theorem of Cayley and Hamilton (Hoger & Carlson 1984), which needs no eigenvectors.

    Args:
        tensor: the entries ``PAIRS`` of ``J``, (6, height, width).
        floor: above 0.
    """
    one = torch.zeros_like(tensor)
    one[[0, 3, 5]] = 1.0
    c = tensor + floor**2 * one
    mean = c[[0, 3, 5]].mean(0)
    deviator = c - mean * one
    size = (dot(deviator, deviator) / 6).sqrt()
    cosine = determinant(deviator) / (2 * size**3).clamp_min(torch.finfo(c.dtype).tiny)
    angle = cosine.clamp_(-1, 1).acos_() / 3
    high = mean + 2 * size * angle.cos()
    low = (mean + 2 * size * (angle + 2 * math.pi / 3).cos()).clamp_min_(floor**2)
    middle = (3 * mean - high - low).clamp_min_(floor**2)
    a, b, d = high.sqrt(), middle.sqrt(), low.sqrt()
    first, second, third = a + b + d, a * b + b * d + d * a, a * b * d
    square = torch.stack(
        [sum((c[PLANES[i][k]] * c[PLANES[k][j]] for k in range(3)), mean * 0) for i, j in PAIRS]
    )
    root = (first * third * one + (first**2 - second) * c - square) / (first * second - third)
    return (c - first * root + second * one) / third, low


def dot(a: Tensor, b: Tensor) -> Tensor:
    """The sum of the products of all nine entries."""
    products = a * b
    return products[[0, 3, 5]].sum(0) + 2 * products[[1, 2, 4]].sum(0)


def determinant(c: Tensor) -> Tensor:
    """Of the matrices with the entries ``PAIRS``."""
    tt, th, tw, hh, hw, ww = c
    return tt * (hh * ww - hw * hw) - th * (th * ww - hw * tw) + tw * (th * hw - hh * tw)


def differences(frame: Tensor, following: Tensor | None, out: Tensor) -> Tensor:
    """``D x`` of one frame (channels, height, width), in ``out``, (3, channels, height, width)."""
    if following is None:
        out[0].zero_()
    else:
        torch.sub(following, frame, out=out[0])
    torch.sub(frame[:, 1:], frame[:, :-1], out=out[1, :, :-1])
    out[1, :, -1].zero_()
    torch.sub(frame[..., 1:], frame[..., :-1], out=out[2, ..., :-1])
    out[2, ..., -1].zero_()
    return out
