"""The prior that is known exactly, and methods held against its posterior."""

import math
from functools import cache

import pytest
import torch
from attrs import define, evolve, frozen
from dense import dense, generator, noise, relative_error
from hypothesis import given, settings
from hypothesis import strategies as st

from visionxl import restore, simulate, vision_xl
from visionxl.errors import InputError
from visionxl.operators import AveragePool, GaussianBlur, Mask, TemporalAverage, lift
from visionxl.priors import GaussianPrior
from visionxl.protocols import NoiseLevel
from visionxl.solvers import ClosedForm, NoiseAware, SharedNoise

STD = 0.3
SHAPE = (3, 1, 8, 8)
SPATIAL = {
    "deblur": GaussianBlur(1.0),
    "pool": AveragePool(2),
    "inpaint": Mask.random(0.5, 8, 8, generator()),
}
OPERATORS = SPATIAL | {f"{name}+": op @ TemporalAverage(3) for name, op in SPATIAL.items()}


WHITE = GaussianPrior(torch.full(SHAPE[2:], STD**2, dtype=torch.float64))
NATURAL = GaussianPrior.natural(*SHAPE[2:], std=STD)


@cache
def precision_of(prior):
    return torch.linalg.inv(dense(prior.covariance, SHAPE))


@cache
def matrix_of(name):
    return dense(OPERATORS[name].forward, SHAPE)


def exact_spread(level):
    """The deviation of a white image given its noisy latents."""
    return STD * level.noise / math.hypot(STD * level.signal, level.noise)


def posterior_mean(prior, measured):
    """``E[x | M_1 x + n_1, M_2 x + n_2, ...]`` from (matrix, measurement, noise) of each, dense."""
    precision = precision_of(prior)
    right = precision @ torch.full((len(precision),), prior.mean, dtype=torch.float64)
    for matrix, measurement, noise_std in measured:
        precision = precision + matrix.T @ matrix / noise_std**2
        right = right + matrix.T @ measurement.flatten() / noise_std**2
    return torch.linalg.solve(precision, right).view(SHAPE)


LEVELS = st.builds(
    lambda angle: NoiseLevel(0.5, math.cos(angle), math.sin(angle)), st.floats(0.01, 1.55)
)


@pytest.mark.parametrize("prior", [NATURAL, evolve(NATURAL, mean=0.5)])
@given(level=LEVELS, seed=st.integers(0, 1000))
def test_the_denoiser_is_the_posterior_mean_of_the_latents(prior, level, seed):
    latent = noise(*SHAPE, seed=seed)
    denoised = prior.denoise(latent, level)
    signal = level.signal * torch.eye(latent.numel(), dtype=torch.float64)
    truth = posterior_mean(prior, [(signal, latent, level.noise)])
    torch.testing.assert_close(denoised.clean, truth, rtol=1e-8, atol=1e-8)
    mixed = level.signal * denoised.clean + level.noise * denoised.noise
    torch.testing.assert_close(mixed, latent)


def test_the_covariance_is_positive_definite_and_its_diagonal_the_variance():
    covariance = dense(GaussianPrior.natural(6, 8, std=STD).covariance, (1, 1, 6, 8))
    torch.testing.assert_close(covariance, covariance.T)
    torch.testing.assert_close(covariance.diagonal(), torch.full((48,), STD**2).double())
    assert torch.linalg.eigvalsh(covariance).min() > 0


def test_samples_have_the_mean_and_covariance_that_is_stated():
    prior = evolve(GaussianPrior.natural(4, 6, std=STD), mean=0.5)
    samples = prior.sample(20000, 2, generator()).flatten(2)
    covariance = dense(prior.covariance, (1, 1, 4, 6))
    for channel in samples.unbind(1):
        assert (channel.mean(0) - 0.5).abs().max() < 0.02
        assert relative_error(torch.cov(channel.T), covariance) < 0.03
    assert torch.corrcoef(samples[:, :, 0].T)[0, 1].abs() < 0.03


