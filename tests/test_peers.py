"""Other methods on the same loop: what each is, and what it says of its limits."""

import math

import pytest
import torch
from attrs import evolve, frozen
from dense import dense, generator, noise, relative_error

from visionxl import GaussianPrior, InputError, InverseProblem, restore, simulate
from visionxl.init import Noise
from visionxl.operators import (
    AveragePool,
    BlockCosine,
    Blur,
    Clip,
    Differentiable,
    FourierMagnitude,
    Gamma,
    GaussianBlur,
    Identity,
    Mask,
    Scale,
    TemporalAverage,
)
from visionxl.priors import MixturePrior
from visionxl.priors.flow import FlowSchedule
from visionxl.protocols import Denoised, NoiseLevel, Passage
from visionxl.solvers import (
    ConstantSpread,
    DampedCG,
    DDIMNoise,
    DecoupledNoise,
    FreshNoise,
    GaussNewton,
    GluedLikelihood,
    Guided,
    HardConsistency,
    MeasurementLikelihood,
    NoiseAware,
    NullSpace,
    NullSpaceNoise,
    ResampledNoise,
    SharedNoise,
    Unchanged,
    WienerSpread,
    daps,
    ddnm,
    ddnm_plus,
    dds,
    diffpir,
    gauss_newton,
    latent_dps,
    latino,
    leading_times,
    method_named,
    psld,
    resample,
    svi,
    trajectory,
    unconditioned,
)
from visionxl.solvers.conditioned import lowest
from visionxl.solvers.gain import unit_of
from visionxl.solvers.residual import data_residual
from visionxl.solvers.spread import LEAST_NOISE

STD = 0.3
PRIOR = GaussianPrior.natural(8, 8, std=STD)
WHITE = GaussianPrior(torch.full((8, 8), STD**2, dtype=torch.float64))
TRUTH = PRIOR.sample(5, 2, generator())
POOL = AveragePool(2) @ TemporalAverage(3)
UNFACTORED = Blur([[0.0, 0.2, 0.0], [0.3, 0.2, 0.1], [0.0, 0.2, 0.0]])
METHODS = {
    "svi": svi,
    "dds": dds,
    "diffpir": diffpir,
    "ddnm": ddnm,
    "ddnm_plus": ddnm_plus,
    "daps": daps,
    "latino": latino,
    "latent_dps": latent_dps,
    "psld": psld,
    "resample": resample,
}


def problem_of(operator=POOL, noise_std=0.05, truth=TRUTH):
    return simulate(truth, operator, noise_std, generator=generator(1))


def restored(sampler, problem, prior=PRIOR, seed=0):
    return restore(problem, prior, sampler, generator=generator(seed), frames_at_once=5).video


def passage(before=0.5, after=0.3, latent=None, eps=0.0, problem=None, consistency=None):
    """Of a denoiser that finds the noise ``eps`` in the latents."""
    from_, to = PRIOR.schedule.level(before), PRIOR.schedule.level(after)
    denoised = None if latent is None else (latent - from_.noise * eps) / from_.signal
    return Passage(to.time, to.signal, to.noise, from_, latent, denoised, problem, consistency)


# What all have in common


@pytest.mark.parametrize("name", METHODS)
def test_every_method_nears_the_truth_and_repeats_itself(name):
    problem = problem_of(AveragePool(2), 0.02)
    sampler = METHODS[name](count={"latino": 8, "resample": 15}.get(name, 30))
    found = restored(sampler, problem)
    assert relative_error(found, TRUTH) < 1  # one without any information errs by 1.4
    blind = evolve(sampler, consistency=Unchanged(), condition=unconditioned)
    nothing = restored(evolve(blind, renoise=DDIMNoise(1.0)), problem)
    assert relative_error(found, TRUTH) < 0.8 * relative_error(nothing, TRUTH)
    assert torch.equal(found, restored(sampler, problem))
    assert not torch.equal(found, restored(sampler, problem, seed=1))


# Ways back to noise


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("corrected", [True, False])
def test_ddim_keeps_the_variance_of_the_level(eta, corrected):
    clean, fresh = torch.zeros(400, 1, 8, 8), noise(400, 1, 8, 8, seed=1).float()
    level = passage(latent=passage().before.noise * fresh, eps=fresh)
    found = DDIMNoise(eta, corrected)(clean, fresh, level, generator())
    assert found.std().item() == pytest.approx(level.noise, rel=0.03)


