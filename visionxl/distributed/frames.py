"""Frames split over processes: the networks of each process see only its own frames."""

import re
from collections.abc import Callable

import torch
from attrs import evolve, frozen
from torch import Generator, Tensor

from visionxl.distributed.group import Processes
from visionxl.errors import InputError, NotFiniteError, told_of
from visionxl.files import checksum_of
from visionxl.protocols import (
    Denoised,
    InverseProblem,
    Latent,
    LatentPrior,
    NoiseLevel,
    NoiseSchedule,
    Restoration,
    State,
    Step,
    Video,
)
from visionxl.solvers.frames import FrameByFrame, answered
from visionxl.solvers.loop import Sampler, restore


@frozen(eq=False)
class SplitFrames:
    """A prior whose frames are split over processes.

    Every process calls it with whole videos, at the same time; each passes ``prior`` its own
    frames, and the outputs are gathered, so that all have the same result: that of a single process
    to rounding. It has to see whole videos, so ``frames_at_once`` belongs inside:
    ``SplitFrames(FrameByFrame(prior, 4), processes)``, as in :func:`split_restore`.

    Gradients do not cross processes.

    Args:
        prior: called with this process's frames.
        processes: that share the frames.
    """

    prior: LatentPrior
    processes: Processes

    @property
    def schedule(self) -> NoiseSchedule:
        return self.prior.schedule

    def encode(self, video: Video) -> Latent:
        return self._split("encode", video)[0]

    def decode(self, latent: Latent) -> Video:
        return self._split("decode", latent)[0]

    def denoise(self, latent: Latent, level: NoiseLevel) -> Denoised:
        return Denoised(*self._split("denoise", latent, level))

    def _split(self, method: str, whole: Tensor, *level: NoiseLevel) -> tuple[Tensor, ...]:
        if self.processes.size == 1:
            return answered(self.prior, method, whole, *level)
        if whole.requires_grad and torch.is_grad_enabled():
            raise InputError(
                "this method needs gradients through the prior, which do not cross "
                f"processes ({self.processes.size}): run it in one process"
            )
        own, parts, failure = self.processes.part(len(whole)), (), None
        try:
            if own.start < own.stop:
                parts = answered(self.prior, method, whole[own], *level)
        except NotFiniteError as error:
            frame = None if error.frame is None else error.frame + own.start
            failure = error.at(frame=frame)
        except Exception as error:
            failure = error
        # The first process has a frame wherever there is one: it tells the shapes to all.
        shapes = self.processes.exchange([(p.shape[1:], p.dtype) for p in parts], failure)[0]
        parts = parts or tuple(whole.new_empty(0, *s, dtype=dtype) for s, dtype in shapes)
        return tuple(self.processes.gather(part, len(whole)) for part in parts)


def split_restore(
    problem: InverseProblem,
    prior: LatentPrior,
    sampler: Sampler,
    *,
    processes: Processes,
    generator: Generator,
    frames_at_once: int | None = 1,
    observe: Callable[[Step], object] | None = None,
    inner: LatentPrior | None = None,
    state: State | None = None,
) -> Restoration:
    """:func:`~visionxl.solvers.restore` in all processes at once, each with its own frames.

    All need the same problem, sampler and seed, and get the whole result. With one process it is
    ``restore``.

    Args:
        problem: the same in all processes, which is checked, for the operator by its ``repr``.
        prior: on this process's device.
        sampler: the method, the same in all, which is checked by its ``repr``.
        processes: from :func:`visionxl.distributed.processes`.
        generator: in the same state in all, which is checked.
        frames_at_once: frames in one call of the prior, None for all.
        observe: called with every step, in the first process only.
        inner: a faster prior for all steps but the last.
        state: to resume from; that of the first process is used.

    Raises:
        InputError: as ``restore``; or the processes do not hold the same problem.
        ProcessError: another process failed.
    """
    state = _shared(state, processes, problem.measurement.device)
    processes.check_same(
        measurement=checksum_of(problem.measurement),
        noise_std=problem.noise_std,
        operator=_placeless(problem.operator),
        generator=checksum_of(generator.get_state()),
        times=str(sampler.times),
        sampler=_placeless(sampler),
    )

    def split(whole: LatentPrior) -> SplitFrames:
        return SplitFrames(FrameByFrame(whole, frames_at_once), processes)

    return restore(
        problem,
        split(prior),
        sampler,
        generator=generator,
        frames_at_once=None,
        observe=observe if processes.first else None,
        inner=None if inner is None else split(inner),
        state=state,
    )


def _shared(state: State | None, processes: Processes, device: torch.device) -> State | None:
    if processes.size == 1:
        return state
    on_host = None if state is None else evolve(state, latent=state.latent.cpu())
    shared = processes.share(on_host)
    return None if shared is None else evolve(shared, latent=shared.latent.to(device))


def _placeless(part: object) -> str:
    """A text that describes a part, without the device, which differs between processes."""
    return re.sub(r",? device='[^']*'", "", told_of(part))
