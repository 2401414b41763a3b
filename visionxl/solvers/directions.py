"""How much a video changes at each pixel, along its motion and in each direction of the frame.

The structure tensor ``J`` (Bigün & Granlund 1987) is the mean of ``g g^T`` over a neighbourhood,
summed over the colours, where ``g`` are the first differences in height and width. Differences
divided by its root, ``T g`` with ``T = (J + floor^2)^(-1/2)``, are of size 1 wherever a frame
varies as in the neighbourhood: along an edge a change costs the most, across the edge it may be as
large as it is there. The differences in time, along the motion, are divided by
``LEFT`` times their own size.
"""

import torch
from attrs import frozen
from torch import Tensor

from visionxl.operators.blur import gaussian_taps
from visionxl.operators.filtering import correlate_separable
from visionxl.protocols import Video
from visionxl.solvers.motion import Motion

PAIRS = ((0, 0), (1, 1), (1, 2), (2, 2))  # time and time, height and height, ...
LEFT = 0.4  # share of the differences along the motion that a better estimate still has


@frozen(eq=False)
class Directions:
    """``T``: a symmetric 2x2 matrix per pixel over height and width, and a number for time.

    Args:
        planes: ``T`` of time, and the entries hh, hw and ww of its matrix, (frames, 4, height,
            width).
        least: ``1 / |T|^2``, (frames, height, width).
        motion: that time follows; None to stay at the pixel.
    """

    planes: Tensor
    least: Tensor
    motion: Motion | None

    @classmethod
    def of(
        cls, video: Video, floor: float, reach: float, motion: Motion | None = None
    ) -> "Directions":
        """The directions of a video.

        Args:
            video: (frames, channels, height, width).
            floor: differences below it count as none, in units of the video's range; above 0.
            reach: standard deviation of the neighbourhood, in pixels of the frame; above 0.
            motion: of the video.
        """
        frames, _, height, width = video.shape
        planes = video.new_empty(frames, 4, height, width)
        least = video.new_empty(frames, height, width)
        taps = gaussian_taps(reach)
        for t, frame in enumerate(video):
            following = video[t + 1] if t + 1 < frames else None
            g = differences(frame, following, video.new_empty(3, *frame.shape), t, motion)
            products = torch.stack([(g[a] * g[b]).sum(0) for a, b in PAIRS])
            tt, hh, hw, ww = correlate_separable(products.unsqueeze(0), taps, "reflect")[0].double()
            tt = LEFT**2 * tt + floor**2
            planes[t, 0] = tt.rsqrt()
            planes[t, 1:], low = inverse_root(hh, hw, ww, floor)
            least[t] = torch.minimum(tt, low)
        return cls(planes, least, motion)

    def applied(self, t: int, field: Tensor, out: Tensor) -> Tensor:
        """``T q`` at frame ``t``, of ``q`` (3, channels, height, width), written to ``out``."""
        time, hh, hw, ww = self.planes[t]
        torch.mul(field[0], time, out=out[0])
        torch.mul(field[1], hh, out=out[1]).addcmul_(field[2], hw)
        torch.mul(field[1], hw, out=out[2]).addcmul_(field[2], ww)
        return out


def inverse_root(hh: Tensor, hw: Tensor, ww: Tensor, floor: float) -> tuple[Tensor, Tensor]:
    """``C^(-1/2)`` for the 2x2 matrices ``C = J + floor^2``, and the least eigenvalue of ``C``.

    In closed form, by the theorem of Cayley and Hamilton: with ``s^2 = det C`` and
    ``t^2 = tr C + 2 s``, the root is ``R = (C + s) / t``, and ``C^(-1/2) = (t - R) / s``.

    Args:
        hh: entries of ``J``, (height, width).
        hw: likewise.
        ww: likewise.
        floor: above 0.

    Returns:
        The entries hh, hw and ww, (3, height, width), and the eigenvalue, (height, width).
    """
    hh, ww = hh + floor**2, ww + floor**2
    trace, apart = hh + ww, torch.hypot(hh - ww, 2 * hw)
    low = ((trace - apart) / 2).clamp_min_(floor**2)
    s = (low * (trace + apart) / 2).sqrt()
    t = (trace + 2 * s).sqrt()
    return torch.stack([t - (hh + s) / t, -hw / t, t - (ww + s) / t]) / s, low


def differences(
    frame: Tensor,
    following: Tensor | None,
    out: Tensor,
    t: int = 0,
    motion: Motion | None = None,
) -> Tensor:
    """``D x`` of frame ``t`` (channels, height, width), (3, channels, height, width) in ``out``."""
    if following is None:
        out[0].zero_()
    elif motion is None:
        torch.sub(following, frame, out=out[0])
    else:
        torch.sub(motion.ahead(t, following), frame, out=out[0]).mul_(motion.seen[t])
    torch.sub(frame[:, 1:], frame[:, :-1], out=out[1, :, :-1])
    out[1, :, -1].zero_()
    torch.sub(frame[..., 1:], frame[..., :-1], out=out[2, ..., :-1])
    out[2, ..., -1].zero_()
    return out