def test_without_chance_the_belonging_noise_stays_on_the_line_through_the_latents():
    clean, latent = noise(2, 1, 8, 8), noise(2, 1, 8, 8, seed=1)
    level = passage(latent=latent)
    found = DDIMNoise(0.0)(clean, torch.zeros_like(clean), level, generator())
    eps = (latent - level.before.signal * clean) / level.before.noise
    torch.testing.assert_close(found, level.signal * clean + level.noise * eps)


def test_the_ancestral_step_is_that_of_ddpm():
    clean, latent = noise(1, 1, 8, 8), noise(1, 1, 8, 8, seed=1)
    level = passage(latent=latent, eps=clean)
    before = level.before
    alpha = (before.signal / level.signal) ** 2
    beta = 1 - alpha
    a = level.signal * beta / before.noise**2
    b = math.sqrt(alpha) * level.noise**2 / before.noise**2
    draws = torch.cat([DDIMNoise(1.0)(clean, clean, level, generator(s)) for s in range(2000)])
    torch.testing.assert_close(
        draws.mean(0, keepdim=True), a * clean + b * latent, atol=0.06, rtol=0
    )
    deviation = level.noise / before.noise * math.sqrt(beta)
    assert draws.std(0).mean().item() == pytest.approx(deviation, rel=0.02)


LEVELS = {
    "Stable Diffusion's": [PRIOR.schedule.level(t) for t in (0.5, 0.4)],
    "a flow's": [FlowSchedule().level(t) for t in (0.5, 0.4)],
    "the end of a flow": [FlowSchedule(3.0).level(t) for t in (0.06, 0.001)],
    "growing noise": [NoiseLevel(0.5, 1.0, 7.0), NoiseLevel(0.4, 1.0, 3.0)],
}


@pytest.mark.parametrize("name", LEVELS)
def test_the_ancestral_step_is_the_conditional_of_the_levels_joint_distribution(name):
    """Given clean latents, later latents are the earlier ones, scaled, and more noise."""
    before, after = LEVELS[name]
    scale = before.signal / after.signal
    covariance = scale * after.noise**2  # of latents at both levels, whatever the schedule
    variance = after.noise**2 - covariance**2 / before.noise**2
    clean, latent = noise(1, 1, 64, 64), noise(1, 1, 64, 64, seed=1)
    problem = InverseProblem(Identity(), latent)
    there = before, latent, (latent - before.noise * clean) / before.signal
    step = Passage(after.time, after.signal, after.noise, *there, problem, Unchanged())
    draws = torch.cat([DDIMNoise(1.0)(clean, clean, step, generator(s)) for s in range(20)])
    mean = after.signal * clean + covariance / before.noise**2 * (latent - before.signal * clean)
    assert (draws - mean).square().mean().item() == pytest.approx(variance, rel=0.02)


def test_sampling_a_flow_by_ancestral_steps_keeps_the_priors_variance():
    prior = evolve(PRIOR, schedule=FlowSchedule())
    nothing = InverseProblem(Identity(), torch.zeros(200, 1, 8, 8).double())
    method = evolve(dds(count=100, eta=1.0), consistency=Unchanged(), initializer=Noise())
    method = evolve(method, times=tuple(t for t in leading_times(100, 1.0) if t < 1))
    found = restore(nothing, prior, method, generator=generator(), frames_at_once=200).video
    assert found.square().mean().item() == pytest.approx(STD**2, rel=0.15)


def test_fresh_noise_alone_forgets_the_latents():
    clean = noise(2, 1, 8, 8)
    first, other = (
        FreshNoise(1.0)(clean, clean, passage(latent=latent, eps=clean), generator())
        for latent in (noise(2, 1, 8, 8, seed=1), noise(2, 1, 8, 8, seed=2))
    )
    assert torch.equal(first, other)


