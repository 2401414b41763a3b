"""Continuing with a smaller plan when memory runs out."""

from collections.abc import Callable
from typing import TypeVar

import torch
from attrs import evolve
from torch import Tensor

from visionxl.memory import ran_out_of_memory
from visionxl.planning.obey import device_of, networks_of, planned
from visionxl.planning.plan import MemoryPlan
from visionxl.priors.network import NetworkPrior
from visionxl.priors.tiling import striped, unstriped
from visionxl.protocols import Denoised, Latent, LatentPrior, NoiseLevel, NoiseSchedule, Video
from visionxl.solvers.frames import FrameByFrame

T = TypeVar("T")
HOST_MEMORY = "DefaultCPUAllocator"  # in the error of PyTorch where it was that which ran out


def repeated(
    attempt: Callable[[MemoryPlan], T],
    plan: MemoryPlan,
    tell: Callable[[str], object] = lambda sentence: None,
) -> T:
    """``attempt(plan)`` and, if memory runs out, once more with the videos in host memory.

    For memory that runs out outside the networks, in the consistency, where :class:`Persistent`
    cannot help. An attempt that resumes from the last step repeats at most one step.

    Args:
        attempt: a run with a plan; it places the videos where the plan says.
        plan: to begin with.
        tell: called with a sentence if the attempt is repeated.
    """
    try:
        return attempt(plan)
    except RuntimeError as error:
        other = plan.on_host()
        if other is None or not ran_out_of_memory(error) or HOST_MEMORY in str(error):
            raise
    # Only here is the error gone, and with it the tensors that its frames held.
    torch.cuda.empty_cache()  # nothing, where CUDA is not in use
    tell(f"memory ran out with the videos on {plan.video_device}: went on with them in host memory")
    return attempt(other)


class Persistent:
    """A prior that follows a plan and, if memory runs out, repeats the call with a smaller one.

    It keeps the smaller plan (:meth:`MemoryPlan.smaller`). The result is the same to rounding.
    If the smallest plan fails as well, the error is raised.

    Args:
        prior: whose networks :func:`planned` adapts.
        plan: to begin with.
        device: where the networks run; by default where they are.
        tell: called with a sentence each time the plan gets smaller, for a record.

    Attributes:
        plan: the current plan.
    """

    def __init__(
        self,
        prior: LatentPrior,
        plan: MemoryPlan,
        device: torch.device | str | None = None,
        tell: Callable[[str], object] = lambda sentence: None,
    ) -> None:
        self._tell = tell
        if plan.dtype is not None:  # converted once
            prior = planned(prior, MemoryPlan(dtype=plan.dtype))
        networks = networks_of(prior)
        self._device = device if networks is None or device else device_of(networks.network)
        self._given = prior
        self._obey(plan)

    def _obey(self, plan: MemoryPlan) -> None:
        self.plan: MemoryPlan = plan
        self._prior = planned(self._given, evolve(plan, dtype=None), self._device)

    @property
    def prior(self) -> LatentPrior:
        """As it was given, in the plan's dtype."""
        return self._given

    @property
    def schedule(self) -> NoiseSchedule:
        return self._given.schedule

    def encode(self, video: Video) -> Latent:
        return self._persist("encode", video, lambda prior: prior.encode(video))

    def decode(self, latent: Latent) -> Video:
        return self._persist("decode", latent, lambda prior: prior.decode(latent))

    def denoise(self, latent: Latent, level: NoiseLevel) -> Denoised:
        return self._persist("denoise", latent, lambda prior: prior.denoise(latent, level))

    def _persist(self, stage: str, given: Tensor, call: Callable[[LatentPrior], T]) -> T:
        while True:
            if self._taken_away():
                self._obey(self.plan)
            try:
                return call(FrameByFrame(self._prior, self.plan.frames_at_once, checks=False))
            except (RuntimeError, MemoryError) as error:
                smaller = self._smaller(given)
                if smaller is None or not ran_out_of_memory(error):
                    raise
            # Only here is the error gone, and with it the tensors that its frames held.
            torch.cuda.empty_cache()
            self._tell(f"memory ran out in {stage} with {self.plan}: went on with {smaller}")
            self._obey(smaller)

    def _taken_away(self) -> bool:
        """Whether another prior, which offloads the same network, has moved it to host memory."""
        networks = networks_of(self._given)
        if networks is None or self._device is None or self.plan.offload:
            return False
        return device_of(networks.network).type != torch.device(self._device).type

    def _smaller(self, given: Tensor) -> MemoryPlan | None:
        """Fewer frames than were given in the call that failed, or the next smaller plan."""
        followed = torch.is_grad_enabled() and given.requires_grad
        networks = networks_of(self._given)
        # A call may have fewer frames than the plan allows.
        plan = evolve(self.plan, frames_at_once=min(self.plan.frames_at_once, len(given)))
        return plan.smaller(
            autoencoder=networks is not None,
            # Strips let no gradients through.
            tiles=networks is not None and _in_strips(networks) and not followed,
            offload=networks is not None and torch.device(self._device or "cpu").type != "cpu",
        )


def _in_strips(networks: NetworkPrior) -> bool:
    """Whether the autoencoder can work in strips."""
    return striped(unstriped(networks.codec.vae))
