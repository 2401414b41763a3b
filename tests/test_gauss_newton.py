"""Measurements that are not linear: their derivatives, and what Gauss-Newton makes of them."""

import math

import pytest
import torch
from attrs import evolve
from command_line import moving_scene
from dense import dense, generator, noise
from hypothesis import given, settings
from hypothesis import strategies as st

from visionxl import (
    GaussianPrior,
    GaussNewton,
    InverseProblem,
    MotionShrinkage,
    NonlinearOperator,
    PocketPrior,
    restore,
    simulate,
    vision_tv,
    vision_xl,
)
from visionxl.errors import InputError
from visionxl.metrics import psnr
from visionxl.operators import (
    AveragePool,
    Clip,
    ExposureBracket,
    FourierMagnitude,
    Gamma,
    GaussianBlur,
    NonlinearComposition,
    OnLight,
    Scale,
    TemporalAverage,
    check_adjoint,
    factors_of,
    lift,
)
from visionxl.protocols import NoiseLevel
from visionxl.solvers import (
    ClosedForm,
    ConstantSpread,
    DampedCG,
    Linearized,
    NoiseAware,
    PlainCG,
    gauss_newton,
    psld,
)
from visionxl.solvers.linearized import linearize
from visionxl.video import DEMO_CLIP, read_clip

LEVEL = NoiseLevel(time=0.1, signal=0.8, noise=0.6)
SHAPE = (4, 2, 8, 8)
OPERATORS = {
    "picture": Gamma(1 / 2.2),
    "light": Gamma(2.2),
    "clipped": Clip(-0.5, 0.4),
    "magnitude": FourierMagnitude(),
    "curve of a blurred average": Gamma() @ GaussianBlur(1.0) @ TemporalAverage(3),
    "clipped bracket": Gamma() @ Clip(-0.3, 0.3) @ ExposureBracket((1, 3)),
    "small pictures": NonlinearComposition(AveragePool(2), Gamma()),
    "magnitude of light": FourierMagnitude() @ Gamma(2.2),
    "dimmed light": Gamma(1 / 2.2) @ OnLight(Scale(0.3) @ AveragePool(2)) @ Gamma(2.2),
}


@pytest.mark.parametrize("name", OPERATORS)
@settings(max_examples=8)
@given(
    seed=st.integers(0, 1000),
    frames=st.integers(1, 5),
    height=st.integers(1, 4),
    width=st.integers(1, 4),
)
def test_the_jacobian_has_an_exact_adjoint(name, seed, frames, height, width):
    x = 0.6 * noise(frames, 2, 2 * height, 2 * width, seed=seed)
    jacobian = OPERATORS[name].linearize(x)
    assert check_adjoint(jacobian, x.shape) < 1e-10
    assert check_adjoint(jacobian, x.shape, dtype=torch.float32) < 1e-6


@pytest.mark.parametrize("name", OPERATORS)
@settings(max_examples=8)
@given(seed=st.integers(0, 1000))
def test_the_jacobian_is_the_derivative(name, seed):
    """Central differences along a random direction; a kink is within 1e-6 of few values."""
    f, x, v = OPERATORS[name], 0.6 * noise(*SHAPE, seed=seed), noise(*SHAPE, seed=seed + 5000)
    h = 1e-6
    found = f.linearize(x).forward(v)
    expected = (f.forward(x + h * v) - f.forward(x - h * v)) / (2 * h)
    off = (found - expected).abs() > 1e-4 * (1 + expected.abs())
    assert off.sum() <= 2


@pytest.mark.parametrize("name", OPERATORS)
def test_they_are_nonlinear_operators_that_keep_dtype(name):
    f, x = OPERATORS[name], 0.6 * noise(*SHAPE, dtype=torch.float32)
    assert isinstance(f, NonlinearOperator)
    y = f.forward(x)
    assert y.dtype == lift(f, y).dtype == f.linearize(x).forward(x).dtype == torch.float32
    assert lift(f, y).shape == x.shape
    other = x.flip(0)
    assert not torch.allclose(f.forward(x) + f.forward(other), f.forward(x + other), atol=0.01)


