"""What a user's own operator, prior or state may get wrong is told before it costs anything."""

import math
import warnings

import pytest
import torch
from attrs import evolve, frozen

from visionxl import (
    Correction,
    DampedCG,
    GaussianPrior,
    InputError,
    PlainCG,
    PocketPrior,
    restore,
    simulate,
    trajectory,
    vision_xl,
)
from visionxl.errors import NotFiniteError
from visionxl.init import CorrectedInversion, EncodedBackProjection
from visionxl.metrics import check_same_shape, difference_psnr, psnr, ssim
from visionxl.operators import (
    TASK_NAMES,
    AveragePool,
    BicubicDownsample,
    Clip,
    Composition,
    Factors,
    Gamma,
    GaussianBlur,
    Grayscale,
    Identity,
    MotionBlur,
    NonlinearComposition,
    Scale,
    TemporalAverage,
    check_adjoint,
    lift,
    task_named,
)
from visionxl.operators.nonlinear import Diagonal
from visionxl.protocols import ForwardOperator, InverseProblem, check_noise_std
from visionxl.solvers import ClosedForm, ConstantSpread, NoiseAware, SpaceTimeTV, Unchanged
from visionxl.solvers.contract import check_problem
from visionxl.solvers.gain import gain_of
from visionxl.solvers.residual import check_result
from visionxl.video import read_clip
from visionxl.writing import write_clip

SHAPE = (3, 3, 16, 16)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=seeded())


@pytest.fixture
def prior():
    return GaussianPrior.natural(16, 16)


@pytest.fixture
def problem(prior):
    return simulate(prior.sample(3, 3, seeded()), AveragePool(2), 0.02, generator=seeded())


MADE = {name: (task_named(name), (8, 3, 32, 48)) for name in TASK_NAMES}
MADE["motion"] = (lambda *_: MotionBlur(5.0, 30.0), SHAPE)
MADE["bicubic"] = (lambda *_: BicubicDownsample(2), SHAPE)


@pytest.mark.parametrize("name", MADE)
def test_gradients_come_through_every_operator_by_its_adjoint(name):
    make, shape = MADE[name]
    operator = make(shape[0], *shape[2:], seeded())
    video = (0.3 * noise(*shape)).requires_grad_()
    measured = operator.forward(video)
    weights = noise(*measured.shape)
    (gradient,) = torch.autograd.grad((measured * weights).sum(), video)
    linear = isinstance(operator, ForwardOperator)
    derivative = operator if linear else operator.linearize(video.detach())
    torch.testing.assert_close(gradient, derivative.adjoint(weights))
    weights.requires_grad_()
    back = derivative.adjoint(weights)
    direction = noise(*back.shape)
    (gradient,) = torch.autograd.grad((back * direction).sum(), weights)
    torch.testing.assert_close(gradient, derivative.forward(direction))


@frozen
class Broken:
    """An operator that answers ``forward_factor x`` and ``adjoint_factor y``."""

    forward_factor: float = 1.0
    adjoint_factor: float = 1.0

    def forward(self, video):
        return self.forward_factor * video

    def adjoint(self, measurement):
        return self.adjoint_factor * measurement


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("method", ["forward", "adjoint"])
def test_the_dot_test_fails_where_values_are_not_finite(method, value):
    assert check_adjoint(Broken(**{f"{method}_factor": value}), SHAPE) == math.inf


def test_the_dot_test_names_an_adjoint_that_returns_no_tensor():
    class Pair(Broken):
        def adjoint(self, measurement):
            return measurement, measurement

    with pytest.raises(TypeError, match=r"adjoint of .* returned tuple"):
        check_adjoint(Pair(), SHAPE)


@pytest.mark.parametrize("method", ["forward", "adjoint"])
def test_an_operator_that_answers_nan_is_refused_before_the_first_evaluation(
    method, problem, prior
):
    operator = Broken(**{f"{method}_factor": math.nan})
    measured = InverseProblem(operator, noise(*SHAPE).float(), 0.02)
    with pytest.raises(InputError, match=f"Broken.*: {method} returned values that are not finite"):
        restore(measured, prior, vision_xl(), generator=seeded())


def test_a_solver_that_breaks_down_at_a_nan_stops_the_run(problem, prior):
    class Failing(AveragePool):
        calls = 0

        def adjoint(self, measurement):
            Failing.calls += 1
            return super().adjoint(measurement) * (math.nan if Failing.calls > 12 else 1.0)

    sampler = vision_xl(consistency=PlainCG(3))
    with pytest.raises(NotFiniteError, match="consistency answered NaN"):
        restore(evolve(problem, operator=Failing(2)), prior, sampler, generator=seeded())


