"""Total variation in space and time, against dense algebra, known videos and a slow reference."""

import math
from functools import cache
from itertools import pairwise

import pytest
import torch
from attrs import field, frozen
from command_line import moving_scene
from dense import dense, generator, noise, solve_damped

from visionxl import (
    CorrectedInversion,
    Correction,
    DampedCG,
    Denoised,
    InverseProblem,
    NoiseAware,
    PocketPrior,
    SpaceTimeTV,
    fit_to,
    restore,
    simulate,
    vision_tv,
    vision_xl,
)
from visionxl.metrics import difference_psnr, psnr
from visionxl.operators import (
    TASKS,
    GaussianBlur,
    Grayscale,
    Identity,
    Mask,
    MotionBlur,
    TemporalAverage,
    TemporalSubsample,
    lift,
    normal,
    task_named,
)
from visionxl.priors import DiscreteSchedule
from visionxl.protocols import NoiseLevel
from visionxl.solvers import ConstantSpread, leading_times
from visionxl.solvers.modes import Modes
from visionxl.solvers.space_time import LEAST, MOST, variation_weight
from visionxl.solvers.total_variation import add_adjoint, differences, minimise, total_variation
from visionxl.video import DEMO_CLIP, read_clip

LEVEL = NoiseLevel(time=0.1, signal=0.8, noise=0.6)
SHAPE = (4, 3, 4, 8)
OPERATORS = {name: task_named(name)(SHAPE[0], *SHAPE[2:], generator()) for name in TASKS} | {
    "nothing": Identity(),
    "gray": Grayscale() @ TemporalAverage(3, "replicate"),
    "skipped frames": TemporalSubsample(2, frames=4) @ GaussianBlur(0.7, "zero"),
    "masked gray": Grayscale() @ TemporalAverage(3) @ Mask.random(0.5, 4, 8, generator(1)),
}


def modes_of(operator, like):
    modes = Modes.of(operator, like)
    assert modes is not None
    return modes


# The singular modes


@pytest.mark.parametrize("name", OPERATORS)
def test_the_modes_are_the_operators_own(name):
    operator, video = OPERATORS[name], noise(*SHAPE)
    measurement = noise(*operator.forward(video).shape, seed=1)
    modes = modes_of(operator, video)
    found = modes.filtered(video, modes.values.square())
    torch.testing.assert_close(found, normal(operator, video), rtol=0, atol=1e-8)
    coefficients = modes.values * modes.measured(measurement)
    assert coefficients.shape == modes.shape
    found = modes.add_synthesis(video.clone(), coefficients)
    expected = video + operator.adjoint(measurement)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)  # weak modes are dropped


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("damping", [1e-4, 0.3])
def test_the_number_of_determined_values_is_a_trace(name, damping):
    matrix = dense(OPERATORS[name].forward, SHAPE)
    square = matrix.T @ matrix
    expected = torch.linalg.solve(square + damping * torch.eye(len(square)).to(square), square)
    found = modes_of(OPERATORS[name], noise(*SHAPE)).determined(damping)
    assert found == pytest.approx(expected.trace().item(), rel=1e-6)


def test_an_operator_without_factors_has_no_modes():
    assert Modes.of(MotionBlur(3.0, 30.0), noise(*SHAPE)) is None


# Differences


def differences_of(video):
    """``D x``, all frames, as the library makes it a frame at a time."""
    out = video.new_full((len(video), 3, *video.shape[1:]), math.nan)
    for t, frame in enumerate(video):
        differences(frame, video[t + 1] if t + 1 < len(video) else None, out[t])
    return out


def padded_differences(video):
    """The same by another way: each direction's last difference is 0."""
    ends = [torch.cat([video, video.narrow(axis, -1, 1)], axis) for axis in (0, 2, 3)]
    return torch.stack([e.diff(dim=a) for e, a in zip(ends, (0, 2, 3), strict=True)], dim=1)