def test_light_of_0_is_measured_as_0():
    """And a blur, which takes ones to ones, is the same on light as on a video."""
    x, blur = noise(*SHAPE), GaussianBlur(1.0)
    black = torch.full(SHAPE, -1.0)
    assert torch.equal(OnLight(Scale(0.3)).forward(black), black)
    torch.testing.assert_close(OnLight(Scale(0.3)).forward(x), 2 * (0.3 * (x + 1) / 2) - 1)
    torch.testing.assert_close(OnLight(blur).forward(x), blur.forward(x))
    torch.testing.assert_close(lift(OnLight(Scale(0.3)), OnLight(Scale(0.3)).forward(x)), x)
    with pytest.raises(InputError, match=r"operator Gamma.* is no operator: give a value with"):
        OnLight(Gamma())


def test_what_a_camera_dims_is_restored_as_what_a_linear_operator_dims():
    dims, truth = Scale(0.3) @ AveragePool(2), 0.3 * noise(*SHAPE, seed=1)
    camera = OnLight(dims).forward(truth)
    linear = InverseProblem(dims, camera + 1 - dims.forward(torch.ones(SHAPE)), 0.01)
    consistency, estimate = NoiseAware(), torch.zeros(SHAPE, dtype=truth.dtype)
    expected = consistency.correct(estimate, linear, LEVEL)
    on_light = InverseProblem(OnLight(dims), camera, 0.01)
    found = Linearized(consistency).correct(estimate, on_light, LEVEL)
    torch.testing.assert_close(found.video, expected.video)


@given(exponent=st.floats(0.2, 4), value=st.floats(-2, 2))
def test_the_lift_of_a_curve_is_its_inverse(exponent, value):
    x = torch.tensor(value, dtype=torch.float64).view(1, 1, 1, 1)
    gamma = Gamma(exponent)
    torch.testing.assert_close(lift(gamma, gamma.forward(x)), x, rtol=1e-6, atol=1e-6)


def test_a_curve_is_a_power_of_the_light():
    values = torch.tensor([1.0, 0.0, -0.5]).view(3, 1, 1, 1)
    light = Gamma(2.2).forward(values).flatten()
    assert light.tolist() == pytest.approx([1.0, 2 * 0.5**2.2 - 1, 2 * 0.25**2.2 - 1])


def test_the_magnitudes_of_the_lift_are_those_measured():
    x = noise(*SHAPE)
    y = FourierMagnitude().forward(x)
    torch.testing.assert_close(FourierMagnitude().forward(lift(FourierMagnitude(), y)), y)
    torch.testing.assert_close(FourierMagnitude().forward(x.roll(3, -1)), y)


def test_the_jacobian_of_clipping_has_factors():
    assert factors_of(Clip().linearize(noise(*SHAPE)), SHAPE) is not None


# Gauss-Newton


def objective(f, problem, x, x0):
    return (problem.measurement - f.forward(x)).square().sum() + (x - x0).square().sum()


# Where a value is clipped or a real coefficient is 0 there is a kink, and a minimum may lie on it.
SMOOTH = [name for name in OPERATORS if "clipped" not in name and "magnitude" not in name]


@pytest.mark.parametrize("name", SMOOTH)
def test_it_comes_to_where_the_gradient_of_the_objective_is_zero(name):
    f, truth = OPERATORS[name], 0.4 * noise(*SHAPE, seed=1)
    estimate = truth + 0.1 * noise(*SHAPE, seed=2)
    problem = simulate(truth, f, 0.1, generator=generator())
    inner = DampedCG(ConstantSpread(0.1), iterations=300, tolerance=1e-10)
    found = GaussNewton(inner, rounds=60, tolerance=1e-14).correct(estimate, problem, LEVEL)
    x = found.video
    gradient = f.linearize(x).adjoint(problem.measurement - f.forward(x)) - (x - estimate)
    before = f.linearize(estimate).adjoint(problem.measurement - f.forward(estimate))
    assert gradient.norm() < 1e-3 * before.norm()


