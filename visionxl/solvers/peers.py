"""Other methods of the field, as values on the same loop.

Those made for pixels (SVI, DDS, DiffPIR, DDNM) run there with a prior whose latents are the pixels;
with an autoencoder they decode and encode at every step, as this library's do. What differs from
the papers is in docs/methods.rst.
"""

import math

from attrs import evolve

from visionxl.init.noise import EncodedBackProjection, Noise
from visionxl.solvers.conditioned import (
    GluedLikelihood,
    Guided,
    HardConsistency,
    MeasurementLikelihood,
)
from visionxl.solvers.consistency import NoiseAware, PlainCG, Unchanged
from visionxl.solvers.loop import Sampler, unfiltered
from visionxl.solvers.null_space import NullSpace, NullSpaceNoise
from visionxl.solvers.parts import leading_times, trailing_times
from visionxl.solvers.renoising import DDIMNoise, DecoupledNoise, FreshNoise, ResampledNoise
from visionxl.solvers.spread import ScheduleSpread, Spread, WienerSpread
from visionxl.validators import check_number


def dds(*, count: int = 50, iterations: int = 5, eta: float = 0.85) -> Sampler:
    """DDS (Chung, Lee & Ye, ICLR 2024): Tweedie, some CG steps, DDIM.

    ``iterations`` CG steps on ``A^T A x = A^T y`` from the denoised estimate, then the predicted
    noise and a share of fresh noise. Linear operators; one evaluation a step. Plain CG fits the
    noise of a measurement, and early stopping is its only regularization: for noisy ones the
    authors' code solves damped equations (docs/methods).

    Args:
        count: steps.
        iterations: of CG.
        eta: of DDIM.
    """
    return Sampler(
        times=leading_times(count, 1.0),
        initializer=Noise(shared=False),
        consistency=PlainCG(iterations),
        low_pass=unfiltered,
        renoise=DDIMNoise(eta, corrected=False),
    )


def svi(*, count: int = 50, iterations: int = 5, eta: float = 0.85) -> Sampler:
    """SVI (Kwon & Ye, ICLR 2025): DDS over a whole video, with the same noise in all frames.

    Only the measurement couples the frames: CG runs over space and time. Otherwise as
    :func:`dds`, with the same limits.
    """
    return evolve(
        dds(count=count, iterations=iterations, eta=eta),
        initializer=Noise(shared=True),
        renoise=DDIMNoise(eta, corrected=False, shared=True),
    )


def diffpir(*, count: int = 50, weight: float = 8.0, zeta: float = 0.3) -> Sampler:
    """DiffPIR (Zhu et al., CVPR 2023 workshops): half-quadratic splitting with a denoiser.

    The data step minimises ``|y - A x|^2 / sigma_y^2 + weight |x - x0|^2 / sigma_t^2`` with
    ``sigma_t = noise_t / signal_t``, but ``sigma_t / sqrt(weight)`` at most 4, exactly if the
    operator has factors; the noise that corresponds to its result is mixed with fresh noise. Linear
    operators; one evaluation a step.

    Args:
        count: steps.
        weight: the paper's lambda.
        zeta: share of fresh noise.
    """
    check_number("weight", weight, lambda w: 0 < w < math.inf, "a number above 0")
    check_number("zeta", zeta, lambda z: 0 <= z <= 1, "a number from 0 to 1")
    return Sampler(
        times=leading_times(count, 1.0),
        initializer=Noise(shared=False),
        consistency=NoiseAware(ScheduleSpread(scale=weight**-0.5, floor=0.0)),
        low_pass=unfiltered,
        renoise=FreshNoise(zeta),
    )


def ddnm(*, count: int = 50) -> Sampler:
    """DDNM (Wang, Yu & Zhang, ICLR 2023): range from the measurement, null space from the prior.

    ``x = A^+ y + (1 - A^+ A) x0``, then the ancestral step. Operators with factors; one evaluation
    a step. For measurements without noise: noise enters the result, divided by the operator's
    singular values.

    Args:
        count: steps.
    """
    return Sampler(
        times=leading_times(count, 1.0),
        initializer=Noise(shared=False),
        consistency=NullSpace(),
        low_pass=unfiltered,
        renoise=DDIMNoise(1.0),
    )