@pytest.mark.parametrize("shape", [(3, 2, 4, 5), (1, 3, 3, 4), (4, 1, 1, 6), (2, 1, 3, 1)])
def test_differences_are_forward_ones_and_add_adjoint_adds_their_adjoint(shape):
    video, other = noise(*shape), noise(*shape, seed=1)
    q = padded_differences(other)
    assert torch.equal(differences_of(video), padded_differences(video))
    adjoint = video.clone()
    for t, frame in enumerate(adjoint):
        add_adjoint(frame, q[t], q[t - 1] if t else None, 0.7)
    adjoint = (adjoint - video) / 0.7
    left, right = (differences_of(video) * q).sum(), (video * adjoint).sum()
    assert left.item() == pytest.approx(right.item(), rel=1e-12)


def test_the_total_variation_of_known_videos():
    video = torch.zeros(3, 2, 4, 5)
    assert total_variation(video + 0.3) == 0
    edge = video.clone()
    edge[..., 2:] = 0.5  # 4 rows in 3 frames, two channels in one norm
    assert total_variation(edge) == pytest.approx(12 * 0.5 * math.sqrt(2))
    cut = video.clone()
    cut[1:, 0] = -0.4  # 20 pixels once in time, one channel
    assert total_variation(cut) == pytest.approx(20 * 0.4)
    ramp = video + 0.3 * torch.arange(4.0)[:, None] + 0.4 * torch.arange(5.0)
    one_frame = (3 * 4) * 0.5 + 3 * 0.3 + 4 * 0.4  # inside, last column, last row
    assert total_variation(ramp) == pytest.approx(3 * one_frame * math.sqrt(2))
    rough = noise(*SHAPE)
    assert total_variation(-3 * rough + 1) == pytest.approx(3 * total_variation(rough))


# The minimiser

SMALL = (3, 3, 4, 5)
PROBLEMS = {
    "blur in time and space": GaussianBlur(0.8, "reflect") @ TemporalAverage(3),
    "mask": Mask.random(0.5, 4, 5, generator(2)) @ TemporalAverage(3, "replicate"),
    "gray": Grayscale(),
}
TRUTH = moving_scene(3, 4, 5).double()
ESTIMATE = TRUTH + 0.2 * noise(*SMALL, seed=5)
WEIGHT, DAMPING = 0.03, 0.2


@cache
def measurement_of(name):
    return simulate(TRUTH, PROBLEMS[name], 0.1, generator=generator(3)).measurement


def minimised(name, weight=WEIGHT, damping=DAMPING, **options):
    """With so many iterations that more change nothing."""
    modes, y = modes_of(PROBLEMS[name], ESTIMATE), measurement_of(name)
    options = {"iterations": 1000, "tolerance": 1e-9} | options
    return minimise(modes, y, ESTIMATE, weight, damping=damping, **options)


@cache
def minimiser(name, weight=WEIGHT, damping=DAMPING):
    return minimised(name, weight, damping)


@cache
def matrix_of(name):
    return dense(PROBLEMS[name].forward, SMALL)


def objective(name, video, smoothing=0.0):
    residual = matrix_of(name) @ video.flatten() - measurement_of(name).flatten()
    variation = padded_differences(video).square().sum((1, 2)).add(smoothing**2).sqrt().sum()
    away = (video - ESTIMATE).square().sum()
    return residual.square().sum() / 2 + DAMPING / 2 * away + WEIGHT * variation


def damped_least_squares(name):
    return solve_damped(matrix_of(name), measurement_of(name), ESTIMATE, DAMPING)


@pytest.mark.parametrize("name", PROBLEMS)
def test_without_weight_it_is_damped_least_squares(name):
    found = minimiser(name, weight=0.0).video
    torch.testing.assert_close(found, damped_least_squares(name), rtol=0, atol=1e-7)


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_objective_is_least_at_the_minimiser(name):
    found = minimiser(name).video
    least = objective(name, found).item()
    assert least < 0.9 * objective(name, ESTIMATE).item()
    assert least < 0.99 * objective(name, damped_least_squares(name)).item()
    for seed in range(10):
        for size in (1e-1, 1e-2, 1e-3):
            assert least < objective(name, found + size * noise(*SMALL, seed=seed)).item()