class Spoiling:
    """It answers NaN for one frame, from some call on."""

    def __init__(self, method, sound):
        self.method, self.sound, self.calls = method, sound, 0

    def answered(self, method, values):
        self.calls += method == self.method
        if method == self.method and self.calls > self.sound:
            values = values.clone()
            values[1] = math.nan
        return values

    def forward(self, video):
        return self.answered("forward", 0.5 * video)

    def adjoint(self, measurement):
        return self.answered("adjoint", 0.5 * measurement)


@pytest.mark.parametrize("method", ["forward", "adjoint"])
def test_a_solver_that_meets_nan_names_the_frame(method, problem, prior):
    operator = Spoiling(method, 12)
    wrong = InverseProblem(operator, problem.operator.adjoint(problem.measurement), 0.02)
    with pytest.raises(NotFiniteError, match=r"consistency answered NaN.*step \d, frame 1, "):
        restore(wrong, prior, vision_xl(consistency=PlainCG(3)), generator=seeded())
    # For the start, before the first step:
    operator.calls, operator.sound = 0, {"forward": 2, "adjoint": 3}[method]  # those of the lift
    sampler = vision_xl(initializer=CorrectedInversion(PlainCG(3)))
    with pytest.raises(NotFiniteError, match=r"^consistency answered NaN or infinity \(frame 1, "):
        list(trajectory(wrong, prior, sampler, generator=seeded()))


def test_a_wrong_adjoint_is_told_where_a_run_begins(prior):
    class Exposure:
        def forward(self, video):
            return 0.1 * video.roll(1, 0) + 0.2 * video + 0.7 * video.roll(-1, 0)

        adjoint = forward  # its transpose rolls the other way

    wrong = simulate(prior.sample(3, 3, seeded()), Exposure(), 0.02, generator=seeded())
    with (
        pytest.warns(UserWarning, match="is not the transpose of its forward"),
        pytest.warns(UserWarning, match="does not explain its measurement: y - A x is"),
        pytest.warns(UserWarning, match="of the result's values are beyond"),
    ):
        restore(wrong, prior, vision_xl(consistency=PlainCG(1)), generator=seeded())


class Still:
    """The estimate as it is: the variable that was meant to be corrected."""

    def correct(self, estimate, problem, level):
        return Correction(estimate, 1, (), "done")


def test_a_correction_too_large_to_measure_stops_the_run(problem, prior):
    class Huge:
        def correct(self, estimate, problem, level):
            most = torch.finfo(estimate.dtype).max
            return Correction(torch.full_like(estimate, most / 100), 1, (), "done")

    with pytest.raises(NotFiniteError, match=r"consistency answered.*step 0.*check_adjoint"):
        restore(problem, prior, vision_xl(consistency=Huge()), generator=seeded())


def test_a_result_that_does_not_explain_its_measurement_is_warned_of(problem, prior):
    with pytest.warns(UserWarning, match=r"does not explain.*noise is 0\.02.*does nothing"):
        restore(problem, prior, vision_xl(consistency=Still()), generator=seeded())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        restore(problem, prior, vision_xl(consistency=Unchanged()), generator=seeded())


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda latent: None, r"Begins: start returned NoneType; make it return latents"),
        (lambda latent: latent[0], r"Begins: start returned \(.*4 dimensions"),
        (lambda latent: latent[:1], r"Begins: start returned latents of 1 frames for a video of 3"),
    ],
)
def test_a_start_that_is_none_is_named(problem, prior, answer, words):
    class Begins:
        def start(self, problem, prior, levels, generator):
            return answer(prior.encode(lift(problem.operator, problem.measurement)))

    with pytest.raises(InputError, match=words):
        restore(problem, prior, vision_xl(initializer=Begins()), generator=seeded())


def test_latents_that_a_network_cannot_take_are_the_starts_own():
    class Begins:
        def start(self, problem, prior, levels, generator):
            return prior.encode(problem.measurement)[:, 1:]

    pocket, video = PocketPrior.load(), noise(2, 3, 32, 32)
    problem = simulate(video, Identity(), generator=seeded())
    with pytest.raises(InputError, match=r"Begins: start returned latents of .* make start return"):
        restore(problem, pocket, vision_xl(initializer=Begins()), generator=seeded())
    gray = simulate(video[:, :1], Identity(), generator=seeded())
    with pytest.raises(InputError, match="video has 1 channels, and the autoencoder takes 3"):
        restore(gray, pocket, vision_xl(), generator=seeded())


