"""How a camera samples time: rows read one after another, lost frames, changing exposures."""

import math
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import torch
from attrs import field, frozen
from torch import Generator, Tensor

from visionxl.errors import InputError
from visionxl.operators.boundary import OUTSIDE, Boundary, check_boundary, extension
from visionxl.operators.composition import Composable
from visionxl.operators.factors import Factors, Shape, matrix_of, on_axis
from visionxl.operators.lifting import divide_where_seen
from visionxl.operators.reach import Reach
from visionxl.operators.temporal import check_odd
from visionxl.protocols import Measurement, Video
from visionxl.randomness import check_generator, draw_uniform
from visionxl.validators import check_count, check_number, entries, from_zero


@lru_cache(maxsize=4)
def _hats(
    readout: float, height: int, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, ...]:
    """The share of each row that comes from the frame itself, the next one, and so on."""
    delay = readout * torch.arange(height, dtype=torch.float64) / height
    with torch.inference_mode(False):
        return tuple(
            (1 - (delay - k).abs()).clamp(min=0)[:, None].to(device, dtype)
            for k in range(int(delay.max()) + 2)
        )


@frozen
class RollingShutter(Composable):
    """The rows of a frame are read one after another, from the top.

    Forward: row ``i`` of ``y[t]`` is that row of the video at time ``t + readout * i / height``,
    interpolated linearly between frames. Adjoint: each row goes back to the frames it came from.

    Args:
        readout: of a whole frame, in frames of the video.
        boundary: what stands for frames after the last.
    """

    readout: float = field(validator=from_zero)
    boundary: Boundary = field(default="replicate", validator=check_boundary)

    def reach(self) -> Reach:
        after = math.ceil(self.readout)
        return Reach(after, circular=self.boundary == "circular" and after > 0)

    def _reads(self, video: Tensor) -> list[tuple[int, int, Tensor]]:
        """(t, source, weight): ``y[t]`` has so much of that frame in each row, (height, 1)."""
        frames, _, height, _ = video.shape
        hats = _hats(self.readout, height, video.dtype, video.device)
        last = len(hats) - 1
        index = extension(frames, 0, last, self.boundary)
        return [
            (t, index[t + k], hats[k])
            for t in range(frames)
            for k in range(last + 1)
            if index[t + k] != OUTSIDE
        ]

    def forward(self, video: Video) -> Video:
        result = torch.zeros_like(video)
        for t, source, weight in self._reads(video):
            result[t].addcmul_(video[source], weight)
        return result

    def adjoint(self, measurement: Video) -> Video:
        result = torch.zeros_like(measurement)
        for t, source, weight in self._reads(measurement):
            result[source].addcmul_(measurement[t], weight)
        return result

    def lift(self, measurement: Video) -> Video:
        return divide_where_seen(measurement, self.forward(torch.ones_like(measurement[:, :1])))


def _flag(value: Any) -> bool:
    if value not in (0, 1):
        raise ValueError(value)
    return bool(value)


def _flags(value: Any) -> tuple[bool, ...]:
    kept = entries("kept", value, _flag, "one flag a frame, True where it is kept")
    if not any(kept):
        raise InputError(f"kept {kept!r} keeps no frame: give one flag a frame, one of them True")
    return kept