def ddnm_plus(*, count: int = 50) -> Sampler:
    """DDNM+ (Wang, Yu & Zhang, ICLR 2023, section 3.3): DDNM for a measurement with noise.

    The correction of each mode is scaled so that the noise it brings in is at most what the step
    adds, and the step adds the rest (:class:`NullSpaceNoise`); and, unlike in the paper, at most
    the level's own (:class:`NullSpace`). Without the paper's time travel. Operators with
    factors, priors whose latents are the pixels; one evaluation a step.

    Args:
        count: steps.
    """
    consistency = NullSpace(noise_aware=True)
    return evolve(ddnm(count=count), consistency=consistency, renoise=NullSpaceNoise())


def daps(*, count: int = 50, spread: Spread | None = None) -> Sampler:
    """DAPS (Zhang et al., CVPR 2025): a draw from ``p(x | z_t, y)``, then fresh noise.

    ``p(x | z_t)`` is a Gaussian around the denoised estimate, here Tweedie's (the paper's takes a
    few steps of the flow to it), and the draw is exact where the paper takes Langevin steps
    (:class:`DecoupledNoise`). Linear operators, priors whose latents are the pixels; one evaluation
    a step.

    Args:
        count: steps.
        spread: of that Gaussian; default ``noise_t / signal_t`` up to 0.3, about what pixels
            vary by themselves.
    """
    return Sampler(
        times=leading_times(count, 1.0),
        initializer=Noise(shared=False),
        consistency=NoiseAware(spread or WienerSpread()),
        low_pass=unfiltered,
        renoise=DecoupledNoise(),
    )


def latino(*, count: int = 8, start: float = 1.0, spread: Spread | None = None) -> Sampler:
    """LATINO (Spagnoletti et al. 2025): a few rounds of encode, noise, denoise, decode, pull.

    Only fresh noise in every round, and a proximal step of the data term in pixels. Made for
    distilled priors (LCM, DMD2, Lightning), whose denoiser needs one evaluation where others need
    many, at the times that Lightning and DMD2 were distilled for: 2 to 8 rounds. Linear operators.

    Args:
        count: rounds over the whole schedule.
        start: the latest time.
        spread: of the proximal step; its square is the paper's delta.
    """
    return Sampler(
        times=trailing_times(count, start),
        initializer=EncodedBackProjection(),
        consistency=NoiseAware(spread or ScheduleSpread()),
        low_pass=unfiltered,
        renoise=FreshNoise(1.0, shared=True),
    )


def latent_dps(*, count: int = 50, spread: Spread | None = None) -> Sampler:
    """Latent DPS (Chung et al., ICLR 2023, in latents): gradients through denoiser and decoder.

    No consistency step: the score of the measurement is added to the denoiser's
    (:class:`MeasurementLikelihood`). Any differentiable operator; a forward and a backward pass of
    the networks each step, over all frames at once.

    Args:
        count: steps.
        spread: how far the denoised estimate may be from the truth.
    """
    return Sampler(
        times=leading_times(count, 1.0),
        initializer=Noise(shared=False),
        consistency=Unchanged(),
        low_pass=unfiltered,
        renoise=DDIMNoise(1.0, corrected=False),
        condition=Guided(MeasurementLikelihood(spread or ScheduleSpread())),
    )


def psld(*, count: int = 50, spread: Spread | None = None, gluing: float = 0.1) -> Sampler:
    """PSLD (Rout et al., NeurIPS 2023): latent DPS that glues the latents to the encoder.

    As :func:`latent_dps`, with :class:`GluedLikelihood` and one more pass, through the encoder.

    Args:
        count: steps.
        spread: as in :func:`latent_dps`.
        gluing: weight of the second term.
    """
    likelihood = GluedLikelihood(spread or ScheduleSpread(), gluing)
    return evolve(latent_dps(count=count), condition=Guided(likelihood))


def resample(*, count: int = 50, iterations: int = 50, strength: float = 40.0) -> Sampler:
    """ReSample (Song et al., ICLR 2024): latents optimised to fit, and resampled around DDIM's.

    :class:`HardConsistency` at every step (in the authors' code at every tenth of the later two
    thirds), then :class:`ResampledNoise`. Any differentiable operator; up to ``iterations``
    gradients through the decoder a step.

    Args:
        count: steps.
        iterations: of the optimisation.
        strength: of the resampling, the paper's gamma.
    """
    return Sampler(
        times=leading_times(count, 1.0),
        initializer=Noise(shared=False),
        consistency=Unchanged(),
        low_pass=unfiltered,
        renoise=ResampledNoise(strength),
        condition=HardConsistency(iterations),
    )
