"""Consistency with total variation in space and time: its modes, its weight, its method."""

import math
from itertools import pairwise

import pytest
import torch
from attrs import field, frozen
from command_line import moving_scene
from dense import (
    dense,
    filtered,
    generator,
    modes_of,
    noise,
    relative_error,
    solve_damped,
    total_variation,
)

from visionxl import (
    CorrectedInversion,
    Correction,
    DampedCG,
    Denoised,
    GaussianPrior,
    InputError,
    InverseProblem,
    MotionShrinkage,
    NoiseAware,
    PocketPrior,
    SpaceTimeTV,
    fit_to,
    restore,
    simulate,
    vision_tv,
    vision_xl,
)
from visionxl.memory import peak_bytes_of
from visionxl.metrics import difference_psnr, psnr
from visionxl.operators import (
    TASKS,
    AveragePool,
    BlockCosine,
    Blur,
    GaussianBlur,
    Grayscale,
    Identity,
    Mask,
    MotionBlur,
    RollingShutter,
    Scale,
    Stack,
    TemporalAverage,
    TemporalSubsample,
    VaryingBlur,
    lift,
    normal,
    task_named,
)
from visionxl.operators.cutting import KeepFrames
from visionxl.priors import DiscreteSchedule
from visionxl.protocols import ForwardOperator, NoiseLevel
from visionxl.solvers import ConstantSpread, leading_times, method_named
from visionxl.solvers.data_term import Iterated
from visionxl.solvers.determined import DEVIATION, determined_share, without_ends
from visionxl.solvers.gain import gain_of, is_fine
from visionxl.solvers.hosted_operator import HostedOperator
from visionxl.solvers.modes import Modes
from visionxl.solvers.motion import Motion
from visionxl.solvers.space_time import has_holes, variation_weight
from visionxl.solvers.spread import LEAST_NOISE
from visionxl.solvers.trajectories import Trajectories
from visionxl.solvers.windows import windows_of
from visionxl.video import DEMO_CLIP, read_clip

LEVEL = NoiseLevel(time=0.1, signal=0.8, noise=0.6)
SHAPE = (4, 3, 4, 8)
OPERATORS = {name: task_named(name)(SHAPE[0], *SHAPE[2:], generator()) for name in TASKS} | {
    "nothing": Identity(),
    "gray": Grayscale() @ TemporalAverage(3, "replicate"),
    "skipped frames": TemporalSubsample(2, frames=4) @ GaussianBlur(0.7, "zero"),
    "masked gray": Grayscale() @ TemporalAverage(3) @ Mask.random(0.5, 4, 8, generator(1)),
    "each colour's mask": Mask(noise(1, 3, 4, 8, seed=2) > 0) @ TemporalAverage(3),
    "each frame's mask": Mask(noise(4, 1, 4, 8, seed=2) > 0),
}


# The singular modes


@pytest.mark.parametrize("name", OPERATORS)
def test_the_modes_are_the_operators_own(name):
    operator, video = OPERATORS[name], noise(*SHAPE)
    measurement = noise(*operator.forward(video).shape, seed=1)
    modes = modes_of(operator, video)
    found = filtered(modes, video, modes.values.square())
    torch.testing.assert_close(found, normal(operator, video), rtol=0, atol=1e-8)
    coefficients = modes.values * modes.measured(measurement)
    assert coefficients.shape == modes.shape
    found = modes.add_synthesis(video.clone(), coefficients)
    expected = video + operator.adjoint(measurement)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)  # weak modes are dropped


@pytest.mark.parametrize("name", OPERATORS)
def test_the_step_of_the_data_is_the_nearest_that_fits(name):
    operator, video = OPERATORS[name], noise(*SHAPE)
    measurement = noise(*operator.forward(video).shape, seed=1)
    expected = solve_damped(dense(operator.forward, SHAPE), measurement, video, 0.3)
    modes_of(operator, video).step(measurement, 0.3)(video)
    torch.testing.assert_close(video, expected, rtol=0, atol=1e-4)  # weak modes are dropped


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


# The weight

SCENE = moving_scene(*SHAPE[:1], *SHAPE[2:]).double()


