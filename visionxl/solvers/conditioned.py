"""Denoisers conditioned on the measurement, by gradients through the decoder and the networks."""

import math
from abc import abstractmethod
from typing import ClassVar, Protocol

import torch
from attrs import field, frozen
from torch import Tensor

from visionxl.errors import InputError
from visionxl.operators.differentiable import Differentiable
from visionxl.operators.lifting import lift
from visionxl.protocols import (
    Denoised,
    InverseProblem,
    Latent,
    LatentPrior,
    NoiseLevel,
    Video,
)
from visionxl.solvers.contract import check_linear
from visionxl.solvers.gain import unit_of
from visionxl.solvers.spread import LEAST_NOISE, ScheduleSpread, Spread, is_spread
from visionxl.validators import count, from_zero

RATE = 0.02  # step size of Adam, in units of the latents


class Likelihood(Protocol):
    """``-log p(y | z_t)`` up to a constant, differentiable in the latents."""

    @abstractmethod
    def __call__(
        self, prior: LatentPrior, problem: InverseProblem, clean: Latent, level: NoiseLevel
    ) -> Tensor:
        """A number, from the clean latents that are predicted at ``level``."""
        ...


@frozen
class MeasurementLikelihood:
    """``|y - A D(z0)|^2 / (2 (sigma_y^2 + r_t^2))``: latent DPS (Chung et al. 2023).

    DPS has a step size, set by hand, instead of this variance; ``r_t`` is how far the
    estimate may be from the truth, in the measurement's unit (:func:`unit_of`).
    """

    takes_nonlinear: ClassVar[bool] = True
    spread: Spread = field(factory=ScheduleSpread, validator=is_spread)

    def __call__(
        self, prior: LatentPrior, problem: InverseProblem, clean: Latent, level: NoiseLevel
    ) -> Tensor:
        video = prior.decode(clean)
        residual = problem.measurement - Differentiable(problem.operator).forward(video)
        unit = _unit(problem, video)
        variance = max(problem.noise_std / unit, LEAST_NOISE) ** 2 + self.spread(level) ** 2
        return residual.square().sum() / (2 * unit**2 * variance)


@frozen
class GluedLikelihood:
    """The likelihood of DPS with PSLD's gluing of the latents (Rout et al. 2023).

    ``gluing |z0 - E(A^T y + (I - A^T A) D(z0))|^2 / (2 (sigma_y^2 + r_t^2))`` is added: of all
    latents that explain the measurement, it prefers those that the encoder reproduces. ``A`` and
    ``y`` are in the measurement's unit (:func:`unit_of`).

    Args:
        spread: ``r_t``.
        gluing: weight of the second term.
    """

    spread: Spread = field(factory=ScheduleSpread, validator=is_spread)
    gluing: float = field(default=0.1, validator=from_zero)

    def __call__(
        self, prior: LatentPrior, problem: InverseProblem, clean: Latent, level: NoiseLevel
    ) -> Tensor:
        operator, video = Differentiable(problem.operator), prior.decode(clean)
        residual = problem.measurement - operator.forward(video)
        unit, noise = _unit(problem, video), problem.noise_std
        apart = clean - prior.encode(video + operator.adjoint(residual) / unit**2)
        # In the unit of the video, in which the latents are apart.
        variance = max(noise / unit, LEAST_NOISE) ** 2 + self.spread(level) ** 2
        measured = residual.square().sum() / unit**2
        return (measured + self.gluing * apart.square().sum()) / (2 * variance)