def test_samples_follow_the_generator():
    first, again, other = (WHITE.sample(2, 1, generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_natural_images_fall_off_with_the_frequency():
    spectrum = GaussianPrior.natural(8, 8).spectrum
    along = spectrum[0, :5]
    assert (along.diff() < 0).all()
    assert spectrum.mean().sqrt().item() == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("spectrum", "message"),
    [
        (torch.zeros(4, 4), "positive variances"),
        (torch.ones(4), r"shape \(4,\)"),
        (1 + torch.rand(4, 4, generator=generator()), "same at f and -f"),
    ],
)
def test_what_is_no_spectrum_of_images_is_refused(spectrum, message):
    with pytest.raises(InputError, match=message):
        GaussianPrior(spectrum)


def test_frames_of_another_size_are_refused():
    with pytest.raises(InputError, match=r"\(4, 8\).*\(8, 8\)"):
        WHITE.denoise(torch.zeros(1, 1, 4, 8), NoiseLevel(0.5, 0.6, 0.8))


# One step of consistency is exact where the prior is white


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("noise_std", [0.05, 0.2])
@settings(max_examples=8)
@given(level=LEVELS)
def test_consistency_with_the_exact_spread_is_the_posterior_mean(name, noise_std, level):
    prior, operator = WHITE, OPERATORS[name]
    truth = prior.sample(3, 1, generator())
    problem = simulate(truth, operator, noise_std, generator=generator(1))
    latent = level.signal * truth + level.noise * noise(*SHAPE, seed=2)
    found = ClosedForm(exact_spread).correct(prior.denoise(latent, level).clean, problem, level)
    signal = level.signal * torch.eye(latent.numel(), dtype=torch.float64)
    measured = [
        (signal, latent, level.noise),
        (matrix_of(name), problem.measurement, noise_std),
    ]
    torch.testing.assert_close(found.video, posterior_mean(prior, measured), rtol=0, atol=1e-8)


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("noise_std", [0.05, 0.2])
def test_from_pure_noise_one_consistency_step_is_the_posterior_mean(name, noise_std):
    prior, pure = WHITE, NoiseLevel(1.0, 1e-12, 1.0)
    problem = simulate(
        prior.sample(3, 1, generator()), OPERATORS[name], noise_std, generator=generator(1)
    )
    found = NoiseAware(exact_spread).correct(
        prior.denoise(noise(*SHAPE), pure).clean, problem, pure
    )
    truth = posterior_mean(prior, [(matrix_of(name), problem.measurement, noise_std)])
    torch.testing.assert_close(found.video, truth, rtol=0, atol=1e-8)


# The whole loop


@frozen
class PriorMean:
    """Starts from the mean of the latents at the first level: no chance enters."""

    def start(self, problem, prior, levels, generator):
        return torch.zeros_like(lift(problem.operator, problem.measurement))


WITHOUT_CHANCE = vision_xl(
    count=100,
    start=1.0,
    initializer=PriorMean(),
    consistency=NoiseAware(exact_spread),
    low_pass=lambda video, level: video,
    renoise=SharedNoise(0.0),
)


@define
class CorrectedNoise:
    """A prior and a renoise that takes the noise which belongs to the corrected estimate.

    ``eps = (z_t - signal_t x') / noise_t``, so that ``z_t = signal_t x' + noise_t eps`` still
    holds and the measurement is counted once, however many steps there are.
    """

    prior: GaussianPrior
    latent: torch.Tensor | None = None
    level: NoiseLevel | None = None

    @property
    def schedule(self):
        return self.prior.schedule

    def encode(self, video):
        return video

    def decode(self, latent):
        return latent

    def denoise(self, latent, level):
        self.latent, self.level = latent, level
        return self.prior.denoise(latent, level)

    def renoise(self, clean, noise, level, generator):
        belonging = (self.latent - self.level.signal * clean) / self.level.noise
        return level.signal * clean + level.noise * belonging


@pytest.mark.parametrize("name", [name for name in OPERATORS if "deblur" not in name])
def test_vision_xl_without_chance_comes_to_the_posterior_mean(name):
    prior, operator = NATURAL, OPERATORS[name]
    problem = simulate(prior.sample(3, 1, generator()), operator, 0.02, generator=generator(1))
    truth = posterior_mean(prior, [(matrix_of(name), problem.measurement, 0.02)])
    found = restore(problem, prior, WITHOUT_CHANCE, generator=generator(), frames_at_once=3).video
    assert relative_error(found, truth) < 0.04
    assert relative_error(lift(operator, problem.measurement), truth) > 0.24


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("noise_std", [0.05, 0.2])
@pytest.mark.parametrize("count", [25, 100])
def test_renoised_with_the_corrected_noise_a_white_prior_comes_to_the_posterior_mean(
    name, noise_std, count
):
    problem = simulate(
        WHITE.sample(3, 1, generator()), OPERATORS[name], noise_std, generator=generator(1)
    )
    prior = CorrectedNoise(WHITE)
    sampler = evolve(
        WITHOUT_CHANCE, times=vision_xl(count=count, start=1.0).times, renoise=prior.renoise
    )
    found = restore(problem, prior, sampler, generator=generator(), frames_at_once=3).video
    truth = posterior_mean(WHITE, [(matrix_of(name), problem.measurement, noise_std)])
    assert relative_error(found, truth) < 0.03


@pytest.mark.parametrize("name", ["deblur", "deblur+"])
def test_renoised_with_the_corrected_noise_deblurring_comes_near_the_posterior_mean(name):
    problem = simulate(
        NATURAL.sample(3, 1, generator()), OPERATORS[name], 0.05, generator=generator(1)
    )
    prior = CorrectedNoise(NATURAL)
    sampler = evolve(WITHOUT_CHANCE, renoise=prior.renoise)
    found = restore(problem, prior, sampler, generator=generator(), frames_at_once=3).video
    truth = posterior_mean(NATURAL, [(matrix_of(name), problem.measurement, 0.05)])
    assert relative_error(found, truth) < 0.15
    assert relative_error(lift(OPERATORS[name], problem.measurement), truth) > 0.35
