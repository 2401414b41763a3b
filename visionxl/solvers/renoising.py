"""Renoising: from clean latents to the next noise level.

All go from the clean latents ``z0`` of a step at ``t`` to latents at the next level ``s``. The
paper's, :class:`SharedNoise`, uses the noise that was predicted before the correction. The noise
that corresponds to ``z0`` is ``eps' = eps + signal_t / noise_t (z0_t - z0)``, where ``eps`` is the
noise and ``z0_t`` are the clean latents of the denoiser. Without guidance it is
``(z_t - signal_t z0) / noise_t``: ``z_t`` is still ``signal_t z0 + noise_t eps'``. With guidance
``eps`` is the unguided noise, as in CFG++ (Chung et al. 2024), and only the correction changes it.
"""

import math
from typing import ClassVar

from attrs import evolve, field, frozen
from torch import Generator

from visionxl.errors import InputError, name_of
from visionxl.protocols import InverseProblem, Latent, LatentPrior, NoiseLevel, Passage
from visionxl.randomness import draw_noise
from visionxl.solvers.consistency import ClosedForm, DampedCG
from visionxl.solvers.contract import check_linear
from visionxl.validators import flag, from_zero, share


def belonging_noise(clean: Latent, noise: Latent, passage: Passage) -> Latent:
    """``eps' = eps + signal_t / noise_t (z0_t - z0)``."""
    before = passage.before
    return noise + (before.signal / before.noise) * (passage.denoised - clean)


def ddpm_variance(passage: Passage) -> float:
    """``noise_s^2 (1 - (signal_t noise_s / (signal_s noise_t))^2)``, the ancestral step's.

    Of ``z_s`` given ``z_t`` and ``z0``, whatever the schedule. Where ``signal^2 + noise^2 = 1`` it
    is DDPM's ``(noise_s / noise_t)^2 (1 - (signal_t / signal_s)^2)``.
    """
    before = passage.before
    kept = before.signal * passage.noise / (passage.signal * before.noise)
    return passage.noise**2 * max(0.0, 1 - kept**2)


def check_pixels(name: str, problem: InverseProblem, prior: LatentPrior) -> None:
    """Raise InputError, naming alternatives, if latents are not pixels."""
    frame = problem.operator.adjoint(problem.measurement)[:1]
    latent = prior.encode(frame)
    if latent.shape != frame.shape:
        raise InputError(
            f"{name} needs a prior whose latents are the pixels, and this one turns a frame of "
            f"{tuple(frame.shape[1:])} into {tuple(latent.shape[1:])}: use the method diffpir, "
            "latino or vision_xl"
        )


@frozen
class SharedNoise:
    """``z_s = signal_s z0 + noise_s (eta n + sqrt(1 - eta^2) eps)``.

    ``n`` is drawn once per step and shared by all frames, so that the noise does not flicker
    (VISION-XL, arXiv 2412.00156).

    Args:
        eta: amplitude of the fresh noise, 0 (DDIM) to 1; the paper's is 0.2, which is 4 % of the
            variance.
    """

    shared: ClassVar[bool] = True
    eta: float = field(default=0.2, validator=share)

    def __call__(
        self, clean: Latent, noise: Latent, level: NoiseLevel, generator: Generator
    ) -> Latent:
        """Latents at ``level``, from clean ones and the noise that was predicted."""
        fresh = draw_noise(clean, 1, generator)
        mixed = noise * math.sqrt(1 - self.eta**2) + self.eta * fresh
        return clean * level.signal + level.noise * mixed


@frozen
class DDIMNoise:
    """``z_s = signal_s z0 + sqrt(noise_s^2 - sigma^2) eps + sigma n`` (Song et al. 2021).

    ``sigma^2 = eta^2 noise_s^2 (1 - (signal_t noise_s / (signal_s noise_t))^2)``. With ``eta`` 1 it
    is the ancestral step, that of DDPM (:func:`ddpm_variance`).

    Args:
        eta: 0 (deterministic) to 1.
        corrected: renoise with ``eps'``, which corresponds to the corrected ``z0``, instead of the
            predicted noise.
        shared: one draw for all frames, or one for each.
    """

    eta: float = field(default=0.0, validator=share)
    corrected: bool = field(default=True, validator=flag)
    shared: bool = field(default=False, validator=flag)

    def __call__(
        self, clean: Latent, noise: Latent, passage: Passage, generator: Generator
    ) -> Latent:
        """Latents at the passage's level."""
        noise = belonging_noise(clean, noise, passage) if self.corrected else noise
        sigma = self.eta * math.sqrt(ddpm_variance(passage))
        fresh = draw_noise(clean, 1 if self.shared else len(clean), generator)
        kept = math.sqrt(max(0.0, passage.noise**2 - sigma**2))
        return passage.signal * clean + kept * noise + sigma * fresh