@pytest.mark.parametrize("kind", [torch.OutOfMemoryError, RuntimeError])
def test_what_else_a_denoiser_raises_is_not_the_starts(kind, problem, prior, monkeypatch):
    def fails(*_):
        raise kind("CUDA error: out of it")

    monkeypatch.setattr(GaussianPrior, "denoise", fails)
    with pytest.raises(kind, match="out of it"):
        restore(problem, prior, vision_xl(initializer=EncodedBackProjection()), generator=seeded())


def test_what_a_network_was_given_is_told_from_what_it_answered(problem, prior):
    class Begins:
        def start(self, problem, prior, levels, generator):
            return prior.encode(math.nan * lift(problem.operator, problem.measurement))

    with pytest.raises(NotFiniteError, match=r"^the part before encode answered NaN"):
        restore(problem, prior, vision_xl(initializer=Begins()), generator=seeded())


def test_a_state_of_other_frames_is_refused(problem, prior):
    states = []
    restore(
        problem,
        prior,
        vision_xl(),
        generator=seeded(),
        observe=lambda s: states.append(s.following),
    )
    other = simulate(prior.sample(5, 3, seeded()), AveragePool(2), 0.02, generator=seeded())
    with pytest.raises(InputError, match="state has latents of 3 frames, and the problem 5"):
        restore(other, prior, vision_xl(), generator=seeded(), state=states[0])


@frozen
class Wrapped:
    """A prior with one part changed."""

    prior: object
    shorter: bool = False
    schedule_of: object = ...

    @property
    def schedule(self):
        return self.prior.schedule if self.schedule_of is ... else self.schedule_of

    def encode(self, video):
        return self.prior.encode(video)

    def decode(self, latent):
        return self.prior.decode(latent)[..., : -1 if self.shorter else None]

    def denoise(self, latent, level):
        return self.prior.denoise(latent, level)


def test_a_prior_that_loses_a_column_is_named(problem, prior):
    with pytest.raises(InputError, match=r"decode returned shape \(3, 3, 16, 15\)"):
        restore(problem, Wrapped(prior, shorter=True), vision_xl(), generator=seeded())
    average = simulate(prior.sample(3, 3, seeded()), TemporalAverage(3), 0.02, generator=seeded())
    with pytest.raises(InputError, match=r"into \(3, 3, 16, 15\), where the measurement has"):
        restore(average, Wrapped(prior, shorter=True), vision_xl(), generator=seeded())


@pytest.mark.parametrize("schedule", [None, 0.5])
def test_a_prior_without_a_schedule_is_told_so(schedule, problem, prior):
    with pytest.raises(InputError, match=rf"schedule of .* is {schedule}: expected"):
        restore(problem, Wrapped(prior, schedule_of=schedule), vision_xl(), generator=seeded())


def test_a_video_beyond_the_range_is_as_far_from_itself_as_any():
    video = 2 * noise(*SHAPE)
    assert psnr(video, video) == difference_psnr(video, video) == math.inf


def test_a_video_of_nan_is_not_written_and_a_broadcast_rate_is(tmp_path):
    video = torch.zeros(3, 3, 16, 16)
    write_clip(tmp_path / "x.mkv", video, 29.97)
    assert float(read_clip(tmp_path / "x.mkv").rate) == pytest.approx(29.97)
    video[1, 0, 2, 3] = math.nan
    for name in ("y.mkv", "y.mp4", "y.safetensors", "y"):
        with pytest.raises(InputError, match="1 values that are not finite: it is not written"):
            write_clip(tmp_path / name, video, 25)
        assert not (tmp_path / name).exists()


def judged(problem, consistency, video, residual):
    check_result(problem, consistency, video, residual, gain_of(problem.operator, video))


def test_a_residual_as_large_as_a_large_noise_is_no_surprise():
    noisy, video = InverseProblem(AveragePool(2), noise(3, 3, 8, 8), 0.5), torch.zeros(3, 3, 16, 16)
    judged(noisy, PlainCG(), video, 1.0)  # a warning is an error here
    with pytest.warns(UserWarning, match="does not explain its measurement"):
        judged(evolve(noisy, noise_std=0.1), PlainCG(), video, 1.0)


