"""Parts of methods that split a video into what is measured and what is not."""

import math
from typing import ClassVar

import torch
from attrs import field, frozen
from torch import Generator, Tensor

from visionxl.errors import InputError, name_of
from visionxl.protocols import (
    Correction,
    InverseProblem,
    Latent,
    LatentPrior,
    NoiseLevel,
    Passage,
    Video,
)
from visionxl.randomness import draw_noise
from visionxl.solvers.contract import check_linear
from visionxl.solvers.modes import Modes
from visionxl.solvers.renoising import belonging_noise, check_pixels, ddpm_variance
from visionxl.validators import flag, share


@frozen
class NullSpace:
    """``x = x0 + A^+ (y - A x0)``: DDNM's consistency (Wang et al. 2023), by singular values.

    The measured component is replaced by the measurement's, with its noise; the null-space
    component is the prior's. It needs an operator with factors.

    Args:
        noise_aware: for DDNM+: a mode with the singular value ``s`` is corrected only by the share
            ``min(1, s noise_t / (signal_t sigma_y))``, so that the noise it brings in is at most
            the level's.
        negligible: singular values below this share of the largest count as not measured.
    """

    noise_aware: bool = field(default=False, validator=flag)
    negligible: float = field(default=1e-3, validator=share)

    def check(self, problem: InverseProblem, prior: LatentPrior) -> None:
        """Raise InputError, naming a way out, for an operator without factors."""
        check_linear(problem, self)
        _modes_of(problem, problem.operator.adjoint(problem.measurement))

    def correct(self, estimate: Video, problem: InverseProblem, level: NoiseLevel) -> Correction:
        modes = _modes_of(problem, estimate)
        gain, part = _gain_and_share(self, modes, problem, level)
        residual = problem.measurement - problem.operator.forward(estimate)
        video = modes.add_synthesis(
            estimate.clone(memory_format=torch.contiguous_format),
            modes.measured(residual) * (part * gain),
        )
        return Correction(video, iterations=0, residuals=(), stopped="exact")


@frozen
class NullSpaceNoise:
    """The step of DDNM+: less fresh noise where the measurement has already added its own.

    The ancestral step has the mean ``a z0 + b z_t`` and the variance ``sigma^2``. In a mode with
    the singular value ``s`` the correction adds noise of deviation ``a share sigma_y / s``;
    the share is lowered until that is at most ``sigma``, and fresh noise makes up the rest (Wang et
    al. 2023, section 3.3). For a prior whose latents are the pixels, and :class:`NullSpace` as
    consistency.
    """

    shared: ClassVar[bool] = False  # one draw for each frame

    def check(self, problem: InverseProblem, prior: LatentPrior) -> None:
        """Raise InputError, naming a way out, for a prior with an autoencoder."""
        check_linear(problem, self)
        check_pixels("NullSpaceNoise", problem, prior)

    def __call__(
        self, clean: Latent, noise: Latent, passage: Passage, generator: Generator
    ) -> Latent:
        """Latents at the passage's level."""
        before, problem, consistency = passage.before, passage.problem, passage.consistency
        if not isinstance(consistency, NullSpace):
            raise InputError(
                f"NullSpaceNoise belongs to the consistency NullSpace, and this is "
                f"{name_of(consistency)}: replace renoise, too, for instance by DDIMNoise(1.0)"
            )
        modes = _modes_of(problem, clean)
        gain, share = _gain_and_share(consistency, modes, problem, before)
        variance = ddpm_variance(passage)
        kept = math.sqrt(max(0.0, passage.noise**2 - variance))
        step = passage.signal - kept * before.signal / before.noise
        brought = step * problem.noise_std * gain
        lowered = share.minimum(math.sqrt(variance) / brought.clamp(min=1e-30))
        back = modes.analyse(clean - passage.denoised) * (lowered / share.where(share > 0, 1) - 1)
        clean = modes.add_synthesis(
            clean.clone(memory_format=torch.contiguous_format), back * (share > 0)
        )
        left = (1 - (lowered * brought).square() / max(variance, 1e-30)).clamp(min=0).sqrt()
        fresh = draw_noise(clean, len(clean), generator)
        fresh = modes.add_synthesis(fresh, modes.analyse(fresh.clone()) * (left - 1))
        belonging = belonging_noise(clean, noise, passage)
        return passage.signal * clean + kept * belonging + math.sqrt(variance) * fresh


def _modes_of(problem: InverseProblem, video: Video) -> Modes:
    modes = Modes.of(problem.operator, video)
    if modes is None:
        raise InputError(
            f"NullSpace needs the singular values of an operator with factors, and "
            f"{name_of(problem.operator)} has none: use the method diffpir or vision_xl"
        )
    return modes


def _gain_and_share(
    consistency: NullSpace, modes: Modes, problem: InverseProblem, level: NoiseLevel
) -> tuple[Tensor, Tensor]:
    """``1 / s`` of each measured mode, else 0, and the share of every mode."""
    kept = modes.values > consistency.negligible * modes.values.max()
    gain, limit = kept / modes.values.where(kept, 1), math.inf
    if consistency.noise_aware and problem.noise_std:
        limit = level.noise / (level.signal * problem.noise_std)
    return gain, (modes.values * limit).clamp(max=1) * kept