def test_resampling_lies_between_the_corrected_latents_and_the_unmeasured_step():
    clean, eps, latent = (noise(1, 1, 8, 8, seed=s) for s in (0, 1, 2))
    level = passage(latent=latent, eps=eps)
    before = level.before
    unmeasured = (latent - before.noise * eps) / before.signal
    near = ResampledNoise(1e-12)(clean, eps, level, generator())
    torch.testing.assert_close(
        near, level.signal * unmeasured + level.noise * eps, atol=1e-4, rtol=0
    )
    draws = torch.cat([ResampledNoise(1e9)(clean, eps, level, generator(s)) for s in range(2000)])
    torch.testing.assert_close(draws.mean(0), level.signal * clean[0], atol=0.05, rtol=0)
    assert draws.std(0).mean().item() == pytest.approx(level.noise, rel=0.02)


def test_resampling_without_trust_in_the_measurement_is_plain_ddim():
    """What the optimised latents are drawn towards is the step that knows nothing of y."""
    told = resample(count=4, strength=0.0)
    untold = evolve(told, condition=unconditioned, renoise=DDIMNoise(0.0, corrected=False))
    ends = []
    for method in (told, untold):
        steps = list(trajectory(problem_of(AveragePool(2)), PRIOR, method, generator=generator()))
        ends.append(steps[-2].following.latent)
    torch.testing.assert_close(*ends)


# SVI and DDS


def test_svi_gives_equal_frames_the_same_restoration_and_dds_does_not():
    still = TRUTH[:1].expand(5, -1, -1, -1).contiguous()
    operator = AveragePool(2)
    one = simulate(still[:1], operator, 0.02, generator=generator(1)).measurement
    problem = InverseProblem(operator, one.expand(5, -1, -1, -1).contiguous(), 0.02)
    frames = restored(svi(), problem)
    torch.testing.assert_close(frames, frames[:1].expand_as(frames))
    frames = restored(dds(), problem)
    assert (frames - frames[:1]).abs().max() > 0.01


def test_dds_makes_five_steps_of_plain_cg():
    problem = problem_of(GaussianBlur(1.0))  # of more than five singular values
    records = [s.record for s in trajectory(problem, PRIOR, dds(count=5), generator=generator())]
    assert [r.iterations for r in records] == [5] * 5


# DDNM


def test_ddnm_has_the_measurement_exactly_and_leaves_the_null_space_to_the_prior():
    problem = problem_of(noise_std=0.0)
    level = PRIOR.schedule.level(0.5)
    estimate = noise(5, 2, 8, 8, seed=4)
    found = NullSpace().correct(estimate, problem, level).video
    torch.testing.assert_close(
        problem.operator.forward(found), problem.measurement, atol=1e-8, rtol=0
    )
    matrix = dense(problem.operator.forward, (5, 1, 8, 8))
    null = torch.eye(matrix.shape[1]).double() - torch.linalg.pinv(matrix, rtol=1e-3) @ matrix
    moved = (found - estimate)[:, :1].flatten()
    assert (null @ moved).abs().max() < 1e-8
    assert moved.abs().max() > 0.1


@pytest.mark.filterwarnings("ignore:.*result's values are beyond")
def test_diffpir_bears_the_noise_that_ddnm_hands_on():
    problem = problem_of(GaussianBlur(1.0), 0.05)
    errors = {m: relative_error(restored(m(), problem), TRUTH) for m in (ddnm, diffpir)}
    assert errors[diffpir] < 1 < 10 * errors[diffpir] < errors[ddnm]


# LATINO


def test_latino_takes_eight_evaluations():
    problem = problem_of(AveragePool(2), 0.02)
    steps = list(trajectory(problem, PRIOR, latino(), generator=generator()))
    assert len(steps) == 8
    assert relative_error(steps[-1].corrected, TRUTH) < 0.75


# Gradients


def exact_spread(level):
    """The deviation of a white image given its noisy latents."""
    return STD * level.noise / math.hypot(STD * level.signal, level.noise)


@pytest.mark.parametrize("time", [0.1, 0.5, 0.9])
def test_the_guided_denoiser_is_exact_where_the_likelihood_is(time):
    problem = problem_of(Identity(), 0.1)
    level, latent = WHITE.schedule.level(time), noise(5, 2, 8, 8, seed=5)
    told = Guided(MeasurementLikelihood(exact_spread))(WHITE, problem, latent, level)
    precision = 1 / STD**2 + level.signal**2 / level.noise**2 + 1 / 0.1**2
    right = level.signal / level.noise**2 * latent + problem.measurement / 0.1**2
    torch.testing.assert_close(told.clean, right / precision, rtol=1e-7, atol=1e-7)
    mixed = level.signal * told.clean + level.noise * told.noise
    torch.testing.assert_close(mixed, latent)