def test_of_a_consistency_that_ends_at_the_noise_less_is_let_pass():
    problem, video = InverseProblem(AveragePool(2), noise(3, 3, 8, 8), 0.1), torch.zeros(3, 3, 8, 8)
    for consistency in (PlainCG(), SpaceTimeTV()):
        judged(problem, consistency, video, 0.125)
    judged(problem, PlainCG(), video, 0.13)
    with pytest.warns(UserWarning, match=r"y - A x is 0\.13, where the noise is 0\.1"):
        judged(problem, SpaceTimeTV(), video, 0.13)


def test_a_measurement_in_grey_levels_is_warned_of_unless_the_operator_measures_so():
    y = 127.5 * noise(3, 3, 8, 8).clamp(-1, 1)
    with pytest.warns(UserWarning, match=r"about 1 at most: .*give measurement / 127\.5 - 1"):
        check_problem(InverseProblem(AveragePool(2), y, 0.1))
    check_problem(InverseProblem(Scale(127.5) @ AveragePool(2), y, 0.1))


def test_a_result_far_from_any_video_is_warned_of():
    y = noise(3, 3, 8, 8).clamp(-1, 1)
    problem, video = InverseProblem(Identity(), y, 0.1), torch.zeros(3, 3, 8, 8)
    video[1, 2, 3, 4] = -30  # one is none
    judged(problem, PlainCG(), video, 0.1)
    video[1, 2] = -2.5
    with pytest.warns(UserWarning, match=r"11% of the result's.* beyond 2,.*noise_std 0\.1"):
        judged(problem, PlainCG(), video, 0.1)
    judged(evolve(problem, measurement=2 * y), PlainCG(), video, 0.1)  # it is larger itself


@pytest.mark.parametrize("unit", [0.01, 127.5])
def test_what_counts_as_far_is_told_in_the_measurements_unit(unit):
    y = unit * noise(3, 3, 8, 8).clamp(-1, 1)
    problem, video = InverseProblem(Scale(unit), y, 0.01 * unit), torch.zeros(3, 3, 8, 8)
    judged(problem, PlainCG(), video, 0.04 * unit)
    judged(problem, SpaceTimeTV(), video, 0.012 * unit)
    for consistency, missed in ((PlainCG(), 0.5), (SpaceTimeTV(), 0.02)):
        with pytest.warns(UserWarning, match="does not explain its measurement"):
            judged(problem, consistency, video, missed * unit)
    with pytest.warns(UserWarning, match="of the result's values are beyond 2"):
        judged(problem, PlainCG(), video - 3, 0.0)