@pytest.mark.parametrize("name", OPERATORS)
def test_its_record_is_the_objective_which_never_rises(name):
    f, truth = OPERATORS[name], 0.4 * noise(*SHAPE, seed=1)
    estimate = truth + 0.1 * noise(*SHAPE, seed=2)
    problem = simulate(truth, f, 0.1, generator=generator())
    found = GaussNewton(NoiseAware(ConstantSpread(0.1))).correct(estimate, problem, LEVEL)
    first, last = (objective(f, problem, v, estimate).item() for v in (estimate, found.video))
    assert found.residuals[0] == 1
    assert found.residuals[-1] == pytest.approx((last / first) ** 0.5)
    assert found.residuals[-1] < 1
    assert list(found.residuals) == sorted(found.residuals, reverse=True)


def test_of_a_linear_operator_it_is_its_inner_consistency():
    problem = simulate(noise(*SHAPE), GaussianBlur(1.0), 0.1, generator=generator())
    found = GaussNewton().correct(noise(*SHAPE, seed=2), problem, LEVEL)
    expected = NoiseAware().correct(noise(*SHAPE, seed=2), problem, LEVEL)
    assert torch.equal(found.video, expected.video)
    assert found.stopped == "exact"


def test_the_linear_problem_agrees_to_first_order():
    f, x = OPERATORS["clipped bracket"], 0.2 * noise(*SHAPE)
    problem = InverseProblem(f, noise(*SHAPE), 0.1)
    linear = linearize(problem, x)
    at_x = linear.measurement - linear.operator.forward(x)
    torch.testing.assert_close(at_x, problem.measurement - f.forward(x))
    matrices = [dense(o.forward, SHAPE) for o in (linear.operator, f.linearize(x))]
    torch.testing.assert_close(*matrices)


def test_where_no_step_helps_it_stops_at_once():
    f, x = Gamma(), 0.3 * noise(*SHAPE)
    found = GaussNewton().correct(x, simulate(x, f, 0.0, generator=generator()), LEVEL)
    assert torch.equal(found.video, x)
    assert (found.iterations, found.stopped) == (1, "converged")


# Full steps


def test_one_round_is_the_inner_consistency_of_the_linear_problem():
    f, x = Gamma() @ GaussianBlur(1.0), 0.3 * noise(*SHAPE)
    problem, inner = simulate(x, f, 0.1, generator=generator()), DampedCG(ConstantSpread(0.1))
    estimate = x + 0.1 * noise(*SHAPE, seed=2)
    linearized = linearize(problem, estimate)
    expected = inner.correct(estimate, linearized, LEVEL)
    assert torch.equal(Linearized(inner).correct(estimate, problem, LEVEL).video, expected.video)


def test_full_steps_come_to_the_same_minimum():
    f, truth = Gamma(2.2) @ TemporalAverage(3), 0.3 * noise(*SHAPE, seed=1)
    estimate = truth + 0.05 * noise(*SHAPE, seed=2)
    problem = simulate(truth, f, 0.1, generator=generator())
    inner = DampedCG(ConstantSpread(0.1), iterations=300, tolerance=1e-10)
    searched = GaussNewton(inner, rounds=60, tolerance=1e-14).correct(estimate, problem, LEVEL)
    found = Linearized(inner, rounds=30).correct(estimate, problem, LEVEL)
    torch.testing.assert_close(found.video, searched.video, rtol=0, atol=1e-5)