def test_windows_have_the_share_of_the_clip():
    """The frames that a window leaves out at its ends would make it smaller."""
    video = noise(60, 1, 8, 12)
    operator = GaussianBlur(1.0) @ TemporalAverage(7)
    expected = determined_share(operator, video, 0.01)
    for window in windows_of(operator, 60, core=10, context=20):
        cut = window.problem(operator, video, 0.01).operator
        part = window.cut(video)
        for own in (cut, HostedOperator(cut, "cpu")):
            found = determined_share(own, part, 0.01)
            assert found == pytest.approx(expected, rel=6e-3)
        alone = modes_of(cut, part).determined((0.01 / DEVIATION) ** 2) / part.numel()
        assert alone < 0.98 * expected
    assert without_ends(operator) is operator


def test_the_weight_grows_with_the_noise():
    blur = GaussianBlur(1.0)
    stds = 1e-3, 0.01, 0.05, 0.2
    weights = [variation_weight(determined_share(blur, SCENE, std), std) for std in stds]
    assert all(a < b for a, b in pairwise(weights))
    assert weights[0] > 0


def test_the_weight_grows_with_the_share_that_is_measured():
    video = noise(1, 3, 40, 40)
    whole, quarter = (
        variation_weight(determined_share(mask, video, 1e-3), 1e-3)
        for mask in (Mask(torch.ones(40, 40) > 0), Mask((torch.arange(1600) % 4 < 1).view(40, 40)))
    )
    assert quarter == pytest.approx(whole / 2, rel=1e-3)


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
    assert 3 <= found.iterations <= SpaceTimeTV().iterations
    assert found.stopped in ("converged", "iterations used up")
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
@pytest.mark.parametrize("noise_std", [0.01, 0.05])
def test_without_factors_it_still_knows_how_videos_change(operator, noise_std):
    problem = simulate(SCENE, operator, noise_std, generator=generator())
    start = lift(operator, problem.measurement)
    found = SpaceTimeTV(ConstantSpread(math.inf)).correct(start, problem, LEVEL)
    plain = DampedCG().correct(start, problem, LEVEL)
    assert psnr(found.video, SCENE) > psnr(plain.video, SCENE) + 1


@frozen
class Hidden:
    """An operator whose factors nobody sees."""

    operator: ForwardOperator

    def forward(self, video):
        return self.operator.forward(video)

    def adjoint(self, measurement):
        return self.operator.adjoint(measurement)


def test_what_is_determined_is_found_by_a_probe_too():
    video = noise(3, 3, 16, 16)
    for operator in (AveragePool(2), GaussianBlur(1.0), Mask.random(0.5, 16, 16, generator())):
        exact = modes_of(operator, video).determined(1e-2)
        assert Iterated(Hidden(operator), video).determined(1e-2) == pytest.approx(exact, rel=0.1)


def test_with_enough_iterations_the_step_of_the_data_is_that_of_the_modes():
    operator, video = GaussianBlur(1.0) @ TemporalAverage(3), noise(5, 3, 12, 16)
    measurement = operator.forward(noise(5, 3, 12, 16, seed=1))
    exact, found = video.clone(), video.clone()
    modes_of(operator, video).step(measurement, 0.1)(exact)
    Iterated(Hidden(operator), video, 200, 1e-12).step(measurement, 0.1)(found)
    torch.testing.assert_close(found, exact)


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


@pytest.mark.parametrize("task", ["deblur+", "sr4+", "inpaint+"])
def test_few_videos_are_held(task):
    """Of 25 frames of 768x1280 each video takes 0.3 GB of a GPU."""
    frames, height, width = 25, 48, 64
    operator = task_named(task)(frames, height, width, generator())
    problem = simulate(moving_scene(frames, height, width), operator, 0.01, generator=generator(1))
    estimate = lift(operator, problem.measurement)

    def videos(spread):
        consistency = SpaceTimeTV(ConstantSpread(spread), iterations=2)
        consistency.correct(estimate, problem, LEVEL)  # decomposes the operator once
        made = peak_bytes_of(lambda: consistency.correct(estimate, problem, LEVEL))
        return made / estimate.nbytes

    assert videos(0.4) < 9.5
    assert videos(math.inf) < 10.5  # and the estimate need not be kept