@frozen
class Guided:
    """A condition: the score of the likelihood is added to that of the denoiser.

    With ``g`` the gradient of ``likelihood`` with respect to ``z_t``, through the denoiser,
    Tweedie's formula gives ``clean - noise_t^2 / signal_t g`` and ``noise + noise_t g``. The
    gradient is a first-order estimate, and with a strong operator this step may overshoot the
    measurement and move away from it: so it is shortened to the fraction, up to 1, at which the
    likelihood is best by the parabola through its value and slope at ``clean`` and its value a
    whole step farther. It costs a backward pass through the denoiser and the decoder and one more
    pass through the decoder, and the backward pass needs the memory of all frames.
    """

    takes_nonlinear: ClassVar[bool] = True  # if its likelihood does
    likelihood: Likelihood

    def check(self, problem: InverseProblem, prior: LatentPrior) -> None:
        """Raise InputError, naming a way out, where gradients do not come through."""
        check_linear(problem, self.likelihood, "; latent_dps() takes others, too")
        glued = isinstance(self.likelihood, GluedLikelihood)
        check_gradients(problem, prior, denoised=True, encoded=glued)

    def __call__(
        self, prior: LatentPrior, problem: InverseProblem, latent: Latent, level: NoiseLevel
    ) -> Denoised:
        """The denoiser given the measurement."""
        with torch.enable_grad():
            noisy = latent.detach().requires_grad_()
            denoised = prior.denoise(noisy, level)
            likelihood = self.likelihood(prior, problem, denoised.clean, level)
            g, slope = torch.autograd.grad(likelihood, (noisy, denoised.clean))
        clean, step = denoised.clean.detach(), -(level.noise**2) / level.signal * g
        after = self.likelihood(prior, problem, clean + step, level)
        fall = torch.sum(slope * step).item()
        share = lowest(fall, after.item() - likelihood.item())
        noise = denoised.noise.detach() + share * level.noise * g
        return Denoised(clean + share * step, noise)


def lowest(slope: float, change: float) -> float:
    """Where in [0, 1] a parabola with ``slope`` at 0 and a ``change`` from 0 to 1 is lowest."""
    bend = change - slope
    if slope >= 0 or not math.isfinite(bend):
        return 0.0
    return 1.0 if 2 * bend <= -slope else -slope / (2 * bend)


@frozen
class HardConsistency:
    """A condition: the clean latents are optimised until they explain the measurement.

    ``min_z |y - A D(z)|^2``, from the predicted ones, by Adam, until the residual is at the noise
    level, as in ReSample (Song et al. 2024). It costs up to ``iterations`` gradients through the
    decoder.

    Args:
        iterations: at most this many.
    """

    takes_nonlinear: ClassVar[bool] = True
    iterations: int = field(default=50, validator=count)

    def check(self, problem: InverseProblem, prior: LatentPrior) -> None:
        """Raise InputError, naming a way out, where gradients do not come through."""
        check_gradients(problem, prior)

    def __call__(
        self, prior: LatentPrior, problem: InverseProblem, latent: Latent, level: NoiseLevel
    ) -> Denoised:
        """The denoiser, and then the optimisation."""
        denoised = prior.denoise(latent, level)
        operator, measurement = Differentiable(problem.operator), problem.measurement.detach()
        unit = _unit(problem, prior.decode(denoised.clean))
        enough = max(problem.noise_std / unit, LEAST_NOISE) ** 2
        with torch.enable_grad():
            clean = denoised.clean.detach().clone().requires_grad_()
            adam = torch.optim.Adam([clean], lr=RATE)
            for _ in range(self.iterations):
                video = prior.decode(clean)
                loss = (measurement - operator.forward(video)).square().mean() / unit**2
                if loss.item() <= enough:
                    break
                (clean.grad,) = torch.autograd.grad(loss, clean)  # of the latents and nothing else
                adam.step()
        return Denoised(clean.detach(), denoised.noise, unmeasured=denoised.clean)


@torch.no_grad()
def _unit(problem: InverseProblem, video: Video) -> float:
    return unit_of(problem.operator, video.detach())


def check_gradients(
    problem: InverseProblem, prior: LatentPrior, denoised: bool = False, encoded: bool = False
) -> None:
    """Raise InputError if no gradient passes through the decoder, nor the others on demand."""
    if torch.is_inference_mode_enabled():
        raise InputError(
            "this method needs gradients, which torch.inference_mode() forbids: call restore "
            "outside it"
        )
    with torch.enable_grad():
        one = lift(problem.operator, problem.measurement)[:1].detach()
        latent = prior.encode(one).detach().requires_grad_()
        video = prior.decode(latent)
        _let_through("decode", video)
        if denoised:
            _let_through("denoise", prior.denoise(latent, prior.schedule.level(0.1)).clean)
        if encoded:
            _let_through("encode", prior.encode(video))


def _let_through(method: str, answer: Tensor) -> None:
    if not answer.requires_grad:
        raise InputError(
            f"this method needs gradients, and {method} of the prior lets none through: write "
            "it with operations of torch and without no_grad, or use the method diffpir or "
            "vision_xl"
        )