@frozen
class FreshNoise:
    """``z_s = signal_s z0 + noise_s (sqrt(1 - share) eps' + sqrt(share) n)``.

    DiffPIR's (Zhu et al. 2023) with ``share`` its zeta; LATINO's (Spagnoletti et al. 2025) with 1.

    Args:
        share: of the fresh noise's variance, 0 to 1.
        shared: one draw for all frames, or one for each.
    """

    share: float = field(default=0.3, validator=share)
    shared: bool = field(default=False, validator=flag)

    def __call__(
        self, clean: Latent, noise: Latent, passage: Passage, generator: Generator
    ) -> Latent:
        """Latents at the passage's level."""
        fresh = draw_noise(clean, 1 if self.shared else len(clean), generator)
        kept = math.sqrt(1 - self.share) * belonging_noise(clean, noise, passage)
        return passage.signal * clean + passage.noise * (kept + math.sqrt(self.share) * fresh)


@frozen
class ResampledNoise:
    """The stochastic resampling of ReSample (Song et al. 2024).

    ``z_s`` is drawn from the product of two Gaussians: around ``signal_s z0`` of the corrected
    latents, with variance ``noise_s^2``, and around the step that DDIM would have made without the
    measurement, with the paper's variance ``strength noise_s^2 / signal_t^2 (1 - signal_t^2 /
    signal_s^2)``. The authors' code divides by ``noise_t^2`` instead of ``signal_t^2``.

    Args:
        strength: the paper's gamma; larger trusts the corrected latents more.
    """

    shared: ClassVar[bool] = False  # one draw for each frame
    strength: float = field(default=40.0, validator=from_zero)

    def __call__(
        self, clean: Latent, noise: Latent, passage: Passage, generator: Generator
    ) -> Latent:
        """Latents at the passage's level."""
        before = passage.before
        unmeasured = passage.signal * passage.denoised + passage.noise * noise
        ratio = (before.signal / passage.signal) ** 2
        # The variance of the unmeasured step, in units of noise_s^2.
        variance = self.strength / before.signal**2 * max(0.0, 1 - ratio)
        mean = (variance * passage.signal * clean + unmeasured) / (variance + 1)
        deviation = passage.noise * math.sqrt(variance / (variance + 1))
        return mean + deviation * draw_noise(clean, len(clean), generator)


@frozen
class DecoupledNoise:
    """``z_s = signal_s (z0 + d) + noise_s n``: DAPS's decoupled annealing (Zhang et al. 2025).

    ``z0 + d`` is a sample of ``p(x | z_t, y)``, the Gaussian whose mean is the correction ``z0``:
    ``d`` is the result of the method's consistency, linear in estimate and measurement, for a
    perturbation ``r_t n1`` of the estimate and ``sigma_y n2`` of the measurement (perturb
    and optimise; Papandreou & Yuille 2010), where DAPS takes Langevin steps. For a linear operator
    and a prior whose latents are the pixels.

    The consistency is :class:`NoiseAware`, :class:`DampedCG` or :class:`ClosedForm`, which sets
    ``r_t`` and the least ``sigma_y``.
    """

    shared: ClassVar[bool] = False  # one draw for each frame

    def check(self, problem: InverseProblem, prior: LatentPrior) -> None:
        """Raise InputError, naming a way out, for a prior with an autoencoder."""
        check_linear(problem, self)
        check_pixels("DecoupledNoise", problem, prior)

    def __call__(
        self, clean: Latent, noise: Latent, passage: Passage, generator: Generator
    ) -> Latent:
        """Latents at the passage's level."""
        problem, before, consistency = passage.problem, passage.before, passage.consistency
        # A consistency for another device or several processes wraps it.
        own = getattr(consistency, "consistency", getattr(consistency, "solver", consistency))
        if not isinstance(own, DampedCG | ClosedForm):
            raise InputError(
                "DecoupledNoise belongs to the consistencies NoiseAware, DampedCG and ClosedForm, "
                f"and this is {name_of(consistency)}: replace renoise, too, for instance by "
                "FreshNoise(1.0)"
            )
        least = max(problem.noise_std, own.least_noise)
        estimate = own.spread(before) * draw_noise(clean, len(clean), generator)
        measured = draw_noise(problem.measurement, len(problem.measurement), generator)
        off = evolve(problem, measurement=least * measured)
        drawn = clean + consistency.correct(estimate, off, before).video
        return passage.signal * drawn + passage.noise * draw_noise(clean, len(clean), generator)
