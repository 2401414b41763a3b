"""The cases of ``claims.py``: a figure of a method, and what it must not be above."""

from collections.abc import Iterator
from functools import cache
from itertools import product

import posterior
import torch
from attrs import evolve, frozen
from posterior import CHANNELS, FRAMES, NOISES, SIZE, generator
from torch import Tensor
from torch.nn.functional import avg_pool2d

from visionxl import GaussianPrior, InverseProblem, restore, simulate, vision_tv, vision_xl
from visionxl.init import Noise
from visionxl.operators import AveragePool, Clip, GaussianBlur, Mask, TemporalAverage, normal
from visionxl.protocols import Denoised, Latent, LatentPrior, NoiseLevel, Video
from visionxl.solvers import PlainCG, Sampler, SpaceTimeTV, gauss_newton, peers

ROUNDING, ANSWERS = 1e-10, 1024
WIDE = 48  # pixels: the motion of frames below 32 is not looked for
NATURAL = posterior.priors()["gaussian"]
OPERATORS = posterior.operators()


@frozen
class Case:
    """A figure, and what it must not be above."""

    name: str
    figure: float
    limit: float


def problems(*noises: float) -> list[tuple[str, float]]:
    return list(product(OPERATORS, noises))


def answer(sampler: Sampler, problem: InverseProblem, prior: LatentPrior, at_once: int = FRAMES):
    return restore(problem, prior, sampler, generator=generator(3), frames_at_once=at_once).video


def error(video: Tensor, truth: Tensor) -> float:
    """Root mean square of the difference, relative to that of the truth; over all answers."""
    return ((video - truth).square().mean() / truth.square().mean()).sqrt().item()


def repeated(problem: InverseProblem, channels: int) -> InverseProblem:
    """The first channel's measurement in many channels, each with chance of its own."""
    one = problem.measurement[:, :1].expand(-1, channels, -1, -1)
    return evolve(problem, measurement=one.contiguous())


def measured(truth: Video, operator: str, noise: float) -> InverseProblem:
    one = simulate(truth, OPERATORS[operator], noise, generator=generator(2))
    return repeated(one, CHANNELS)


def turning(angle: float) -> Video:
    """Frames of the Gaussian prior, each near the one before: ``cos x + sin x'`` of two of them."""
    first, second = NATURAL.sample(2, 1, generator(5)).split(1)
    angles = angle * torch.arange(FRAMES, dtype=torch.float64).view(-1, 1, 1, 1)
    return angles.cos() * first + angles.sin() * second


@cache
def row(method: str, operator: str, noise: float) -> posterior.Row:
    """Of ``posterior.py``, under the Gaussian prior."""
    problem, exact = posterior.measured(NATURAL, OPERATORS[operator], noise)
    return posterior.row(("gaussian", method, operator), NATURAL, problem, exact)


def beside(method: str, other: str) -> Iterator[Case]:
    """Mean errors of two methods."""
    for name, noise in problems(*NOISES):
        figures = (row(m, name, noise).mean_error for m in (method, other))
        yield Case(f"{name} {noise}", *figures)


def one_frame_at_a_time() -> Iterator[Case]:
    for name, noise in problems(*NOISES):
        problem = measured(turning(0.2), name, noise)
        batch = answer(vision_xl(), problem, NATURAL)
        single = answer(vision_xl(), problem, NATURAL, at_once=1)
        yield Case(f"{name} {noise}", error(single, batch), ROUNDING)


def informed_start() -> Iterator[Case]:
    truth = turning(0.2)
    for name, noise in problems(*NOISES):
        problem = measured(truth, name, noise)
        videos = (answer(vision_xl(initializer=i), problem, NATURAL) for i in (None, Noise()))
        yield Case(f"{name} {noise}", *(error(video, truth) for video in videos))


def square(speed: int) -> Video:
    """A bright square on a flat ground, that moves by so many pixels a frame."""
    video = torch.full((FRAMES, 1, WIDE, WIDE), -0.3, dtype=torch.float64)
    for frame in range(FRAMES):
        video[frame, :, 16:32, 6 + speed * frame :][..., :16] = 0.4
    return video


def panned(speed: int) -> Video:
    """A picture of the Gaussian prior, under a camera that moves by so many pixels a frame."""
    picture = GaussianPrior.natural(2 * WIDE, 2 * WIDE, std=0.3).sample(1, 1, generator(5))
    frames = [picture[:, :, :WIDE, speed * frame :][..., :WIDE] for frame in range(FRAMES)]
    return torch.cat(frames)


def in_motion(videos: dict[str, Video], method: Sampler, other: Sampler) -> Iterator[Case]:
    """Errors of two methods on videos large enough for a motion to be found."""
    prior, average = GaussianPrior.natural(WIDE, WIDE, std=0.3), TemporalAverage(3)
    spatial = (GaussianBlur(1.0), AveragePool(2), Mask.random(0.5, WIDE, WIDE, generator(7)))
    operators = zip(OPERATORS, (one @ average for one in spatial), strict=True)
    for (shown, truth), (name, operator), noise in product(videos.items(), operators, NOISES):
        problem = simulate(truth, operator, noise, generator=generator(2))
        figures = (error(answer(m, problem, prior), truth) for m in (method, other))
        yield Case(f"{name} {noise}, {shown}", *figures)


def space_and_time() -> Iterator[Case]:
    videos = {"a still square": square(0), "a moving square": square(1)}
    yield from in_motion(videos, vision_tv(), vision_xl())


