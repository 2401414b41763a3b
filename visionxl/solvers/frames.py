"""The pseudo-batch: networks see a few frames at a time, whatever the length of the video."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from attrs import field, frozen
from attrs.validators import optional
from torch import Tensor

from visionxl.errors import InputError
from visionxl.protocols import Denoised, Latent, LatentPrior, NoiseLevel, NoiseSchedule, Video
from visionxl.solvers.answers import check_frames
from visionxl.solvers.finite import check_finite, network_dtype
from visionxl.transfer import room
from visionxl.validators import from_one


def answered(
    prior: LatentPrior, method: str, frames: Tensor, *level: NoiseLevel
) -> tuple[Tensor, ...]:
    """The tensors that a prior's method returns: clean latents and noise, or a single one."""
    answer = getattr(prior, method)(frames, *level)
    if method != "denoise":
        return (answer,)
    if not isinstance(answer, Denoised):
        raise InputError(
            f"{prior!r}: denoise returned {type(answer).__name__}; make it return "
            "Denoised(clean, noise)"
        )
    return answer.clean, answer.noise


@frozen(eq=False)
class FrameByFrame:
    """A prior that passes ``prior`` at most ``frames_at_once`` frames per call.

    Frames are independent, so the result is the same to rounding, and the memory is that of
    ``frames_at_once`` frames and of the result.

    Args:
        prior: to call.
        frames_at_once: per call, at most; None for all.
        checks: whether outputs are checked to be finite: of nested wrappers only one needs to.
    """

    prior: LatentPrior
    frames_at_once: int | None = field(default=1, validator=optional(from_one))
    checks: bool = True

    @property
    def schedule(self) -> NoiseSchedule:
        return self.prior.schedule

    def encode(self, video: Video) -> Latent:
        (latent,) = self._chunked("encode", video)
        return latent

    def decode(self, latent: Latent) -> Video:
        (video,) = self._chunked("decode", latent)
        return video

    def denoise(self, latent: Latent, level: NoiseLevel) -> Denoised:
        clean, noise = self._chunked("denoise", latent, level)
        return Denoised(clean, noise)

    def _chunked(self, method: str, whole: Tensor, *level: NoiseLevel) -> tuple[Tensor, ...]:
        """The prior's outputs for chunks of frames, written into preallocated results."""
        size = self.frames_at_once or len(whole)
        if len(whole) <= size:
            # Networks may return channels last, and operators may call view on what they measure.
            return tuple(part.contiguous() for part in self._asked(method, 0, whole, *level))
        results: tuple[Tensor, ...] = ()
        for first in range(0, len(whole), size):
            chunk = whole[first : first + size]
            parts = self._asked(method, first, chunk, *level)
            results = results or tuple(room(p, len(whole), *p.shape[1:]) for p in parts)
            for result, part in zip(results, parts, strict=True):
                result[first : first + len(chunk)] = part
        return results

    def _asked(
        self, method: str, first: int, chunk: Tensor, *level: NoiseLevel
    ) -> tuple[Tensor, ...]:
        """The prior's output for a chunk that begins with frame ``first``, checked."""
        parts = answered(self.prior, method, chunk, *level)
        for part in parts:
            check_frames(self.prior, method, chunk, part)
            if self.checks:
                check_finite(method, part, first, network_dtype(self.prior, method), chunk)
        return parts


@frozen(eq=False)
class Around:
    """A prior whose every call runs inside the context ``around(stage, frames)``.

    For timing, progress, or anything that has to be set up while a network runs.

    Args:
        prior: to call.
        around: makes the context of a call from its stage, ``encode``, ``decode`` or ``denoise``,
            and its number of frames.
    """

    prior: LatentPrior
    around: Callable[[str, int], AbstractContextManager[object]]

    @property
    def schedule(self) -> NoiseSchedule:
        return self.prior.schedule

    def encode(self, video: Video) -> Latent:
        with self.around("encode", len(video)):
            return self.prior.encode(video)

    def decode(self, latent: Latent) -> Video:
        with self.around("decode", len(latent)):
            return self.prior.decode(latent)

    def denoise(self, latent: Latent, level: NoiseLevel) -> Denoised:
        with self.around("denoise", len(latent)):
            return self.prior.denoise(latent, level)
