"""Where the pixels of a frame come from and go to, over several frames."""

import torch
from attrs import frozen
from torch import Tensor

from visionxl.protocols import Video
from visionxl.solvers.motion import SMALLEST, optical_flow, places_of, sampled


@frozen(eq=False)
class Trajectories:
    """Optical flow in both directions of time, to move frames along.

    Args:
        ahead: of each frame to the next, in pixels, (frames - 1, 2, height, width), x and y.
        behind: of each frame but the first to the one before, likewise.
    """

    ahead: Tensor
    behind: Tensor

    @classmethod
    def of(cls, video: Video, fine: bool = False) -> "Trajectories":
        """The trajectories of a video; in frames too small to search, nothing moves.

        Args:
            video: (frames, channels, height, width).
            fine: to search at its own resolution too (:meth:`Motion.of`).
        """
        frames, _, height, width = video.shape
        if frames < 2 or min(height, width) < SMALLEST:
            still = video.new_zeros(max(frames - 1, 0), 2, height, width)
            return cls(still, still)
        gray = video.mean(1, keepdim=True)
        return cls(optical_flow(gray, fine), optical_flow(gray.flip(0), fine).flip(0))

    def around(self, video: Video, t: int, first: int, stop: int) -> Tensor:
        """The frames from ``first`` to before ``stop``, ``t`` among them, moved to where ``t`` is.

        Returns:
            (frames, channels, height, width), in the order of time.
        """
        before = self._side(video, t, range(t - 1, first - 1, -1))
        return torch.stack([*reversed(before), video[t], *self._side(video, t, range(t + 1, stop))])

    def _side(self, video: Video, t: int, others: range) -> list[Tensor]:
        moved: list[Tensor] = []
        flow: Tensor | None = None
        for other in others:
            one = self.ahead[other - 1] if others.step > 0 else self.behind[other]
            flow = one if flow is None else flow + sampled(one, places_of(flow))
            moved.append(sampled(video[other], places_of(flow)))
        return moved