@pytest.mark.parametrize("name", PROBLEMS)
def test_it_agrees_with_a_smoothed_objective_and_a_quasi_newton_method(name):
    video = ESTIMATE.clone().requires_grad_()
    for smoothing in (1e-1, 1e-2, 1e-3, 1e-4):
        solver = torch.optim.LBFGS(
            [video], max_iter=400, tolerance_grad=1e-10, tolerance_change=0, history_size=50,
            line_search_fn="strong_wolfe",
        )  # fmt: skip

        def closure(solver=solver, smoothing=smoothing):
            solver.zero_grad()
            value = objective(name, video, smoothing=smoothing)
            value.backward()
            return value

        solver.step(closure)
    found, reference = minimiser(name).video, video.detach()
    # Smoothing by s adds at most s per pixel, and the objective is strongly convex by DAMPING.
    slack = 1.1 * WEIGHT * 1e-4 * SMALL[0] * SMALL[2] * SMALL[3]
    least, theirs = objective(name, found).item(), objective(name, reference).item()
    assert theirs - slack < least < theirs + 1e-7
    assert (found - reference).norm() < math.sqrt(2 * slack / DAMPING)


def test_more_damping_lies_nearer_to_the_estimate_and_more_weight_varies_less():
    name = "mask"
    damped = [(minimiser(name, damping=d).video - ESTIMATE).norm() for d in (DAMPING, 1.0, 100.0)]
    assert all(a > b for a, b in pairwise(damped))
    assert damped[-1] < 0.05 * damped[0]
    varied = [total_variation(minimiser(name, weight=w).video) for w in (0.0, 0.01, WEIGHT)]
    assert all(a > b for a, b in pairwise(varied))


def test_a_huge_weight_leaves_one_colour_the_mean_of_measurement_and_estimate():
    name = "blur in time and space"  # it keeps constants
    found = minimiser(name, weight=1e3).video
    sums = measurement_of(name) + DAMPING * ESTIMATE
    colour = sums.mean(dim=(0, 2, 3), keepdim=True) / (1 + DAMPING)
    kept = PROBLEMS[name].forward(torch.ones_like(ESTIMATE))
    torch.testing.assert_close(kept, torch.ones_like(kept))
    torch.testing.assert_close(found, colour.expand(SMALL), rtol=0, atol=2e-3)


@pytest.mark.parametrize("name", PROBLEMS)
def test_it_is_the_same_from_wherever_it_starts(name):
    expected, before = minimiser(name).video, ESTIMATE.clone()
    start = noise(*SMALL, seed=8)
    kept = start.clone()
    torch.testing.assert_close(minimised(name, start=start).video, expected, rtol=0, atol=1e-5)
    assert torch.equal(start, kept)
    other = minimised(name, weight=0.1, iterations=50)
    dual = other.dual.clone()
    warm = minimised(name, start=other.video, dual=other.dual)
    torch.testing.assert_close(warm.video, expected, rtol=0, atol=1e-5)
    assert torch.equal(other.dual, dual)
    assert torch.equal(before, ESTIMATE)


def test_the_dual_of_the_solution_is_within_the_weight():
    dual = minimiser("mask").dual
    assert dual.square().sum((1, 2)).sqrt().max() <= WEIGHT * (1 + 1e-6)


def test_it_stops_at_the_tolerance_or_the_number_of_iterations():
    assert minimised("mask", iterations=7).iterations == 7
    few, many = (minimised("mask", tolerance=t).iterations for t in (1e-2, 1e-5))
    assert 1 < few < many < 1000


# The weight

