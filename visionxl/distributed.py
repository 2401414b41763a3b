"""Several processes: each runs the networks on its own frames, and all go through the same loop.

Made for ``torchrun`` and ``accelerate launch``. The networks are nearly all of the work on a GPU,
so they are what is divided: every process has the whole latents and videos, calls the prior for its
own frames alone, and gets the others' results. Operators, consistency and chance are computed by
every process alike, so the result is that of one process, and every consistency, initializer and
method works as it is.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from attrs import frozen
from torch import Tensor

from visionxl.errors import InputError
from visionxl.protocols import (
    Denoised,
    InverseProblem,
    Latent,
    LatentPrior,
    NoiseLevel,
    NoiseSchedule,
    Video,
)
from visionxl.solvers.frames import FrameByFrame

WAIT = timedelta(minutes=30)  # for the slowest process


class ProcessError(RuntimeError):
    """Another process of the run has ended or failed."""


@frozen
class Group:
    """The processes of a run, seen from one of them.

    Args:
        rank: of this process, from 0. The first writes the files and speaks.
        size: how many there are.
        device: of this process.
    """

    rank: int
    size: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process writes and speaks."""
        return self.rank == 0

    def share(self, value: Any) -> Any:
        """The first process's value, in all of them. It has to be small."""
        if self.size == 1:
            return value
        held = [value]
        dist.broadcast_object_list(held, src=0, device=self.device)
        return held[0]

    def split(self, prior: LatentPrior, frames_at_once: int = 1) -> LatentPrior:
        """The prior, which computes this process's frames and has the others' from them.

        ``restore`` has to hand it all frames in one call::

            restore(problem, group.split(prior, 4), sampler, generator=generator,
                    frames_at_once=len(video))

        Args:
            prior: of this process, on its device.
            frames_at_once: in one call of ``prior``.
        """
        frugal = FrameByFrame(prior, frames_at_once)
        return frugal if self.size == 1 else SplitFrames(frugal, self.rank, self.size)

    def check_same(self, problem: InverseProblem) -> None:
        """Raise InputError where a process has another measurement, operator or noise."""
        told = f"{problem.operator!r} {problem.noise_std}".encode()
        values = problem.measurement.detach().cpu().contiguous().view(torch.uint8)
        mine = hashlib.sha256(told + values.numpy().tobytes()).hexdigest()
        if self.share(mine) != mine:
            raise InputError(
                f"process {self.rank} of {self.size} has another problem than the first: give all "
                "processes the same measurement, operator and noise"
            )


@contextmanager
def processes(device: str = "cpu", wait: timedelta = WAIT) -> Iterator[Group]:
    """Join the other processes of ``torchrun`` or ``accelerate launch``; alone, there are none.

    ``cuda`` becomes the GPU of this process, ``cuda:LOCAL_RANK``, and NCCL carries the frames; on
    the CPU it is gloo. A process that ends makes the others raise ProcessError.

    Args:
        device: of the networks.
        wait: for the slowest process.

    Raises:
        ProcessError: another process has ended.
    """
    rank, size = (int(os.environ.get(name, default)) for name, default in _RANKS)
    place = torch.device(device)
    if size == 1:
        yield Group(0, 1, place)
        return
    if place.type == "cuda":
        place = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.cuda.set_device(place)
    dist.init_process_group("nccl" if place.type == "cuda" else "gloo", timeout=wait)
    try:
        yield Group(rank, size, place)
        dist.barrier()
    except (RuntimeError, dist.DistError) as error:
        if isinstance(error, ProcessError) or not _of_the_connection(error):
            raise
        raise ProcessError(
            f"process {rank} of {size}: another process has ended, and with it the run; look at "
            "what it said last"
        ) from error
    finally:
        dist.destroy_process_group()


_RANKS = (("RANK", 0), ("WORLD_SIZE", 1))
_WORDS = ("connection closed", "connection reset", "connection refused", "timed out", "nccl")


def _of_the_connection(error: Exception) -> bool:
    text = str(error).lower()
    return isinstance(error, dist.DistError) or any(word in text for word in _WORDS)


def own_frames(frames: int, rank: int, size: int) -> slice:
    """The frames of one process: contiguous, and their numbers differ by one at most."""
    return slice(rank * frames // size, (rank + 1) * frames // size)


@frozen(eq=False)
class SplitFrames:
    """A prior that computes the frames of this process, and has those of the others from them.

    Args:
        prior: of this process.
        rank: of this process.
        size: how many processes there are.
    """

    prior: LatentPrior
    rank: int
    size: int

    @property
    def schedule(self) -> NoiseSchedule:
        return self.prior.schedule

    def encode(self, video: Video) -> Latent:
        (latent,) = self._divided(lambda own: (self.prior.encode(own),), video)
        return latent

    def decode(self, latent: Latent) -> Video:
        (video,) = self._divided(lambda own: (self.prior.decode(own),), latent)
        return video

    def denoise(self, latent: Latent, level: NoiseLevel) -> Denoised:
        def parts(own: Tensor) -> tuple[Tensor, ...]:
            denoised = self.prior.denoise(own, level)
            return denoised.clean, denoised.noise

        clean, noise = self._divided(parts, latent)
        return Denoised(clean, noise)

    def _divided(
        self, action: Callable[[Tensor], tuple[Tensor, ...]], whole: Tensor
    ) -> tuple[Tensor, ...]:
        frames = len(whole)
        own = own_frames(frames, self.rank, self.size)
        parts: tuple[Tensor, ...] = ()
        failure: Exception | None = None
        if own.stop > own.start:
            try:
                parts = action(whole[own])
            except Exception as error:
                failure = error
        shapes = self._agreed(parts, failure)
        if failure is not None:
            raise failure
        # Each result is made once; every process sends its own frames to their place.
        results = tuple(whole.new_empty(frames, *shape) for shape in shapes)
        carrier = _carrier(whole)
        for result, part in zip(results, parts or (None,) * len(results), strict=True):
            if part is not None:
                result[own] = part
            for rank in range(self.size):
                theirs = own_frames(frames, rank, self.size)
                if theirs.stop > theirs.start:
                    block = result[theirs].to(carrier)
                    dist.broadcast(block, src=rank)
                    if rank != self.rank and block.data_ptr() != result[theirs].data_ptr():
                        result[theirs] = block
        return results

    def _agreed(
        self, parts: tuple[Tensor, ...], failure: Exception | None
    ) -> list[tuple[int, ...]]:
        """The shapes of a frame's results. Raises ProcessError where another process failed."""
        told: list[Any] = [None] * self.size
        mine = [tuple(part.shape[1:]) for part in parts]
        dist.all_gather_object(told, (mine, None if failure is None else str(failure)))
        for rank, (_, words) in enumerate(told):
            if words is not None and failure is None:
                raise ProcessError(f"process {rank} of {self.size} failed: {words}")
        return next((shapes for shapes, _ in told if shapes), [])


def _carrier(tensor: Tensor) -> torch.device:
    """Where the backend can take a tensor from."""
    if dist.get_backend() == "nccl":
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu") if tensor.is_cuda else tensor.device