STILL_GAIN = (4.8, 4.1)  # dB, half of what was measured: flicker, error


def test_an_infinite_spread_leaves_the_estimate_out():
    scene = moving_scene(4, 12, 16).double()
    problem = simulate(scene, GaussianBlur(0.6), 0.05, generator=generator())
    rough = [noise(*scene.shape, seed=seed) for seed in (1, 2)]  # so that the weights are alike

    def far(spread, iterations):
        consistency = SpaceTimeTV(ConstantSpread(spread), iterations=iterations, tolerance=0.0)
        first, other = (consistency.correct(x, problem, LEVEL).video for x in rough)
        return (first - other).abs().max().item()

    assert far(math.inf, 100) < 1e-6
    assert far(0.2, 45) > 0.01


@pytest.mark.parametrize("without", [{"strength": 0.0}, {"bend": 1e9}], ids=["strength", "slope"])
def test_no_penalty_is_the_noise_aware_solution(without):
    problem = simulate(SCENE, OPERATORS["deblur+"], 0.05, generator=generator())
    consistency = SpaceTimeTV(ConstantSpread(0.3), iterations=300, tolerance=1e-12, **without)
    found = consistency.correct(noise(*SHAPE), problem, LEVEL)
    expected = NoiseAware(ConstantSpread(0.3)).correct(noise(*SHAPE), problem, LEVEL)
    torch.testing.assert_close(found.video, expected.video, rtol=0, atol=1e-6)


def test_a_bend_keeps_more_of_the_texture():
    problem = simulate(SCENE, OPERATORS["deblur+"], 0.05, generator=generator())
    kept = []
    for bend in (0.0, 1.0, 4.0):
        consistency = SpaceTimeTV(ConstantSpread(0.4), bend=bend, iterations=200)
        video = consistency.correct(SCENE, problem, LEVEL).video
        kept.append(total_variation(video))
    assert kept[0] < kept[1] < kept[2]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("strength", -1.0, "a number from 0"),
        ("floor", 0.0, "a number above 0"),
        ("iterations", 0, "a whole number from 1"),
        ("tolerance", math.nan, "a number from 0"),
        ("bend", -2.0, "a number from 0"),
    ],
)
def test_a_number_that_makes_no_sense_is_refused_by_its_name(name, value, expected):
    with pytest.raises(InputError, match=f"^{name} {value} is not {expected}$"):
        SpaceTimeTV(**{name: value})


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


@pytest.mark.parametrize(
    ("operator", "holes"),
    [
        (AveragePool(2) @ TemporalAverage(3), False),
        (Mask.random(0.5, 4, 8, generator()) @ TemporalAverage(3), True),
        (TemporalSubsample(2, frames=4), True),
        (KeepFrames(1, 3, 4) @ GaussianBlur(1.0), False),  # a window: its ends are no holes
        (Blur([[-1.0, 2.0, -1.0]]), False),  # sees all, though not a video of ones
    ],
)
def test_holes_are_pixels_that_nothing_sees(operator, holes):
    assert has_holes(operator, noise(*SHAPE)) == holes


def test_a_hole_is_filled_before_the_motion_is_looked_for():
    clip = fit_to(read_clip(DEMO_CLIP, 4).video, 64, 96)
    mask = torch.ones(64, 96, dtype=torch.bool)
    mask[20:40, 30:60] = False
    errors = []
    for filling in (20, 120):
        problem = simulate(clip, Mask(mask), 0.01, generator=generator())
        start = SpaceTimeTV(ConstantSpread(math.inf), filling=filling)
        video = start.correct(lift(problem.operator, problem.measurement), problem, LEVEL).video
        errors.append((video - clip)[..., ~mask].square().mean().sqrt().item())
    assert errors[1] < 0.9 * errors[0]


