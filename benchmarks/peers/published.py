"""The network rows: VISION-XL as its authors' public code runs it, with exact adjoints, and the
library's default.

The recipe is that of Kwon & Ye (arXiv 2412.00156). :func:`paper` follows the public code
(github.com/vision-xl/codes, commit 18efbea) where that departs from the mathematics:

- its adjoint of a blur is the identity, that of a pooling by 4 is 16 times the adjoint, and its
  conjugate gradients go on with an operator that is not positive definite
  (:class:`PublishedOperator`, :class:`PublishedCG`);
- it evaluates the denoiser for two prompts in one call, with the same answer, because both are
  empty, and takes alpha_bar from one time before the one that the denoiser is told
  (:class:`PublishedPrior`);
- its inversion tells the denoiser the time it goes to (:class:`PublishedInversion`);
- it returns the last decoded estimate, from before the conjugate gradients, clipped to [-1, 1].

Where that code stops with an error, the evident intention stands for it: a random mask is its own
adjoint, and an averaged pooling starts from the enlarged frame. Not imitated: it computes in half
precision and draws from the encoder's posterior. Its measurements have no noise.

``evaluations`` counts those in a row that lead to a frame: the start's inversion, which all frames
share, and the frame's own steps.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from attrs import evolve, field, frozen
from torch import Generator

from peers.case import Case, Estimate
from visionxl import (
    CorrectedInversion,
    Correction,
    Denoised,
    InverseProblem,
    Latent,
    LatentPrior,
    Measurement,
    NoiseLevel,
    NoiseSchedule,
    NotFiniteError,
    PlainCG,
    Sampler,
    Video,
    restore,
    trajectory,
    vision_tv,
    vision_xl,
)
from visionxl.operators import AveragePool, GaussianBlur, lift, normal
from visionxl.operators.composition import Composition
from visionxl.solvers import FrameByFrame
from visionxl.solvers.cg import dot

FRAMES_AT_ONCE = 4


def paper(case: Case, prior: LatentPrior) -> Estimate:
    """VISION-XL as the authors' public code runs it. Where that ends in values that are not
    finite, they are 0 here and the note says "diverged"."""
    problem = evolve(case.problem, operator=PublishedOperator(case.problem.operator))
    published = PublishedPrior.of(prior, FRAMES_AT_ONCE)
    sampler = vision_xl(consistency=PublishedCG(), initializer=PublishedInversion())
    video = torch.full_like(case.truth, math.nan)
    try:
        chance = generator_of(case)
        for step in trajectory(problem, published, sampler, generator=chance, frames_at_once=None):
            video = step.decoded
            del step
    except NotFiniteError:  # the public code goes on, and what comes out is no number either
        video = torch.full_like(case.truth, math.nan)
    finite = torch.isfinite(video)
    note = "" if bool(finite.all()) else "diverged"
    return Estimate(torch.where(finite, video, 0).clamp_(-1, 1), 2 * len(published.asked), note)


def paper_exact(case: Case, prior: LatentPrior) -> Estimate:
    """The paper's recipe with exact adjoints, one evaluation per step, and 10 plain CG steps, the
    last of which make the result."""
    return restored(case, prior, vision_xl(consistency=PlainCG(10)))


def noise_aware(case: Case, prior: LatentPrior) -> Estimate:
    """``vision_xl()`` as it comes: the paper's loop, with a consistency that knows the noise."""
    return restored(case, prior, vision_xl())


def no_prior(case: Case, prior: LatentPrior) -> Estimate:
    """The default without its prior and its low-pass: the same start, consistency, finish and
    search for the motion, and in the place of each denoised estimate what the step before has
    found."""
    method, problem = vision_tv(), case.problem
    start, levels = method.initializer, [prior.schedule.level(t) for t in method.times]
    assert isinstance(start, CorrectedInversion)
    video = lift(problem.operator, problem.measurement)
    for consistency in (start.consistency, *[method.consistency] * len(levels), method.finish):
        assert consistency is not None
        video = consistency.correct(video, problem, levels[-1]).video
    return Estimate(video, 0)


def default(case: Case, prior: LatentPrior) -> Estimate:
    """``vision_tv()`` as it comes."""
    return restored(case, prior, vision_tv())


def restored(case: Case, prior: LatentPrior, sampler: Sampler) -> Estimate:
    """A method of the library, with the evaluations counted."""
    counted = Counted(prior, FRAMES_AT_ONCE)
    generator, frames = generator_of(case), len(case.truth)
    try:
        video = restore(
            case.problem, counted, sampler, generator=generator, frames_at_once=frames
        ).video
    except NotFiniteError:
        video = torch.full_like(case.truth, math.nan)
    return Estimate(video, len(counted.asked))


def generator_of(case: Case) -> Generator:
    """The method's chance: the same for every method, another one than the measurement's."""
    return torch.Generator().manual_seed(case.seed + 1)


