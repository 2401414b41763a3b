"""The prior and the renoise of a window, which see no frame twice in a step."""

from collections.abc import Callable
from itertools import pairwise

import torch
from attrs import evolve, frozen
from torch import Generator, Tensor

from visionxl.errors import located
from visionxl.protocols import (
    Denoised,
    Latent,
    LatentPrior,
    NoiseLevel,
    NoiseSchedule,
    Passage,
    Video,
)
from visionxl.solvers.answers import check_same_shape
from visionxl.solvers.frames import answered
from visionxl.solvers.loop import Renoise
from visionxl.solvers.windows import Window
from visionxl.transfer import room


class Strip:
    """Consecutive frames, each of them made once, as far as windows in the clip's order need them.

    Frames are numbered from the clip's first, also beyond its ends. They are made in pieces,
    between the numbers at which some window begins or ends: so a network's batches, and with them
    the rounding, do not depend on the window with which a strip begins.

    Args:
        windows: of the clip, in its order.
    """

    def __init__(self, windows: tuple[Window, ...]) -> None:
        self._windows: tuple[Window, ...] = windows
        self._cuts: list[int] = sorted({w.begin for w in windows} | {w.end for w in windows})
        self._first: int = 0
        self._kept: tuple[Tensor, ...] = ()

    def take(
        self, index: int, make: Callable[[int, int], tuple[Tensor, ...]]
    ) -> tuple[Tensor, ...]:
        """The frames of a window, in tensors that nobody else has; those before are forgotten.

        Args:
            index: of the window.
            make: returns the frames from a number to another.
        """
        begin, end = self._windows[index].begin, self._windows[index].end
        first, found = begin, []
        there = self._first + len(self._kept[0]) if self._kept else self._first
        if self._first <= begin < there:
            found.append(tuple(part[begin - self._first :] for part in self._kept))
            first = there
        numbers = [first, *(cut for cut in self._cuts if first < cut < end), end]
        found += [make(*pair) for pair in pairwise(numbers) if pair[0] < pair[1]]
        taken = found[0]
        if len(found) > 1:
            taken = tuple(_joined(parts, end - begin) for parts in zip(*found, strict=True))
        later = self._windows[index + 1 :]
        self._first = later[0].begin if later else end
        self._kept = tuple(part[self._first - begin :].clone() for part in taken)
        return taken


def _joined(parts: tuple[Tensor, ...], frames: int) -> Tensor:
    whole = room(parts[0], frames, *parts[0].shape[1:])  # pinned, if it goes to a GPU
    return torch.cat(parts, out=whole)


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
        return self._spread("encode", video)[0]

    def decode(self, latent: Latent) -> Video:
        return self._spread("decode", latent)[0]

    def denoise(self, latent: Latent, level: NoiseLevel) -> Denoised:
        return Denoised(*self._spread("denoise", latent, level))

    def _spread(self, method: str, whole: Tensor, *level: NoiseLevel) -> tuple[Tensor, ...]:
        """What the prior returns for the core, among frames that are 0."""
        if len(whole) != self.window.size:  # one frame, by which a start learns the latents' size
            return answered(self.prior, method, whole, *level)
        with located(lambda t: self.window.place(self.window.first + t)):
            parts = answered(self.prior, method, self.window.core(whole), *level)
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
        index: of the window.
        denoised: what the denoiser made in this step, of the windows before, too.
        decoded: what was decoded.
    """

    prior: LatentPrior
    window: Window
    index: int
    denoised: Strip
    decoded: Strip

    @property
    def schedule(self) -> NoiseSchedule:
        return self.prior.schedule

    def encode(self, video: Video) -> Latent:
        return CoreOnly(self.prior, self.window).encode(video)

    def decode(self, latent: Latent) -> Video:
        return self._taken(self.decoded, "decode", latent)[0]

    def denoise(self, latent: Latent, level: NoiseLevel) -> Denoised:
        return Denoised(*self._taken(self.denoised, "denoise", latent, level))

    def _taken(
        self, strip: Strip, method: str, latent: Latent, *level: NoiseLevel
    ) -> tuple[Tensor, ...]:
        frames, begin = self.window.in_turn(latent), self.window.begin

        def make(first: int, stop: int) -> tuple[Tensor, ...]:
            with located(lambda t: self.window.place(first + t)):
                return answered(self.prior, method, frames[first - begin : stop - begin], *level)

        return tuple(self.window.ordered(part) for part in strip.take(self.index, make))


@frozen(eq=False)
class RenoisedCore:
    """A renoise that sees a window's core alone: the encoder made no other latents.

    Args:
        renoise: of the method.
        window: whose latents it gets.
    """

    renoise: Renoise
    window: Window

    def __call__(
        self, clean: Latent, noise: Latent, passage: Passage, generator: Generator
    ) -> Latent:
        core = self.window.core
        own = evolve(
            passage, latent=core(passage.latent).clone(), denoised=core(passage.denoised).clone()
        )
        latent = self.renoise(core(clean).clone(), core(noise).clone(), own, generator)
        check_same_shape("renoise", self.renoise, core(clean), latent)
        result = torch.zeros_like(clean)
        core(result).copy_(latent)
        return result