def test_the_gluing_is_what_the_encoder_does_not_give_back():
    problem = problem_of()
    clean, level = noise(5, 2, 8, 8, seed=6), PRIOR.schedule.level(0.3)
    plain, glued = (
        GluedLikelihood(gluing=g)(PRIOR, problem, clean, level).item() for g in (0.0, 2.0)
    )
    dps = MeasurementLikelihood()(PRIOR, problem, clean, level).item()
    assert plain == pytest.approx(dps)
    residual = problem.measurement - problem.operator.forward(clean)
    extra = problem.operator.adjoint(residual).square().sum().item()
    variance = 0.05**2 + MeasurementLikelihood().spread(level) ** 2
    assert glued - plain == pytest.approx(2 * extra / (2 * variance))


def test_hard_consistency_ends_at_the_noise():
    problem, level = problem_of(noise_std=0.05), PRIOR.schedule.level(0.5)
    told = HardConsistency(500)(PRIOR, problem, noise(5, 2, 8, 8, seed=7), level)
    residual = (problem.measurement - problem.operator.forward(told.clean)).square().mean().sqrt()
    assert 0.03 < residual.item() <= 0.05


def test_the_gradient_of_any_operator_is_its_adjoint():
    @frozen
    class InNumpy:
        def forward(self, video):
            return torch.from_numpy(video.detach().numpy()[..., ::2].copy())

        def adjoint(self, measurement):
            video = torch.zeros(*measurement.shape[:-1], 2 * measurement.shape[-1]).double()
            video[..., ::2] = measurement
            return video

    operator = Differentiable(InNumpy())
    for name, x in (("forward", noise(1, 1, 2, 4)), ("adjoint", noise(1, 1, 2, 2))):
        given = x.requires_grad_()
        assert torch.autograd.gradcheck(getattr(operator, name), (given,))


@pytest.mark.parametrize("name", ["latent_dps", "psld", "resample"])
def test_methods_with_gradients_take_operators_without_factors(name):
    problem = problem_of(UNFACTORED)
    found = restored(METHODS[name](count=20 if name == "resample" else 50), problem)
    assert relative_error(found, TRUTH) < 0.9


CURVE = Gamma(2.2) @ AveragePool(2)


@pytest.mark.parametrize("name", ["latent_dps", "resample"])
def test_methods_with_gradients_take_operators_that_are_not_linear(name):
    problem = simulate(TRUTH, CURVE, 0.02, generator=generator(1))
    found = restored(METHODS[name](count=20 if name == "resample" else 50), problem)
    assert data_residual(problem, found) < 0.5 * data_residual(problem, 0 * TRUTH)
    assert relative_error(found, TRUTH) < 0.9


def test_psld_refuses_an_operator_without_an_adjoint():
    problem = simulate(TRUTH, CURVE, 0.02, generator=generator(1))
    with pytest.raises(InputError, match=r"GluedLikelihood needs one that is.*latent_dps\(\)"):
        restored(psld(), problem, Closed())


@pytest.mark.parametrize("name", METHODS)
def test_nothing_of_the_caller_gets_a_gradient(name):
    clip = (TRUTH + 0.0).requires_grad_()
    problem = simulate(clip, AveragePool(2), 0.02, generator=generator(1))
    assert problem.measurement.requires_grad
    problem.measurement.retain_grad()
    found = restored(METHODS[name](count=8), problem)
    assert not found.requires_grad
    assert problem.measurement.grad is None


@pytest.mark.parametrize("name", ["latent_dps", "psld", "resample"])
def test_methods_with_gradients_say_that_inference_mode_forbids_them(name):
    with torch.inference_mode(), pytest.raises(InputError, match="outside it"):
        restored(METHODS[name](count=8), problem_of())


# Noise that depends on the measurement


def test_without_noise_ddnm_plus_is_ddnm():
    problem = problem_of(AveragePool(2), noise_std=0.0)
    plain, plus = restored(ddnm(count=10), problem), restored(ddnm_plus(count=10), problem)
    torch.testing.assert_close(plus, plain)