MODES = modes_of(GaussianBlur(1.0), noise(*SHAPE))
SCENE = moving_scene(*SHAPE[:1], *SHAPE[2:]).double()


def test_the_weight_grows_with_the_noise():
    weights = [variation_weight(MODES, SCENE, std) for std in (1e-3, 0.01, 0.05, 0.2)]
    assert all(a < b for a, b in pairwise(weights))
    assert weights[0] > 0


def test_the_weight_falls_with_the_variation_within_bounds():
    scale = MOST * SCENE[:, 0].numel() / total_variation(SCENE)  # to a density of MOST
    shares = (0, 0.9 * LEAST / MOST, 2 * LEAST / MOST, 0.5, 0.9, 1.1, 10)
    still, little, some, more, much, most, beyond = (
        variation_weight(MODES, scale * share * SCENE, 0.05) for share in shares
    )
    assert still == little > some > more > much > most == beyond
    assert still / beyond == pytest.approx(math.sqrt(MOST / LEAST))
    assert some / more == pytest.approx(math.sqrt(0.5 * MOST / (2 * LEAST)))


# The consistency


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", OPERATORS)
def test_a_correction_keeps_shape_dtype_device_and_the_estimate(name, dtype):
    operator = OPERATORS[name]
    problem = simulate(SCENE.to(dtype), operator, 0.05, generator=generator())
    estimate = noise(*SHAPE, dtype=dtype).transpose(2, 3).contiguous().transpose(2, 3)
    before = estimate.clone()
    found = SpaceTimeTV().correct(estimate, problem, LEVEL)
    assert found.video.shape == estimate.shape
    assert (found.video.dtype, found.video.device) == (dtype, estimate.device)
    assert torch.isfinite(found.video).all()
    assert 3 <= found.iterations <= 15
    assert found.stopped.startswith("weight ")
    assert torch.equal(estimate, before)


class Rows:
    """A user's operator: every second row."""

    def forward(self, video):
        return video[..., ::2, :].clone()

    def adjoint(self, measurement):
        video = measurement.new_zeros(*measurement.shape[:2], *SHAPE[2:])
        video[..., ::2, :] = measurement
        return video


@pytest.mark.parametrize("operator", [MotionBlur(3.0, 30.0), Rows()], ids=["motion", "own"])
@pytest.mark.parametrize("noise_std", [0.0, 0.05])
def test_without_factors_it_is_damped_conjugate_gradients(operator, noise_std):
    problem = simulate(SCENE, operator, noise_std, generator=generator())
    found = SpaceTimeTV().correct(noise(*SHAPE), problem, LEVEL)
    expected = DampedCG().correct(noise(*SHAPE), problem, LEVEL)
    assert torch.equal(found.video, expected.video)
    assert found.iterations == expected.iterations


def test_what_stands_still_flickers_less_than_by_least_squares():
    still = moving_scene(1, 24, 32).expand(6, -1, -1, -1)
    problem = simulate(still, GaussianBlur(1.0), 0.05, generator=generator())
    estimate = still + 0.1 * noise(*still.shape, dtype=torch.float32)  # each frame for itself
    videos = [c.correct(estimate, problem, LEVEL).video for c in (NoiseAware(), SpaceTimeTV())]
    (flicker, error), (less_flicker, less_error) = (
        (difference_psnr(video, still), psnr(video, still)) for video in videos
    )
    assert less_flicker > flicker + STILL_GAIN[0]
    assert less_error > error + STILL_GAIN[1]


STILL_GAIN = (4.8, 4.1)  # dB, half of what was measured: flicker, error


def test_an_infinite_spread_leaves_the_estimate_out():
    problem = simulate(SCENE, GaussianBlur(0.6), 0.05, generator=generator())
    rough = [noise(*SHAPE, seed=seed) for seed in (1, 2)]  # so rough that the weights are alike

    def far(spread, iterations):
        consistency = SpaceTimeTV(ConstantSpread(spread), iterations=iterations, tolerance=0.0)
        first, other = (consistency.correct(x, problem, LEVEL).video for x in rough)
        return (first - other).abs().max().item()

    assert far(math.inf, 450) < 1e-3
    assert far(0.2, 45) > 0.01


