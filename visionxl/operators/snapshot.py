"""Several coded frames in one exposure."""

from typing import Any

import torch
from attrs import field, frozen
from attrs.validators import optional
from torch import Generator, Tensor

from visionxl.errors import InputError
from visionxl.operators.composition import Composable
from visionxl.operators.lifting import divide_where_seen
from visionxl.protocols import Measurement, Video, shape_of
from visionxl.randomness import check_generator, draw_uniform
from visionxl.validators import array, check_count, from_one


def _codes(value: Any) -> Tensor:
    codes = array("codes", value, "numbers, in a tensor or an array").clone()
    if codes.ndim != 3 or not codes.numel() or not bool(torch.isfinite(codes).all()):
        raise InputError(
            f"codes of shape {tuple(codes.shape)}: expected finite numbers in the shape "
            "(frames of one exposure, height, width)"
        )
    return codes


@frozen(eq=False)
class Snapshot(Composable):
    """Coded aperture video: a code changes within the exposure, and frames are summed.

    Forward: ``y[g] = (1 / length) sum_k code[k] * x[length g + k]``, the last exposure over the
    frames that are left. Adjoint: ``code[k] * y[g] / length`` goes to each frame. The model of
    snapshot compressive imaging (CACTI: Llull et al. 2013).

    Args:
        codes: (length, height, width), the aperture's transmission in each frame of an exposure.
        frames: the frame count of the video. Needed only where it is no multiple of the length,
            because the measurement alone does not determine it.
    """

    codes: Tensor = field(converter=_codes, repr=shape_of)
    frames: int | None = field(default=None, validator=optional(from_one))

    @classmethod
    def random(
        cls,
        length: int,
        height: int,
        width: int,
        generator: Generator,
        *,
        frames: int | None = None,
    ) -> "Snapshot":
        """Each pixel of each frame is open with probability one half."""
        for name, size in (("length", length), ("height", height), ("width", width)):
            check_count(name, size)
        check_generator(generator)
        return cls(draw_uniform(generator, length, height, width) < 0.5, frames)

    def _count(self, exposures: int) -> int:
        length = len(self.codes)
        frames = exposures * length if self.frames is None else self.frames
        if -(-frames // length) != exposures:
            raise InputError(
                f"measurement has {exposures} frames, but {frames} frames, {length} per exposure, "
                f"give {-(-frames // length)}: give Snapshot the video's frame count"
            )
        return frames

    def forward(self, video: Video) -> Measurement:
        length, frames = len(self.codes), len(video)
        if self.codes.shape[1:] != video.shape[-2:]:
            raise InputError(
                f"codes of {tuple(self.codes.shape[1:])} do not fit a video of "
                f"{tuple(video.shape)}: make them for height {video.shape[-2]} and width "
                f"{video.shape[-1]}"
            )
        if frames != (self.frames or frames) or (self.frames is None and frames % length):
            raise InputError(
                f"video has {frames} frames: this Snapshot expects "
                + (f"a multiple of {length}" if self.frames is None else f"{self.frames}")
                + f"; for this video make it with frames={frames}"
            )
        codes = self.codes.to(video) / length
        result = video.new_zeros(-(-frames // length), *video.shape[1:])
        for t, frame in enumerate(video):
            result[t // length].addcmul_(frame, codes[t % length])
        return result

    def adjoint(self, measurement: Measurement) -> Video:
        length = len(self.codes)
        codes = self.codes.to(measurement) / length
        frames = range(self._count(len(measurement)))
        return torch.stack([measurement[t // length] * codes[t % length] for t in frames])

    def lift(self, measurement: Measurement) -> Video:
        """The exposures, with the codes' sum undone, held over their frames."""
        frames = self._count(len(measurement))
        ones = measurement.new_ones(frames, 1, *measurement.shape[-2:])
        even = divide_where_seen(measurement, self.forward(ones))
        return even.repeat_interleave(len(self.codes), dim=0)[:frames]