def test_the_step_of_ddnm_plus_has_the_schedules_variance_with_the_measurements_in_it():
    operator, noise_std = AveragePool(2), 0.2
    consistency = NullSpace(noise_aware=True)
    estimate = torch.zeros(1000, 1, 4, 4, dtype=torch.float64)
    y = noise_std * noise(1000, 1, 2, 2, seed=3)  # of a video of zeros
    problem = InverseProblem(operator, y, noise_std)
    none = torch.zeros_like(estimate)
    step = passage(0.5, 0.4, none, problem=problem, consistency=consistency)
    clean = consistency.correct(estimate, problem, step.before).video
    found = NullSpaceNoise()(clean, torch.zeros_like(clean), step, generator(4))
    expected = DDIMNoise(1.0)(estimate, torch.zeros_like(clean), step, generator(5))
    assert found.square().mean().item() == pytest.approx(expected.square().mean().item(), rel=0.03)
    means = [operator.forward(z).square().mean().item() for z in (found, expected)]
    assert means[0] == pytest.approx(means[1], rel=0.06)


@pytest.mark.filterwarnings("ignore:.*result's values are beyond")
def test_ddnm_plus_bears_the_noise_that_ddnm_hands_on():
    problem = problem_of(GaussianBlur(1.0), noise_std=0.1)
    plain, plus = (relative_error(restored(m(), problem), TRUTH) for m in (ddnm, ddnm_plus))
    assert plus < plain / 4


def test_daps_draws_from_the_posterior_of_its_gaussian():
    operator, noise_std, spread = AveragePool(2), 0.1, WienerSpread(0.3)
    copies = 20000
    problem = InverseProblem(operator, noise(copies, 1, 1, 2, seed=1), noise_std)
    clean = torch.zeros(copies, 1, 2, 4, dtype=torch.float64)
    to, from_ = NoiseLevel(0.0, 1.0, 0.0), NoiseLevel(0.5, 0.6, 0.8)
    step = Passage(to.time, to.signal, to.noise, from_, clean, clean, problem, NoiseAware(spread))
    drawn = DecoupledNoise()(clean, clean, step, generator(2))
    matrix = dense(operator.forward, (1, 1, 2, 4))
    precision = matrix.T @ matrix / noise_std**2 + torch.eye(8) / spread(from_) ** 2
    expected = torch.linalg.inv(precision)
    found = drawn.flatten(1).T @ drawn.flatten(1) / copies
    torch.testing.assert_close(found, expected, atol=0.03 * expected.max().item(), rtol=0)


def test_the_wiener_spread_is_what_a_white_gaussian_leaves_unknown():
    level = NoiseLevel(0.5, 0.6, 0.8)
    clean, noisy = STD**2, 0.6**2 * STD**2 + 0.8**2
    expected = clean - (0.6 * clean) ** 2 / noisy
    assert WienerSpread(STD)(level) ** 2 == pytest.approx(expected)


@pytest.mark.filterwarnings("ignore:the result does not explain its measurement")
def test_a_renoise_that_depends_on_the_consistency_follows_an_exchanged_one():
    problem = problem_of(AveragePool(2), 0.1)
    one, other = WienerSpread(), WienerSpread(0.05)
    swapped = evolve(daps(count=5, spread=one), consistency=NoiseAware(other))
    assert torch.equal(restored(swapped, problem), restored(daps(count=5, spread=other), problem))
    for method in (ddnm_plus(count=5), daps(count=5)):
        with pytest.raises(InputError, match=r"this is Unchanged\(\): replace renoise, too"):
            restored(evolve(method, consistency=Unchanged()), problem)


# What they need is said before they begin


@frozen(eq=False)
class Closed:
    """A prior that lets no gradient through, and that must not be evaluated."""

    schedule = PRIOR.schedule

    def encode(self, video):
        return video

    def decode(self, latent):
        return latent.detach().clone()

    def denoise(self, latent, level) -> Denoised:
        raise AssertionError("evaluated")


@pytest.mark.parametrize("name", ["latent_dps", "psld", "resample"])
def test_without_gradients_they_refuse_before_the_first_evaluation(name):
    with pytest.raises(InputError, match=r"decode of the prior.*method diffpir"):
        restored(METHODS[name](), problem_of(), Closed())