def test_the_method_betters_a_measurement_through_a_curve():
    truth = moving_scene(5, 16, 24)
    f = Gamma() @ TemporalAverage(3) @ Gamma(2.2)
    problem = simulate(truth, f, 0.02, generator=generator())
    prior = GaussianPrior.natural(16, 24)
    found = restore(problem, prior, gauss_newton(), generator=generator(1)).video
    assert psnr(found, truth) > psnr(lift(f, problem.measurement), truth) + 1


# The whole loop

PRIOR = GaussianPrior.natural(16, 16, std=0.3)
METHOD = vision_xl(consistency=GaussNewton())


@pytest.mark.parametrize(
    "f",
    [
        Gamma() @ GaussianBlur(1.0),
        Gamma() @ Clip(-0.2, 0.2) @ ExposureBracket((1, 3)),
        NonlinearComposition(AveragePool(2), Gamma(2.2)),
    ],
    ids=repr,
)
def test_a_restoration_comes_down_to_the_noise_and_nearer_to_the_truth(f):
    truth = PRIOR.sample(5, 3, generator())
    problem = simulate(truth, f, 0.02, generator=generator(1))
    found = restore(problem, PRIOR, METHOD, generator=generator(), frames_at_once=5)
    lifted = lift(f, problem.measurement)
    assert found.trace[-1].data_residual < 1.1 * 0.02
    assert (found.video - truth).norm() < (lifted - truth).norm()


def test_magnitudes_are_explained_to_the_noise():
    """From magnitudes alone the truth is not known; but what is found has them."""
    problem = simulate(
        PRIOR.sample(2, 1, generator()), FourierMagnitude(), 0.05, generator=generator(1)
    )
    found = restore(problem, PRIOR, METHOD, generator=generator(), frames_at_once=2)
    assert found.trace[-1].data_residual < 1.1 * 0.05
    assert problem.measurement.std() > 0.15


def test_magnitudes_and_a_good_start_come_nearer_to_the_truth():
    truth = PRIOR.sample(2, 1, generator())
    problem = simulate(truth, FourierMagnitude(), 0.01, generator=generator(1))
    start = truth + 0.1 * noise(*truth.shape, seed=3)
    found = GaussNewton(NoiseAware(ConstantSpread(0.1))).correct(start, problem, LEVEL)
    assert (found.video - truth).norm() < 0.8 * (start - truth).norm()


def test_a_start_that_solves_first_works_too():
    f = Gamma() @ GaussianBlur(1.0)
    problem = simulate(PRIOR.sample(3, 3, generator()), f, 0.02, generator=generator(1))
    alone = GaussNewton(NoiseAware(ConstantSpread(1.0)))
    start = evolve(vision_tv().initializer, consistency=alone)
    method = vision_xl(consistency=GaussNewton(), initializer=start)
    found = restore(problem, PRIOR, method, generator=generator())
    assert found.trace[-1].data_residual < 1.1 * 0.02


# What needs linearity says so, before anything is evaluated


class Untouched:
    schedule = PRIOR.schedule

    def _asked(self, *_):
        raise AssertionError("the prior was asked")

    encode = decode = denoise = _asked


METHODS = {
    "vision_xl": vision_xl(),
    "vision_tv": vision_tv(),
    "a linear start": evolve(vision_tv(), consistency=GaussNewton(), finish=None),
    "a linear finish": evolve(gauss_newton(), finish=MotionShrinkage()),
    "plain": vision_xl(consistency=PlainCG(10)),
    "closed form": vision_xl(consistency=ClosedForm()),
    "psld": psld(),
    "a linear condition": evolve(psld(), consistency=GaussNewton()),
}


@pytest.mark.parametrize("method", METHODS)
def test_a_method_for_linear_operators_names_gauss_newton(method):
    problem = simulate(noise(2, 3, 16, 16), Gamma(), 0.1, generator=generator())
    with pytest.raises(InputError, match=r"Gamma.*is not linear, and .*: use.*GaussNewton\(\)"):
        restore(problem, Untouched(), METHODS[method], generator=generator())