@pytest.mark.parametrize("size", [1e-7, 1e-6])
def test_the_unit_of_a_measurement_does_not_hang_on_a_rounding(size):
    """Most coefficients of a video of ones are 0 but for a rounding, which another machine has."""
    ones = torch.ones(2, 3, 16, 24)
    other = ones + size * torch.randn(ones.shape, generator=generator())
    gains = [gain_of(BlockCosine(), video) for video in (ones, other)]
    assert gains == pytest.approx([1.0, 1.0], rel=1e-5)
    assert gain_of(Scale(127.5) @ TemporalAverage(3), ones) == pytest.approx(127.5)
    assert gain_of(Mask(torch.zeros(16, 24)), ones) == 1.0


HIGH_PASS = [[-1 / 9, -1 / 9, -1 / 9], [-1 / 9, 8 / 9, -1 / 9], [-1 / 9, -1 / 9, -1 / 9]]


@pytest.mark.parametrize("gain", [1.0, 9.0, 0.3])
def test_an_operator_of_differences_has_a_unit_and_a_lift(gain):
    """It answers an even grey by 0, or by a rounding that depends on its unit."""
    blur = Blur([[gain * tap for tap in row] for row in HIGH_PASS])
    video = torch.rand(2, 3, 16, 24, generator=generator()) * 2 - 1
    assert gain_of(blur, video) == pytest.approx(gain * math.sqrt(8 / 9), rel=0.05)
    for operator in (
        blur,
        Stack([blur], tuple(video.shape)),
        VaryingBlur((blur,), torch.ones(1, 16, 24)),
    ):
        assert lift(operator, operator.forward(video)).abs().max() == 0


def test_what_a_window_leaves_out_is_no_hole_on_a_device_either():
    window = KeepFrames(0, 3, 4) @ RollingShutter(1.0)
    video = torch.zeros(4, 3, 16, 24)
    assert not has_holes(window, video)
    assert not has_holes(HostedOperator(window, "cpu"), video)
    assert has_holes(HostedOperator(Mask(torch.eye(16, 24)), "cpu"), video)


SHOWN = {
    "mask": (Mask.random(0.5, 32, 48, generator()), True),
    "few pixels": (Mask.random(0.05, 32, 48, generator()), True),
    "average over time": (TemporalAverage(7), True),
    "in gray levels": (Scale(127.5) @ TemporalAverage(3), True),
    "a sharp blur": (GaussianBlur(0.4), True),
    "a blur": (GaussianBlur(3.0), False),
    "pooling": (AveragePool(4), False),
    "pooled gray levels": (Scale(127.5) @ AveragePool(4), False),
}


@pytest.mark.parametrize(("operator", "fine"), SHOWN.values(), ids=SHOWN)
def test_the_motion_is_searched_finely_where_fine_detail_is_measured(operator, fine, monkeypatch):
    video = torch.rand(7, 3, 32, 48, generator=generator()) * 2 - 1
    assert is_fine(operator, video, gain_of(operator, video)) == fine
    asked = []

    def noted(of):
        return lambda video, fine: asked.append(fine) or of(video, fine)

    for kind in (Motion, Trajectories):
        monkeypatch.setattr(kind, "of", noted(kind.of))
    noise_std = 0.01 * gain_of(operator, video)
    problem = simulate(video, operator, noise_std, generator=generator())
    SpaceTimeTV(iterations=1).correct(video, problem, LEVEL)
    MotionShrinkage(turns=1).correct(video, problem, LEVEL)
    assert asked == [fine, fine]
    start = SpaceTimeTV(ConstantSpread(math.inf), iterations=1, filling=1)
    start.correct(video, problem, LEVEL)
    assert asked[2:] == [False, False]  # without an estimate it is rough, and searched coarsely


@pytest.mark.parametrize(
    ("name", "gain"),
    [(name, gain) for name in ("vision_xl", "vision_tv") for gain in (0.01, 10.0, 127.5)]
    + [("vision_tv", 1e-4)],
)
def test_the_unit_of_the_measurement_does_not_matter(name, gain):
    """Counted in grey levels, say: the same problem has the same answer."""
    prior = GaussianPrior.natural(32, 48)
    truth = prior.sample(5, 3, generator()).float()
    answers = []
    for scale in (1.0, gain):
        operator = Scale(scale) @ AveragePool(2) @ TemporalAverage(3)
        problem = simulate(truth, operator, 0.2 * scale, generator=generator(1))
        method = method_named(name)()
        found = restore(problem, prior, method, generator=generator(2), frames_at_once=5)
        answers.append(found.video)
    # The motion is found in pictures of 8 bits: where a rounding falls otherwise, it differs.
    assert relative_error(answers[1], answers[0]) < 0.02