@frozen(eq=False)
class Cut(Closed):
    """A prior one of whose functions lets no gradient through."""

    method: str

    def _of(self, method, value):
        return value.detach() if method == self.method else value

    def encode(self, video):
        return self._of("encode", video * 1.0)

    def decode(self, latent):
        return self._of("decode", latent * 1.0)

    def denoise(self, latent, level) -> Denoised:
        clean = self._of("denoise", latent * 0.5)
        return Denoised(clean, (latent - level.signal * clean) / level.noise)


@pytest.mark.parametrize(
    ("name", "method"), [("latent_dps", "denoise"), ("psld", "denoise"), ("psld", "encode")]
)
def test_gradients_that_are_cut_on_the_way_are_refused(name, method):
    with pytest.raises(InputError, match=rf"{method} of the prior lets none through"):
        restored(METHODS[name](), problem_of(), Cut(method))


@frozen(eq=False)
class Halved(Closed):
    """Its latents have half the size."""

    def encode(self, video):
        return video[..., ::2, ::2]


@pytest.mark.parametrize("name", ["ddnm_plus", "daps"])
def test_with_an_autoencoder_they_refuse_before_the_first_evaluation(name):
    with pytest.raises(InputError, match=r"latents are the pixels.*method diffpir"):
        restored(METHODS[name](), problem_of(), Halved())


def test_without_factors_ddnm_refuses_before_the_first_evaluation():
    with pytest.raises(InputError, match=r"NullSpace needs.*method diffpir"):
        restored(ddnm(), problem_of(UNFACTORED), Closed())


# A prior with several modes


def test_the_mixture_denoises_like_its_two_modes_do():
    means = torch.stack([torch.full((4, 4), -0.5), torch.full((4, 4), 0.5)]).double()
    prior = MixturePrior(means, std=0.1)
    level = NoiseLevel(0.5, 0.8, 0.6)
    for latent, mode in ((-0.4, -0.5), (0.4, 0.5)):
        z = torch.full((1, 1, 4, 4), latent).double()
        alone = MixturePrior(torch.full((1, 4, 4), mode).double(), std=0.1)
        expected = alone.denoise(z, level).clean
        torch.testing.assert_close(prior.denoise(z, level).clean, expected, atol=1e-3, rtol=0)
    between = prior.denoise(torch.zeros(1, 1, 4, 4).double(), level).clean
    torch.testing.assert_close(between, torch.zeros_like(between))


def test_the_score_of_the_mixture_is_the_gradient_of_its_density():
    means = noise(3, 4, 4, seed=8) * 0.3
    prior = MixturePrior(means, std=0.2, weights=[1.0, 2.0, 3.0])
    level = NoiseLevel(0.5, 0.8, 0.6)
    z = noise(1, 1, 4, 4, seed=9).requires_grad_()
    variance = (level.signal * 0.2) ** 2 + level.noise**2
    apart = (z[0, 0] - level.signal * means).square().sum((-1, -2))
    density = (prior.log_weights() - apart / (2 * variance)).logsumexp(0)
    (score,) = torch.autograd.grad(density, z)
    torch.testing.assert_close(prior.denoise(z.detach(), level).noise, -level.noise * score)


def test_samples_of_a_mixture_come_in_its_shares():
    means = torch.stack([torch.full((4, 4), -0.5), torch.full((4, 4), 0.5)])
    drawn = MixturePrior(means, std=0.1, weights=[1, 3]).sample(1000, 4, generator())
    assert (drawn.mean((-1, -2)) > 0).double().mean().item() == pytest.approx(0.75, abs=0.03)


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: MixturePrior(torch.zeros(4, 4)), "expected pictures"),
        (lambda: MixturePrior(torch.zeros(1, 4, 4), std=0.0), "std 0.0"),
    ],
)
def test_what_is_no_mixture_is_refused(make, word):
    with pytest.raises(InputError, match=word):
        make()


def test_a_mask_and_an_average_split_into_range_and_null_space():
    mask = Mask.random(0.5, 8, 8, generator(3)) @ TemporalAverage(3)
    problem = problem_of(mask, 0.0)
    found = restored(evolve(ddnm(count=10)), problem)
    torch.testing.assert_close(mask.forward(found), problem.measurement, atol=1e-6, rtol=0)


