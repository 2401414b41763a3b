"""What the options tell of a measurement."""

from attrs import evolve, frozen
from torch import Tensor

from visionxl.measurements import estimate_noise
from visionxl.streaming import TensorFrames, VideoFrames

ROUNDING = round(2 / 255 / 12**0.5, 5)  # standard deviation of rounding to 8 bits
ENOUGH = 25  # frames to estimate the noise from
Frames = TensorFrames | VideoFrames


@frozen(eq=False)
class Told:
    """What the options tell of a measurement; None where they do not."""

    task: str | None = None
    noise: float | None = None
    seed: int = 0
    window: int | None = None
    mask: Tensor | None = None
    estimate_noise: bool = False

    def seeing(self, measurement: Tensor | Frames) -> "Told":
        """With the noise of the first frames, where it is to be estimated: 8 bits' at least."""
        if not self.estimate_noise:
            return self
        first = measurement[0 : min(ENOUGH, len(measurement))]
        axes = (0, -2, -1) if len(first) > 2 else (-2, -1)
        return evolve(self, noise=max(estimate_noise(first, axes), ROUNDING))