def test_an_adjoint_that_loses_a_border_is_told(prior):
    class Cropped(GaussianBlur):
        def adjoint(self, measurement):
            video = super().adjoint(measurement)
            video[..., :1, :] = 0  # <A A^T y, y> and |A^T y|^2 are still the same
            return video

    truth = prior.sample(3, 3, seeded()) + 0.5
    wrong = simulate(truth, Cropped(sigma=1.0), 0.02, generator=seeded())
    with pytest.warns(UserWarning, match=r"not the transpose.*the sum of A\^T y"):
        check_problem(wrong)
    right = evolve(wrong, operator=GaussianBlur(sigma=1.0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_problem(right)


def test_a_mask_beside_a_matrix_that_it_does_not_commute_with_is_refused():
    matrix, mask = torch.eye(16, dtype=torch.float64), torch.ones(1, 1, 16, 16)
    Factors((matrix, None, None, None), mask)
    for axes, known in [
        ((None, None, matrix, None), mask),
        ((None, None, None, matrix), mask),
        ((matrix, None, None, None), mask.expand(16, 1, 16, 16)),
        ((None, None, None, None), mask[0]),
    ]:
        with pytest.raises(InputError, match=r"mask of shape .* make factors\(\) return None"):
            Factors(axes, known)


@pytest.mark.parametrize(
    "make",
    [
        lambda: PlainCG(-1),
        lambda: DampedCG(least_noise=-1.0),
        lambda: DampedCG(tolerance=math.nan),
        lambda: ConstantSpread(-1.0),
        lambda: TemporalAverage(True),
        lambda: DampedCG(iterations=True),
    ],
)
def test_numbers_that_cannot_be_are_refused_when_a_value_is_made(make):
    with pytest.raises(InputError, match="is not a"):
        make()


def test_a_class_in_the_place_of_a_spread_is_told_what_to_write():
    for kind in (DampedCG, NoiseAware, ClosedForm, SpaceTimeTV):
        with pytest.raises(InputError, match=r"spread .* such as ConstantSpread\(0\.1\)"):
            kind(spread=ConstantSpread)


def test_the_noise_is_one_number():
    with pytest.raises(InputError, match="give one finite number"):
        check_noise_std(torch.ones(3))


def test_videos_that_cannot_be_compared_are_named():
    clip = torch.zeros(2, 3, 16, 16)
    for wrong in (clip[0], clip.to(torch.uint8)):
        with pytest.raises(InputError, match="truth is torch"):
            check_same_shape(clip, wrong)
    with pytest.raises(InputError, match="11 pixels a side"):
        ssim(clip[..., :8, :], clip[..., :8, :])


def test_operators_of_ones_own_compose_with_the_librarys_linear_or_not():
    class Cubed:
        def forward(self, video):
            return video**3

        def linearize(self, video):
            return Diagonal(3 * video**2)

        def lift(self, measurement):
            return measurement.sign() * measurement.abs() ** (1 / 3)

    for operator in (Cubed() @ AveragePool(2), AveragePool(2) @ Cubed(), Clip() @ Cubed()):
        assert isinstance(operator, NonlinearComposition)
    assert isinstance(TemporalAverage(3) @ Gamma(2.2), NonlinearComposition)
    assert isinstance(AveragePool(2) @ TemporalAverage(3), Composition)
    video = torch.rand(2, 3, 4, 4) + 0.5
    pooled = (AveragePool(2) @ Cubed()).forward(video)
    torch.testing.assert_close(pooled, AveragePool(2).forward(video**3))


def test_complex_measurements_are_refused_where_they_are_made():
    class Fourier:
        def forward(self, video):
            return torch.fft.fft2(video)

        def adjoint(self, measurement):
            return torch.fft.ifft2(measurement).real

    with pytest.raises(InputError, match="Fourier measures complex numbers"):
        simulate(torch.zeros(2, 3, 8, 8), Fourier(), generator=seeded())
    measured = Fourier().forward(torch.zeros(2, 3, 8, 8))
    with pytest.raises(InputError, match=r"measurement is torch.complex64.*view_as_real\(y\)"):
        InverseProblem(Fourier(), measured)


def test_a_gray_file_is_told_how_it_is_measured(prior):
    """It is read as three equal channels."""
    scanner = Grayscale((1 / 3,) * 3)
    measured = torch.zeros(3, 1, 64, 96).expand(-1, 3, -1, -1)
    with pytest.raises(InputError, match=r"measures one channel.*give measurement\[:, :1\]"):
        check_problem(InverseProblem(scanner, measured))


def test_a_shape_that_ones_own_operator_cannot_take_is_told_with_its_name():
    class Weighted:
        def forward(self, video):
            return video * torch.ones(5, 1, 1, 1)

        adjoint = forward

    with pytest.raises(
        InputError, match=r"forward of Weighted raised RuntimeError .*\(2, 3, 8, 8\)"
    ):
        simulate(torch.zeros(2, 3, 8, 8), Weighted(), generator=seeded())


def test_a_video_in_0_to_1_is_warned_of_where_it_is_measured():
    video = torch.rand(2, 3, 8, 8, generator=seeded())
    with pytest.warns(UserWarning, match=r"values from .*give 2 \* video - 1"):
        simulate(video, AveragePool(2), generator=seeded())
    simulate(2 * video - 1, AveragePool(2), generator=seeded())
    simulate(0.5 + 0.5 * video, AveragePool(2), generator=seeded())  # a bright one


def test_an_estimate_that_may_not_be_moved_is_refused(problem, prior):
    method = vision_xl(consistency=DampedCG(ConstantSpread(0.0)))
    with pytest.raises(InputError, match=r"spread ConstantSpread\(value=0.0\) is 0.0 at time"):
        restore(problem, prior, method, generator=seeded())


@pytest.mark.parametrize("noise_std", [0.0, 0.01])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_right_adjoint_of_an_operator_that_sees_no_mean_is_not_warned_of(dtype, noise_std):
    class Differences:
        def forward(self, video):
            return video[..., 1:] - video[..., :-1]

        def adjoint(self, measurement):
            first, last = measurement[..., :1], measurement[..., -1:]
            return torch.cat([-first, measurement[..., :-1] - measurement[..., 1:], last], -1)

    class HighPass:
        def forward(self, video):
            return video - video.mean((2, 3), keepdim=True)

        adjoint = forward

    for operator in (Differences(), HighPass()):
        assert check_adjoint(operator, SHAPE) < 1e-12
        truth = torch.rand(3, 3, 64, 96, generator=seeded()).mul(2).sub(1).to(dtype)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            check_problem(simulate(truth, operator, noise_std, generator=seeded()))