@pytest.mark.parametrize("shared", [True, False])
def test_fresh_noise_is_the_same_for_all_frames_only_where_it_is_said(shared):
    alike = noise(1, 1, 8, 8).expand(3, -1, -1, -1)
    level = passage(latent=alike, eps=alike)
    for renoise in (FreshNoise(1.0, shared=shared), FreshNoise(0.3, shared=shared)):
        found = renoise(alike, alike, level, generator())
        assert torch.equal(found[:1].expand_as(found), found) == shared


def test_a_resampling_of_less_than_nothing_is_refused():
    with pytest.raises(InputError, match=r"strength -1\.0 is not a number from 0"):
        ResampledNoise(-1.0)


def test_the_resampling_weighs_by_the_papers_variance():
    nothing = torch.zeros(4000, 1, 2, 2, dtype=torch.float64)
    level = passage(before=0.5, after=0.3, latent=nothing)
    before = level.before
    variance = 2.0 / before.signal**2 * (1 - (before.signal / level.signal) ** 2)
    found = ResampledNoise(2.0)(nothing + 1, nothing, level, generator())
    weight = variance / (variance + 1)
    assert found.mean().item() == pytest.approx(weight * level.signal, rel=0.02)
    assert found.std().item() == pytest.approx(level.noise * math.sqrt(weight), rel=0.02)


def test_without_noise_daps_takes_the_least_for_the_measurements():
    asked = []

    class Told(Identity):
        def adjoint(self, measurement):
            asked.append(measurement)
            return measurement

        factors = None

    for least in (LEAST_NOISE, 0.05):
        asked.clear()
        problem = InverseProblem(Told(), TRUTH, 0.0)
        pull = DampedCG(ConstantSpread(1e-9), least)  # then of y - A x0 the estimate is nothing
        level = passage(latent=TRUTH, problem=problem, consistency=pull)
        DecoupledNoise()(TRUTH, TRUTH, level, generator())
        assert asked[0].std().item() == pytest.approx(least, rel=0.2)


@pytest.mark.parametrize("gain", [1e-4, 127.5])
def test_what_counts_as_measured_does_not_hang_on_the_measurements_unit(gain):
    operator = Scale(gain) @ POOL
    problem = InverseProblem(operator, operator.forward(TRUTH), 0.0)
    found = NullSpace().correct(torch.zeros_like(TRUTH), problem, PRIOR.schedule.level(0.3)).video
    plain = InverseProblem(POOL, POOL.forward(TRUTH), 0.0)
    expected = NullSpace().correct(torch.zeros_like(TRUTH), plain, PRIOR.schedule.level(0.3)).video
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("gain", [0.01, 127.5])
@pytest.mark.parametrize("name", ["latent_dps", "psld", "resample"])
def test_methods_that_follow_gradients_do_not_hang_on_the_measurements_unit(name, gain):
    answers = []
    for scale in (1.0, gain):
        operator = Scale(scale) @ POOL
        problem = simulate(TRUTH, operator, 0.1 * scale, generator=generator(1))
        method = method_named(name)(count=6)
        answers.append(restore(problem, PRIOR, method, generator=generator(2)).video)
    assert relative_error(answers[1], answers[0]) < 1e-4


def test_a_mask_does_not_change_the_measurements_unit():
    video = torch.zeros(3, 3, 16, 24)
    half = Mask.random(0.5, 16, 24, generator())
    assert unit_of(half, video) == pytest.approx(1)
    assert unit_of(Scale(127.5) @ half, video) == pytest.approx(127.5)
    assert unit_of(POOL, video) == pytest.approx(1)
    assert unit_of(Mask(torch.zeros(16, 24)), video) == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [16, 32])
def test_the_unit_of_an_orthonormal_transform_is_1_whatever_rounds(size, dtype):
    video = noise(2, 3, size, size).to(dtype)
    assert unit_of(BlockCosine([1.0] * 8), video) == pytest.approx(1)
    assert unit_of(FourierMagnitude(), video) == pytest.approx(1, rel=0.05)


def test_the_unit_of_a_clipping_is_that_of_what_it_lets_through():
    video = torch.linspace(-1, 1, 128).view(2, 1, 8, 8)
    assert unit_of(Clip(high=0.01), video) == pytest.approx(1)
    assert unit_of(Gamma(2.0), torch.zeros(2, 3, 8, 8)) == pytest.approx(1)