@frozen(eq=False)
class Counted(FrameByFrame):
    """A prior that keeps the levels it was asked for. All frames are asked for in one call, so
    that a call is one evaluation of each of them."""

    asked: list[NoiseLevel] = field(factory=list, init=False)

    def denoise(self, latent: Latent, level: NoiseLevel) -> Denoised:
        self.asked.append(level)
        return super().denoise(latent, level)


@frozen
class PublishedOperator:
    """The operator of a named task, with the adjoint that the public code has for it.

    A blur is left out, so that a blurred average ``S T`` is solved as ``T S T x = T y`` and a
    blur as ``S x = y``: not the normal equations. Each pixel of a pooling by ``f`` gets the whole
    value, ``f^2`` times the adjoint. A circular average and a mask are their own adjoints.
    """

    operator: Any

    def forward(self, video: Video) -> Measurement:
        return self.operator.forward(video)

    def adjoint(self, measurement: Measurement) -> Video:
        match self.operator:
            case Composition(outer=outer, inner=inner):
                between = PublishedOperator(outer).adjoint(measurement)
                return PublishedOperator(inner).adjoint(between)
            case GaussianBlur():
                return measurement
            case AveragePool(factor=factor):
                return self.operator.adjoint(measurement) * factor**2
            case operator:
                return operator.adjoint(measurement)

    def lift(self, measurement: Measurement) -> Video:
        return lift(self.operator, measurement)


@frozen
class PublishedCG:
    """Conjugate gradients (Hestenes & Stiefel 1952) on ``A' A x = A' y`` from the estimate, ``A'``
    the operator's adjoint, right or not.

    One inner product runs over all dimensions. It ends early only where the residual's norm falls
    below the tolerance, or a division by zero would follow: not where a curvature is negative.

    Args:
        iterations: at most so many; the paper's 10.
        tolerance: of the norm of ``A' (y - A x)``, absolute.
    """

    iterations: int = 10
    tolerance: float = 1e-5

    def correct(self, estimate: Video, problem: InverseProblem, level: NoiseLevel) -> Correction:
        operator, x, done = problem.operator, estimate.clone(), 0
        r = operator.adjoint(problem.measurement) - normal(operator, x)
        p, rr = r.clone(), dot(r, r)
        while done < self.iterations:
            np = normal(operator, p)
            curvature = dot(p, np)
            if curvature == 0:
                break
            step = x.new_tensor(rr / curvature)  # a tensor may overflow, a number may not
            x.addcmul_(p, step)
            r.addcmul_(np, step, value=-1)
            rr, previous = dot(r, r), rr
            done += 1
            if math.sqrt(rr) < self.tolerance:
                break
            p.mul_(rr / previous).add_(r)
        return Correction(x, done, residuals=(), stopped="by the public code's rule")


@frozen
class OneEarlier:
    """A schedule of 1000 times whose signal and noise are those of the time before."""

    schedule: NoiseSchedule

    def level(self, time: float) -> NoiseLevel:
        return evolve(self.schedule.level(max(time - 1 / 1000, 0.0)), time=time)


@frozen(eq=False)
class Paired:
    """A prior whose denoiser is given every frame twice in one call, as if for two prompts, and
    whose one answer is kept: where both are equal, so is the guided answer of CFG++, at any
    scale."""

    prior: LatentPrior

    @property
    def schedule(self) -> NoiseSchedule:
        return self.prior.schedule

    def encode(self, video: Video) -> Latent:
        return self.prior.encode(video)

    def decode(self, latent: Latent) -> Video:
        return self.prior.decode(latent)

    def denoise(self, latent: Latent, level: NoiseLevel) -> Denoised:
        both = self.prior.denoise(torch.cat([latent, latent]), level)
        return Denoised(both.clean[len(latent) :], both.noise[len(latent) :])


class PublishedPrior(Counted):
    """The prior as the public code asks it."""

    @classmethod
    def of(cls, prior: LatentPrior, frames_at_once: int) -> "PublishedPrior":
        """Each of so many frames is evaluated twice."""
        return cls(Paired(prior), frames_at_once)

    @property
    def schedule(self) -> NoiseSchedule:
        return OneEarlier(self.prior.schedule)


@frozen
class PublishedInversion:
    """The first frame of the lifted measurement, encoded, inverted, and replicated.

    DDIM (Song et al. 2021) run backwards; between two levels the denoiser is told the time of the
    higher one, with latents of the lower one. The first evaluation leaves the level as it is.
    """

    def start(
        self,
        problem: InverseProblem,
        prior: LatentPrior,
        levels: Sequence[NoiseLevel],
        generator: Generator,
    ) -> Latent:
        lifted = lift(problem.operator, problem.measurement)
        latent = prior.encode(lifted[:1])
        rising = [levels[-1], *reversed(levels)]
        for level, following in pairwise(rising):
            denoised = prior.denoise(latent, evolve(level, time=following.time))
            latent = denoised.clean * following.signal + denoised.noise * following.noise
        return latent.expand(len(lifted), -1, -1, -1)