@pytest.mark.parametrize("solver", [PlainCG(), DampedCG(), NoiseAware()], ids=repr)
def test_a_solver_asked_directly_says_so_too(solver):
    problem = InverseProblem(Gamma(), noise(*SHAPE), 0.1)
    with pytest.raises(InputError, match="not linear"):
        solver.correct(noise(*SHAPE), problem, LEVEL)


class WrongLift(Gamma):
    def lift(self, measurement):
        return measurement[1:]


def restored_with_a_wrong_lift():
    problem = InverseProblem(WrongLift(), noise(3, 3, 16, 16))
    restore(problem, PRIOR, METHOD, generator=generator())


ERRORS = {
    "no exponent": (lambda: Gamma(0.0), "exponent 0.0"),
    "endless exponent": (lambda: Gamma(math.inf), "exponent inf"),
    "limits the wrong way round": (lambda: Clip(1.0, -1.0), "low 1.0, high -1.0"),
    "no rounds": (lambda: GaussNewton(rounds=0), "rounds 0"),
    "a lift of another shape": (
        restored_with_a_wrong_lift,
        "its lift made from it.*fix forward and lift",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_name_the_value_and_the_way_out(case):
    action, message = ERRORS[case]
    with pytest.raises(InputError, match=message):
        action()


def test_composing_with_what_is_no_operator_is_refused():
    with pytest.raises(InputError, match="inner 3 is no operator"):
        NonlinearComposition(Gamma(), 3)


def test_a_composition_reads_as_written():
    assert repr(Gamma(2.0) @ Scale(3.0)) == "Gamma(exponent=2.0) @ Scale(gain=3.0)"


def test_it_stops_at_the_same_round_in_any_unit_of_the_measurement():
    truth, estimate = 0.4 * noise(*SHAPE, seed=1), 0.4 * noise(*SHAPE, seed=2)
    rounds = []
    for gain in (1.0, 0.01):
        f = NonlinearComposition(Scale(gain), Gamma(2.2) @ TemporalAverage(3))
        problem = simulate(truth, f, 0.1 * gain, generator=generator())
        found = GaussNewton(NoiseAware(ConstantSpread(0.1))).correct(estimate, problem, LEVEL)
        rounds.append(found.iterations)
    assert rounds[0] == rounds[1] > 1


def test_clipped_values_have_no_derivative_at_the_ends_either():
    ends = torch.tensor([-0.5, 0.0, 0.4]).view(1, 1, 1, 3)
    jacobian = Clip(-0.5, 0.4).linearize(ends)
    assert jacobian.forward(torch.ones_like(ends)).flatten().tolist() == [0.0, 1.0, 0.0]


@pytest.mark.parametrize("exponent", [1 / 2.2, 2.2])
def test_the_curve_is_a_power_down_to_a_fiftieth_and_its_tangent_below(exponent):
    def at(light):
        video = torch.tensor([[[[2 * light - 1]]]], dtype=torch.float64)
        return (Gamma(exponent).forward(video).item() + 1) / 2

    assert at(0.021) == pytest.approx(0.021**exponent, rel=1e-12)
    slope = exponent * 0.02 ** (exponent - 1)
    assert at(0.019) == pytest.approx(0.02**exponent - 0.001 * slope, rel=1e-12)
    assert at(-0.01) == pytest.approx(0.02**exponent - 0.03 * slope, rel=1e-12)


def test_a_jacobian_of_uneven_slope_is_solved_to_the_noise():
    """A curve that is steep where it is dark: with five conjugate gradients it was 0.03."""
    clip = read_clip(DEMO_CLIP, frames=5).video[..., 96:160, 96:192]
    operator = Gamma(1 / 2.2) @ TemporalAverage(5, "reflect")
    problem = simulate(clip, operator, 0.01, generator=generator())
    found = restore(problem, PocketPrior.load(), gauss_newton(), generator=generator())
    assert found.trace[-1].data_residual < 0.013
