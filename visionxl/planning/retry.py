"""Going on with a smaller plan where memory runs out."""

import re
from collections.abc import Callable
from typing import TypeVar

import torch
from attrs import evolve

from visionxl.planning.obey import device_of, networks_of, planned
from visionxl.planning.plan import MemoryPlan
from visionxl.priors.tiling import striped
from visionxl.protocols import Denoised, Latent, LatentPrior, NoiseLevel, NoiseSchedule, Video
from visionxl.solvers.frames import FrameByFrame

WORDS = re.compile("out of memory|not enough memory|can't allocate", re.IGNORECASE)
T = TypeVar("T")


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether an error tells that memory ran out, on any device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and WORDS.search(str(error)) is not None


class Persistent:
    """A prior that obeys a plan, and where memory runs out repeats the call with a smaller one.

    It stays at the smaller plan (:meth:`MemoryPlan.smaller`). The result is the same to rounding.
    Where the smallest plan fails as well, the error is raised.

    Args:
        prior: whose networks are put in order by :func:`planned`.
        plan: to begin with.
        device: where the networks work; by default where they are.
        tell: called with a sentence each time the plan gets smaller, for a record.

    Attributes:
        plan: obeyed now.
    """

    def __init__(
        self,
        prior: LatentPrior,
        plan: MemoryPlan,
        device: torch.device | str | None = None,
        tell: Callable[[str], object] = lambda sentence: None,
    ) -> None:
        self.plan: MemoryPlan = plan
        self._tell = tell
        if plan.dtype is not None:  # converted once
            prior = planned(prior, MemoryPlan(dtype=plan.dtype))
        networks = networks_of(prior)
        self._device = device if networks is None or device else device_of(networks.network)
        self._given = prior
        self._prior = planned(prior, evolve(plan, dtype=None), self._device)

    @property
    def prior(self) -> LatentPrior:
        """As it was given."""
        return self._given

    @property
    def schedule(self) -> NoiseSchedule:
        return self._given.schedule

    def encode(self, video: Video) -> Latent:
        return self._persist("encode", len(video), lambda prior: prior.encode(video))

    def decode(self, latent: Latent) -> Video:
        return self._persist("decode", len(latent), lambda prior: prior.decode(latent))

    def denoise(self, latent: Latent, level: NoiseLevel) -> Denoised:
        return self._persist("denoise", len(latent), lambda prior: prior.denoise(latent, level))

    def _persist(self, stage: str, frames: int, call: Callable[[LatentPrior], T]) -> T:
        while True:
            try:
                return call(FrameByFrame(self._prior, self.plan.frames_at_once))
            except (RuntimeError, MemoryError) as error:
                smaller = self._smaller(frames)
                if smaller is None or not ran_out_of_memory(error):
                    raise
            # Only here is the error gone, and with it the tensors that its frames held.
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            self._tell(f"memory ran out in {stage} with {self.plan}: went on with {smaller}")
            self.plan = smaller
            self._prior = planned(self._given, evolve(smaller, dtype=None), self._device)

    def _smaller(self, frames: int) -> MemoryPlan | None:
        """Fewer frames than there were in the call that failed, or the next smaller plan."""
        networks = networks_of(self._given)
        plan: MemoryPlan | None = self.plan
        while plan is not None:
            before = plan
            plan = plan.smaller(
                autoencoder=networks is not None,
                tiles=networks is not None and striped(networks.codec.vae),
                offload=networks is not None and torch.device(self._device or "cpu").type != "cpu",
            )
            if plan is not None and before.frames_at_once <= frames:
                return plan
        return None
