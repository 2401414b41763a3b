"""The prior of a window, whose networks see no frame twice in a step."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from attrs import frozen
from torch import Tensor

from visionxl.errors import NotFiniteError
from visionxl.protocols import Denoised, Latent, LatentPrior, NoiseLevel, NoiseSchedule, Video
from visionxl.solvers.windows import Window


class Strip:
    """Consecutive frames, each of them made once, as far as windows in the clip's order need them.

    Frames are numbered from the clip's first, also beyond its ends.
    """

    def __init__(self) -> None:
        self._first: int = 0
        self._frames: tuple[Tensor, ...] = ()

    def take(
        self, begin: int, end: int, make: Callable[[int], tuple[Tensor, ...]]
    ) -> tuple[Tensor, ...]:
        """The frames ``begin`` to ``end``; those before are forgotten.

        Args:
            begin: the first.
            end: the frame after the last.
            make: returns the frames from a number on, up to ``end``.
        """
        there = len(self._frames[0]) if self._frames else 0
        kept = self._first + there - begin if self._first <= begin else 0
        if kept <= 0:
            self._frames = ()
            self._frames = make(begin)
        else:
            self._frames = tuple(part[-kept:] for part in self._frames)
            if kept < end - begin:
                more = make(begin + kept)
                pairs = zip(self._frames, more, strict=True)
                self._frames = tuple(torch.cat(pair) for pair in pairs)
        self._first = begin
        return self._frames


@frozen(eq=False)
class CoreOnly:
    """The prior of a window whose networks see its core alone.

    It is the core whose latents are kept. Those of the other frames are 0.

    Args:
        prior: to call.
        window: whose videos it gets.
    """

    prior: LatentPrior
    window: Window

    @property
    def schedule(self) -> NoiseSchedule:
        return self.prior.schedule

    def encode(self, video: Video) -> Latent:
        return self._spread(video, lambda core: (self.prior.encode(core),))[0]

    def decode(self, latent: Latent) -> Video:
        return self._spread(latent, lambda core: (self.prior.decode(core),))[0]

    def denoise(self, latent: Latent, level: NoiseLevel) -> Denoised:
        def parts(core: Latent) -> tuple[Tensor, ...]:
            denoised = self.prior.denoise(core, level)
            return denoised.clean, denoised.noise

        return Denoised(*self._spread(latent, parts))

    def _spread(
        self, whole: Tensor, action: Callable[[Tensor], tuple[Tensor, ...]]
    ) -> tuple[Tensor, ...]:
        """What ``action`` returns for the core, among frames that are 0."""
        if len(whole) != self.window.size:  # one frame, by which a start learns the latents' size
            return action(whole)
        with _from(self.window, self.window.first):
            parts = action(self.window.core(whole))
        found = tuple(part.new_zeros(len(whole), *part.shape[1:]) for part in parts)
        for target, part in zip(found, parts, strict=True):
            self.window.core(target).copy_(part)
        return found


@frozen(eq=False)
class InSweep:
    """The prior of a window at one step, whose networks see what they have not seen before.

    Args:
        prior: to call.
        window: whose latents and videos it gets.
        denoised: what the denoiser made in this step, of the windows before, too.
        decoded: what was decoded.
    """

    prior: LatentPrior
    window: Window
    denoised: Strip
    decoded: Strip

    @property
    def schedule(self) -> NoiseSchedule:
        return self.prior.schedule

    def encode(self, video: Video) -> Latent:
        return CoreOnly(self.prior, self.window).encode(video)

    def decode(self, latent: Latent) -> Video:
        def parts(frames: Latent) -> tuple[Tensor, ...]:
            return (self.prior.decode(frames),)

        return self._taken(self.decoded, latent, parts)[0]

    def denoise(self, latent: Latent, level: NoiseLevel) -> Denoised:
        def parts(frames: Latent) -> tuple[Tensor, ...]:
            denoised = self.prior.denoise(frames, level)
            return denoised.clean, denoised.noise

        return Denoised(*self._taken(self.denoised, latent, parts))

    def _taken(
        self, strip: Strip, latent: Latent, action: Callable[[Tensor], tuple[Tensor, ...]]
    ) -> tuple[Tensor, ...]:
        window, frames = self.window, self.window.in_turn(latent)

        def make(first: int) -> tuple[Tensor, ...]:
            with _from(window, first):
                return action(frames[first - window.begin :])

        taken = strip.take(window.begin, window.end, make)
        return tuple(window.ordered(part) for part in taken)


@contextmanager
def _from(window: Window, first: int) -> Iterator[None]:
    """Errors inside count frames from ``first`` of the clip: as the window's video has them."""
    try:
        yield
    except NotFiniteError as error:
        frame = None if error.frame is None else window.place(first + error.frame)
        raise error.at(frame=frame) from None