def test_the_corrected_video_needs_one_evaluation_where_it_is_noised_at_once():
    class Asked(NoNoise):
        times = ()

        def denoise(self, latent, level):
            self.times += (level.time,)
            return Denoised(latent, 3 * latent)

    levels = [NoiseLevel(t, math.sqrt(1 - t), math.sqrt(t)) for t in (0.3, 0.2, 0.1)]
    problem = InverseProblem(OPERATORS["inpaint+"], noise(*SHAPE, seed=2), 0.05)
    told, prior = Told(noise(*SHAPE, seed=3)), Asked()
    latent = CorrectedInversion(told, at_once=True).start(problem, prior, levels, generator())
    encoded = prior.encode(told.video)
    torch.testing.assert_close(latent, encoded * (math.sqrt(0.7) + 3 * math.sqrt(0.3)))
    assert prior.times == (0.3,)


# The method


def test_the_method_starts_late_and_from_what_the_measurement_tells():
    method = vision_tv()
    assert method.times == leading_times(25, 0.15) == vision_xl().times[4:]
    assert isinstance(method.initializer, CorrectedInversion)
    assert method.initializer.consistency.spread(LEVEL) == math.inf
    assert method.consistency == SpaceTimeTV()
    still = vision_tv(consistency=SpaceTimeTV(motion=False, strength=2.0))
    assert still.consistency == SpaceTimeTV(motion=False, strength=2.0)
    alone = still.initializer.consistency
    assert (alone.motion, alone.strength, alone.spread(LEVEL)) == (False, 2.0, math.inf)


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


def test_without_noise_and_factors_the_least_noise_is_the_solvers():
    operator = MotionBlur(3.0, 30.0)
    truth = moving_scene(SHAPE[0], *SHAPE[2:]).double()
    answers = [
        SpaceTimeTV(motion=False).correct(
            0.9 * truth, InverseProblem(operator, operator.forward(truth), noise_std), LEVEL
        )
        for noise_std in (0.0, LEAST_NOISE)
    ]
    assert torch.equal(answers[0].video, answers[1].video)


@pytest.mark.parametrize(("operator", "first"), [(Identity(), 4), (Mask(noise(4, 8) > 0), 5)])
def test_only_holes_take_more_iterations_to_fill(operator, first):
    problem = InverseProblem(operator, operator.forward(noise(*SHAPE)), 0.05)
    alone = SpaceTimeTV(ConstantSpread(math.inf), iterations=2, filling=5, tolerance=0.0)
    assert alone.correct(noise(*SHAPE, seed=1), problem, LEVEL).iterations == first + 4 + 4


def test_the_weight_is_its_formula():
    video = noise(*SHAPE)
    share = modes_of(OPERATORS["deblur+"], video).determined((0.1 / 0.5) ** 2) / video.numel()
    assert determined_share(OPERATORS["deblur+"], video, 0.1) == share
    assert variation_weight(share, 0.1) == pytest.approx(0.6 * 0.1**2 * math.sqrt(share))


@pytest.mark.parametrize(
    "op", [Identity(), Mask(noise(32, 48) > 0), AveragePool(4), TemporalAverage(3)], ids=repr
)
def test_a_measurement_without_noise_is_met_after_few_iterations(op):
    """The last one is not relaxed, which would leave a share of what the estimate was off by."""
    truth = moving_scene(5, 32, 48)
    problem = simulate(truth, op, 0.0, generator=generator(0))
    estimate = truth + 0.05 * noise(5, 3, 32, 48).float()
    found = SpaceTimeTV().correct(estimate, problem, NoiseLevel(0.1, 0.9, 0.4)).video
    before, after = (problem.measurement - op.forward(x) for x in (estimate, found))
    assert after.norm() < 1e-3 * before.norm()