@frozen
class DropFrames(Composable):
    """Some frames are lost; the others come one after another.

    Forward: ``y = x[kept]``. Adjoint: the frames go back to their places, zeros between.

    Args:
        kept: for every frame of the video, whether it is measured.
    """

    kept: tuple[bool, ...] = field(converter=_flags)

    @classmethod
    def random(cls, keep: float, frames: int, generator: Generator) -> "DropFrames":
        """Each frame is kept with probability ``keep``; the first and the last always are."""
        check_number("keep", keep, lambda k: 0 < k <= 1, "a share of the frames, 0 < keep <= 1")
        check_count("frames", frames)
        check_generator(generator)
        draw = draw_uniform(generator, frames) < keep
        return cls([flag or t in (0, frames - 1) for t, flag in enumerate(draw.tolist())])

    def _places(self, like: Tensor) -> Tensor:
        return torch.tensor([t for t, flag in enumerate(self.kept) if flag], device=like.device)

    def _checked(self, name: str, tensor: Tensor, expected: int) -> Tensor:
        if len(tensor) != expected:
            raise InputError(
                f"{name} has {len(tensor)} frames: this DropFrames, which keeps {sum(self.kept)} "
                f"of {len(self.kept)}, expects {expected}"
            )
        return tensor

    def forward(self, video: Video) -> Measurement:
        self._checked("video", video, len(self.kept))
        return video.index_select(0, self._places(video))

    def adjoint(self, measurement: Measurement) -> Video:
        self._checked("measurement", measurement, sum(self.kept))
        video = measurement.new_zeros(len(self.kept), *measurement.shape[1:])
        return video.index_copy_(0, self._places(measurement), measurement)

    def lift(self, measurement: Measurement) -> Video:
        """A lost frame is replaced by the last kept one before it (or by the first kept one)."""
        self._checked("measurement", measurement, sum(self.kept))
        held = torch.tensor(self.kept, device=measurement.device).cumsum(0).sub_(1).clamp_(min=0)
        return measurement.index_select(0, held)

    def factors(self, shape: Shape) -> Factors:
        return on_axis(0, matrix_of(self.forward, 0, shape[0]))

    def __repr__(self) -> str:
        return f"DropFrames(<{sum(self.kept)} of {len(self.kept)} kept>)"


def _windows(value: Any) -> tuple[Any, ...]:
    windows = tuple(value) if isinstance(value, Iterable) else (value,)
    if not windows:
        raise InputError("windows () has no exposure: give one or more odd numbers of frames")
    return windows


@frozen
class ExposureBracket(Composable):
    """Exposures that change from frame to frame: long ones are bright and blurred by motion.

    Forward: ``y[t] = (1 / longest) sum_k x[t + k]`` for ``|k| <= w_t // 2``, where ``w_t`` cycles
    through ``windows``: what the sensor collects, with gain 1 for the longest.
    Adjoint: each ``y[t] / longest`` is added to the frames it came from.

    The values are light, with 0 for none: a measured picture in [-1, 1], with -1 for black, has to
    be converted to ``picture + 1 - w_t / longest``.

    Args:
        windows: of the exposures, each an odd number of frames.
        boundary: what stands for frames before the first and after the last.
    """

    windows: tuple[int, ...] = field(
        default=(1, 3, 7),
        converter=_windows,
        validator=lambda bracket, attribute, value: [
            check_odd(bracket, attribute, window) for window in value
        ],
    )
    boundary: Boundary = field(default="reflect", validator=check_boundary)

    def _reads(self, frames: int) -> list[tuple[int, int]]:
        """(t, source) of every frame that is collected."""
        reach = max(self.windows) // 2
        index = extension(frames, reach, reach, self.boundary)
        halves = [self.windows[t % len(self.windows)] // 2 for t in range(frames)]
        pairs = [(t, index[t + reach + k]) for t, h in enumerate(halves) for k in range(-h, h + 1)]
        return [(t, source) for t, source in pairs if source != OUTSIDE]

    def forward(self, video: Video) -> Video:
        result = torch.zeros_like(video)
        for t, source in self._reads(len(video)):
            result[t].add_(video[source], alpha=1 / max(self.windows))
        return result

    def adjoint(self, measurement: Video) -> Video:
        result = torch.zeros_like(measurement)
        for t, source in self._reads(len(measurement)):
            result[source].add_(measurement[t], alpha=1 / max(self.windows))
        return result

    def lift(self, measurement: Video) -> Video:
        """All frames at the same brightness."""
        gain = self.forward(torch.ones_like(measurement[:, :1, :1, :1]))
        return divide_where_seen(measurement, gain)

    def factors(self, shape: Shape) -> Factors:
        return on_axis(0, matrix_of(self.forward, 0, shape[0]))