def test_no_strength_is_the_noise_aware_solution():
    problem = simulate(SCENE, OPERATORS["deblur+"], 0.05, generator=generator())
    consistency = SpaceTimeTV(ConstantSpread(0.3), strength=0.0, iterations=300, tolerance=1e-12)
    found = consistency.correct(noise(*SHAPE), problem, LEVEL)
    expected = NoiseAware(ConstantSpread(0.3)).correct(noise(*SHAPE), problem, LEVEL)
    torch.testing.assert_close(found.video, expected.video, rtol=0, atol=1e-6)


# The start


class NoNoise:
    """Latents are every second pixel and the denoiser finds no noise: DDIM is exact both ways."""

    schedule = DiscreteSchedule.stable_diffusion()

    def encode(self, video):
        return 2 * video[..., ::2, ::2]

    def decode(self, latent):
        return latent.repeat_interleave(2, 2).repeat_interleave(2, 3) / 2

    def denoise(self, latent, level):
        return Denoised(latent / level.signal, torch.zeros_like(latent))


@frozen(eq=False)
class Told:
    """A consistency that answers with one video and notes what it was asked."""

    video: torch.Tensor
    asked: list = field(factory=list)

    def correct(self, estimate, problem, level):
        self.asked.append((estimate, problem, level))
        return Correction(self.video, 0, (), "told")


def test_the_corrected_video_is_what_the_inversion_leads_back_to():
    levels = [NoiseLevel(t, math.sqrt(1 - t), math.sqrt(t)) for t in leading_times(25, 0.3)]
    problem = InverseProblem(OPERATORS["inpaint+"], noise(*SHAPE, seed=2), 0.05)
    told = Told(noise(*SHAPE, seed=3))
    latent = CorrectedInversion(told).start(problem, NoNoise(), levels, generator())
    encoded = NoNoise().encode(told.video)
    assert latent.shape == encoded.shape
    for level, following in pairwise(levels):
        denoised = NoNoise().denoise(latent, level)
        latent = denoised.clean * following.signal + denoised.noise * following.noise
    torch.testing.assert_close(latent, encoded)
    ((estimate, asked, level),) = told.asked
    assert torch.equal(estimate, lift(problem.operator, problem.measurement))
    assert (asked, level) == (problem, levels[0])


# The method


def test_the_method_starts_late_and_from_what_the_measurement_tells():
    method = vision_tv()
    assert method.times == leading_times(25, 0.15) == vision_xl().times[4:]
    assert isinstance(method.initializer, CorrectedInversion)
    assert method.initializer.consistency.spread(LEVEL) == math.inf
    assert method.consistency == SpaceTimeTV()
    assert vision_tv(strength=2.0).consistency == SpaceTimeTV(strength=2.0)
    assert vision_tv(strength=2.0).initializer.consistency.strength == 2.0


# Half of what was measured, in dB: PSNR, PSNR of the frame differences.
GAINS = {"deblur+": (0.8, 0.55)}


@pytest.mark.parametrize("task", GAINS)
def test_it_restores_a_real_clip_better_and_steadier_than_without_time(task):
    truth = fit_to(read_clip(DEMO_CLIP, frames=9).video, 64, 96)
    prior = PocketPrior.load()
    operator = task_named(task)(9, 64, 96, generator())
    problem = simulate(truth, operator, 0.05, generator=generator())
    videos = [
        restore(problem, prior, method, generator=generator(), frames_at_once=9).video
        for method in (vision_xl(), vision_tv())
    ]
    for measure, gain in zip((psnr, difference_psnr), GAINS[task], strict=True):
        without, with_time = (measure(video, truth) for video in videos)
        assert with_time > without + gain