# Guidance by a likelihood


@pytest.mark.parametrize("slope", [-1.0, -0.1, 0.0, 1.0])
@pytest.mark.parametrize("bend", [-2.0, 0.0, 0.01, 0.5, 30.0])
def test_a_parabola_is_nowhere_lower_between_its_ends(slope, bend):
    places = torch.linspace(0, 1, 1001, dtype=torch.float64)
    parabola = slope * places + bend * places**2
    found = lowest(slope, slope + bend)
    if bend >= 0:
        assert slope * found + bend * found**2 <= parabola.min() + 1e-6
    assert 0 <= found <= 1
    assert lowest(slope, math.inf) == lowest(slope, math.nan) == 0


@pytest.mark.filterwarnings("ignore:the result does not explain its measurement")
@pytest.mark.parametrize("method", [latent_dps, psld])
@pytest.mark.parametrize("count", [10, 50])
@pytest.mark.parametrize(
    "operator",
    [Identity(), GaussianBlur(1.0), BlockCosine(), Scale(127.5), Clip(high=0.2), AveragePool(4)],
    ids=repr,
)
def test_gradients_do_not_lead_away_from_the_measurement(operator, count, method):
    """A step may be too long for an operator that is as strong as the identity."""
    if method is psld and isinstance(operator, Clip):
        pytest.skip("PSLD is for linear operators")
    truth = GaussianPrior.natural(32, 32).sample(1, 3, generator())
    problem = simulate(truth, operator, 0.05, generator=generator(1))
    prior = GaussianPrior.natural(32, 32)
    found = restored(method(count=count), problem, prior)
    assert relative_error(found, truth) < 1


def test_what_is_guided_by_nothing_is_told_that_it_misses_the_measurement():
    class Nothing:
        takes_nonlinear = True

        def __call__(self, prior, problem, clean, level):
            return 0 * prior.decode(clean).sum()

    method = evolve(latent_dps(count=5), condition=Guided(Nothing()))
    with pytest.warns(UserWarning, match="does not explain its measurement"):
        restored(method, problem_of(Identity()))


@pytest.mark.parametrize(
    "method",
    [
        evolve(daps(count=6), consistency=GaussNewton()),
        evolve(ddnm_plus(count=6), consistency=GaussNewton()),
        evolve(gauss_newton(count=10), renoise=DecoupledNoise()),
    ],
    ids=["daps", "ddnm_plus", "gauss_newton"],
)
def test_noise_that_needs_an_adjoint_refuses_what_is_not_linear(method):
    problem = simulate(TRUTH, Clip(high=0.2), 0.05, generator=generator(1))
    with pytest.raises(InputError, match="is not linear"):
        restore(problem, PRIOR, method, generator=generator(2))


def test_a_likelihood_of_no_noise_and_no_spread_is_finite():
    problem = InverseProblem(Identity(), TRUTH, 0.0)
    told = MeasurementLikelihood(ConstantSpread(0.0))(
        PRIOR, problem, TRUTH + 1e-3, PRIOR.schedule.level(0.3)
    )
    assert told.item() == pytest.approx(TRUTH.numel() * 1e-6 / (2 * LEAST_NOISE**2))


@pytest.mark.parametrize(
    "renoise",
    [DDIMNoise(0.0), FreshNoise(0.0), ResampledNoise(0.0), SharedNoise(0.0), NullSpaceNoise()],
    ids=repr,
)
def test_guidance_is_cfgpp_where_nothing_was_corrected(renoise):
    """The guided clean latents go on with the unguided noise (Chung et al. 2024), by every way."""
    latent, eps, guided = (noise(2, 1, 8, 8, seed=s) for s in (0, 1, 2))
    operator = Identity()
    problem = InverseProblem(operator, latent, 0.0)
    level = evolve(
        passage(latent=latent, problem=problem, consistency=NullSpace(noise_aware=True)),
        denoised=guided,
    )
    last = evolve(level, noise=0.0, signal=1.0)
    found = renoise(guided, eps, last, generator())
    torch.testing.assert_close(found, guided, atol=1e-6, rtol=0)
    if not isinstance(renoise, NullSpaceNoise):  # which always takes chance, too
        found = renoise(guided, eps, level, generator())
        torch.testing.assert_close(found, level.signal * guided + level.noise * eps)
