"""What the command line asks of restore."""

from inspect import signature
from pathlib import Path
from typing import Any

import torch
from attrs import evolve, frozen

from visionxl.checkpoints import CheckpointFolder
from visionxl.cli.own import is_own, made_by_own
from visionxl.cli.priors import own_prior, prior_named, with_autoencoder
from visionxl.cli.running import Run
from visionxl.distributed import Processes
from visionxl.errors import InputError
from visionxl.priors import compiled
from visionxl.priors.compiling import compiled_codec
from visionxl.priors.network import NetworkPrior
from visionxl.protocols import LatentPrior
from visionxl.solvers import Sampler
from visionxl.solvers.methods import method_named

OWN_STEPS = 25  # of a user-defined method


def usual_steps(method: str) -> int:
    """The steps of a method if the command names none: its default in Python."""
    if is_own(method):
        return OWN_STEPS
    return signature(method_named(method)).parameters["count"].default


@frozen
class Order:
    """What the command line asks for, alike for every measurement."""

    task: str | None
    noise: float | None
    estimate_noise: bool
    seed: int
    prior: str
    prompt: str
    negative_prompt: str
    guidance: float | None
    inner_autoencoder: str | None
    unet: str | None
    lora: str | None
    truth: Path | None
    window: int | None
    mask: Path | None
    method: str
    steps: int | None
    frames_at_once: int | None
    memory: float | None
    device: str
    dtype: str
    compile: bool
    windows: int | None
    overwrite: bool
    resume: bool
    show: bool

    def priors(self) -> tuple[LatentPrior, NetworkPrior | None]:
        """The prior, and the one of the inner steps."""
        text = {k: getattr(self, k) for k in ("prompt", "negative_prompt", "guidance")}
        text |= {k: v for k in ("unet", "lora") if (v := getattr(self, k)) is not None}
        load = own_prior if is_own(self.prior) else prior_named
        prior = load(self.prior, self.device, self.dtype, **text)
        inner = self.inner_autoencoder
        quick = None if inner is None else with_autoencoder(prior, inner)
        if not self.compile:
            return prior, quick
        if not isinstance(prior, NetworkPrior):
            raise InputError("--compile: a prior of your own has to compile itself; leave it out")
        full = compiled(prior)
        if quick is None:
            return full, None
        return full, evolve(full, codec=compiled_codec(quick.codec))  # one denoiser for both

    def sampler(self) -> Sampler:
        """The method."""
        if is_own(self.method):
            return made_by_own("--method", self.method, "a Sampler", Sampler, count=self.steps)
        return method_named(self.method)(count=self.steps)

    def run(
        self,
        settings: dict[str, Any],
        inner: NetworkPrior | None,
        checkpoints: CheckpointFolder | None,
        group: Processes,
    ) -> Run:
        """How it is run."""
        return Run(
            settings,
            seed=self.seed,
            show=self.show,
            frames_at_once=self.frames_at_once,
            memory=None if self.memory is None else round(self.memory * 1e9),
            device=torch.device(group.device),
            inner=inner,
            checkpoints=checkpoints,
            warm=self.compile,
            group=group,
        )