def along_the_motion() -> Iterator[Case]:
    videos = {"a pan by 1": panned(1), "a pan by 2": panned(2), "a moving square": square(1)}
    other = vision_tv(consistency=SpaceTimeTV(motion=False))
    yield from in_motion(videos, vision_tv(), other)


def clipped() -> Iterator[Case]:
    truth, average = NATURAL.sample(FRAMES, 1, generator(1)), TemporalAverage(3)
    for noise in (0.0, *NOISES):
        problem = simulate(truth, Clip(high=0.2) @ average, noise, generator=generator(2))
        both = (problem, evolve(problem, operator=average))
        figures = (error(answer(gauss_newton(), p, NATURAL), truth) for p in both)
        yield Case(f"clipped average {noise}", *figures)


def still_frames() -> Iterator[Case]:
    for name, _ in problems(0.0):
        video = answer(peers.svi(), measured(turning(0.0), name, 0.0), NATURAL)
        yield Case(name, video.diff(dim=0).abs().max().item(), ROUNDING)


def frame_differences() -> Iterator[Case]:
    truth = turning(0.2)
    for name, noise in problems(*NOISES):
        problem = measured(truth, name, noise)
        videos = (answer(m(), problem, NATURAL) for m in (peers.svi, peers.dds))
        figures = (error(video.diff(dim=0), truth.diff(dim=0)) for video in videos)
        yield Case(f"{name} {noise}", *figures)


def krylov() -> Iterator[Case]:
    """How much of a step of CG is not in the space of ``A^T r, (A^T A) A^T r, ...``."""
    steps, level = 5, NATURAL.schedule.level(0.5)
    for name, noise in problems(0.02):
        problem = measured(turning(0.2), name, noise)
        estimate = NATURAL.sample(FRAMES, CHANNELS, generator(4))
        step = PlainCG(steps).correct(estimate, problem, level).video - estimate
        residual = problem.measurement - problem.operator.forward(estimate)
        space = [problem.operator.adjoint(residual)]
        for _ in range(steps - 1):
            space.append(normal(problem.operator, space[-1] / space[-1].norm()))
        basis = torch.linalg.qr(torch.stack([x.flatten() for x in space], 1)).Q
        inside = basis @ (basis.T @ step.flatten())
        yield Case(f"{name} {noise}", error(inside, step.flatten()), ROUNDING)


def whatever_the_prior() -> Iterator[Case]:
    for (prior_name, prior), (name, noise) in product(posterior.priors().items(), problems(0.0)):
        truth = NATURAL.sample(FRAMES, 1, generator(1))
        problem = measured(truth, name, noise)
        video = answer(peers.ddnm(), problem, prior)
        yield Case(
            f"{name}, {prior_name}",
            error(problem.operator.forward(video), problem.measurement),
            ROUNDING,
        )


def exact_marginals() -> Iterator[Case]:
    """White noise as the prior: what DAPS takes for ``p(x | z_t)`` is true of it."""
    white = GaussianPrior(torch.full((SIZE, SIZE), 0.3**2, dtype=torch.float64))
    for name, noise in problems(*NOISES):
        problem, exact = posterior.measured(white, OPERATORS[name], noise)
        video = answer(peers.daps(count=5), repeated(problem, ANSWERS), white)
        size = exact.std.norm()
        mean = (video.mean(1, keepdim=True) - exact.mean).norm() / size
        spread = (video.std(1, keepdim=True) - exact.std).norm() / size
        yield Case(f"{name} {noise}, mean", mean.item(), 2 * ANSWERS**-0.5)
        yield Case(f"{name} {noise}, spread", spread.item(), 2 * (2 * ANSWERS) ** -0.5)


@frozen(eq=False)
class Halved:
    """A linear autoencoder: latents of half the size, which the decoder repeats."""

    prior: GaussianPrior

    @property
    def schedule(self):
        return self.prior.schedule

    def encode(self, video: Video) -> Latent:
        return 2 * avg_pool2d(video, 2)

    def decode(self, latent: Latent) -> Video:
        return latent.repeat_interleave(2, -1).repeat_interleave(2, -2) / 2

    def denoise(self, latent: Latent, level: NoiseLevel) -> Denoised:
        return self.prior.denoise(latent, level)


def linear_model() -> tuple[Halved, Video, InverseProblem]:
    """Every second pixel, a checkerboard, so that each latent is seen, without noise."""
    prior = Halved(GaussianPrior.natural(SIZE // 2, SIZE // 2, std=0.6))
    truth = prior.decode(prior.prior.sample(FRAMES, 1, generator(1)))
    rows = torch.arange(SIZE)
    board = Mask((rows[:, None] + rows) % 2 == 0)
    return prior, truth, repeated(simulate(truth, board, generator=generator(2)), CHANNELS)


def recovered() -> Iterator[Case]:
    prior, truth, problem = linear_model()
    yield Case("checkerboard", error(answer(peers.psld(), problem, prior), truth), ROUNDING)


def glued() -> Iterator[Case]:
    yield from beside("psld", "latent_dps")
    prior, truth, problem = linear_model()
    videos = (answer(m(), problem, prior) for m in (peers.psld, peers.latent_dps))
    yield Case("checkerboard", *(error(video, truth) for video in videos))


def explained() -> Iterator[Case]:
    for name, noise in problems(*NOISES):
        yield Case(f"{name} {noise}", row("resample", name, noise).residual, 1.0)
