"""Data consistency against dense solves of what it minimises."""

import math
import weakref
from functools import cache

import pytest
import torch
from attrs import frozen
from dense import dense, generator, noise, solve_damped
from hypothesis import given
from hypothesis import strategies as st

from visionxl import InverseProblem, simulate
from visionxl.errors import InputError
from visionxl.operators import (
    TASKS,
    AveragePool,
    Blur,
    Clip,
    GaussianBlur,
    Grayscale,
    Identity,
    Mask,
    MotionBlur,
    Repeat,
    Stack,
    TemporalAverage,
    TemporalSubsample,
    normal,
    task_named,
)
from visionxl.operators.factors import on_axis
from visionxl.priors import GaussianPrior
from visionxl.protocols import NoiseLevel
from visionxl.solvers import (
    ClosedForm,
    DampedCG,
    NoiseAware,
    PlainCG,
    ScheduleSpread,
    conjugate_gradient,
)
from visionxl.solvers.decomposition import spectrum_of
from visionxl.testing import check_consistency

LEVEL = NoiseLevel(time=0.1, signal=0.8, noise=0.6)
SHAPE = (3, 3, 4, 4)


def spread_of(value):
    return lambda level: value


def problem_of(operator, noise_std=0.1):
    """A measurement that no video explains: white noise, also where a mask sees nothing."""
    return InverseProblem(
        operator, noise(*operator.forward(noise(*SHAPE)).shape, seed=3), noise_std
    )


FACTORED = {name: task_named(name)(SHAPE[0], *SHAPE[2:], generator()) for name in TASKS} | {
    "gray": Grayscale() @ TemporalAverage(3, "replicate"),
    "skipped frames": TemporalSubsample(2, frames=3) @ GaussianBlur(0.7, "zero"),
    "gray inpainting of skipped frames": (
        Grayscale() @ TemporalSubsample(2, frames=3) @ Mask.random(0.5, *SHAPE[2:], generator())
    ),
}
NOT_FACTORED = {
    "motion": MotionBlur(3.0, 30.0) @ TemporalAverage(3),
    "kernel": Blur([[0.5, 1.0, -0.5]], "replicate"),
    "masked blur": Mask.random(0.5, *SHAPE[2:], generator()) @ GaussianBlur(0.7),
    "two measurements": Stack([AveragePool(2), TemporalAverage(3)], SHAPE),
}
OPERATORS = FACTORED | NOT_FACTORED


@cache
def matrix_of(name):
    return dense(OPERATORS[name].forward, SHAPE)


@pytest.mark.parametrize("name", FACTORED)
@pytest.mark.parametrize("noise_std", [1e-3, 0.1, 1.0])
@pytest.mark.parametrize("spread", [0.05, 0.7])
def test_the_closed_form_is_the_damped_least_squares_solution(name, noise_std, spread):
    problem, estimate = problem_of(FACTORED[name], noise_std), noise(*SHAPE)
    found = ClosedForm(spread_of(spread)).correct(estimate, problem, LEVEL)
    damping = (noise_std / spread) ** 2
    expected = solve_damped(matrix_of(name), problem.measurement, estimate, damping)
    left_out = 1e-9 / damping  # singular values below 1e-9 of the largest are dropped
    torch.testing.assert_close(found.video, expected, rtol=1e-8, atol=max(1e-8, left_out))
    assert (found.iterations, found.stopped) == (0, "exact")


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("noise_std", [0.1, 1.0])
def test_damped_cg_is_the_damped_least_squares_solution(name, noise_std):
    operator = OPERATORS[name]
    problem, estimate = problem_of(operator, noise_std), noise(*SHAPE)
    solver = DampedCG(spread_of(0.5), iterations=500, tolerance=1e-12)
    found = solver.correct(estimate, problem, LEVEL)
    expected = solve_damped(matrix_of(name), problem.measurement, estimate, (noise_std / 0.5) ** 2)
    torch.testing.assert_close(found.video, expected, rtol=1e-8, atol=1e-8)
    assert found.stopped == "converged"


@pytest.mark.parametrize("name", FACTORED)
def test_noise_aware_is_the_closed_form_where_there_are_factors(name):
    problem, estimate = problem_of(FACTORED[name]), noise(*SHAPE)
    found = NoiseAware().correct(estimate, problem, LEVEL)
    assert torch.equal(found.video, ClosedForm().correct(estimate, problem, LEVEL).video)
    assert found.stopped == "exact"


@pytest.mark.parametrize("name", NOT_FACTORED)
def test_noise_aware_is_damped_cg_where_there_are_none(name):
    problem, estimate = problem_of(NOT_FACTORED[name]), noise(*SHAPE)
    found = NoiseAware(iterations=300, tolerance=1e-12).correct(estimate, problem, LEVEL)
    damping = (0.1 / ScheduleSpread()(LEVEL)) ** 2
    expected = solve_damped(matrix_of(name), problem.measurement, estimate, damping)
    torch.testing.assert_close(found.video, expected, rtol=1e-8, atol=1e-8)
    assert found.iterations == len(found.residuals) - 1 > 0


def test_the_closed_form_refuses_an_operator_without_factors_and_names_the_way_out():
    problem = problem_of(NOT_FACTORED["motion"])
    with pytest.raises(InputError, match=r"MotionBlur.*\(3, 3, 4, 4\).*use NoiseAware"):
        ClosedForm().correct(noise(*SHAPE), problem, LEVEL)


@frozen
class Total:
    """The sum of all frames, in one."""

    frames: int

    def forward(self, video):
        return video.sum(0, keepdim=True)

    def adjoint(self, measurement):
        return measurement.expand(self.frames, -1, -1, -1).clone()

    def factors(self, shape):
        return on_axis(0, torch.ones(1, shape[0], dtype=torch.float64))


def test_matrices_of_the_same_numbers_and_other_shapes_are_not_mixed_up():
    for operator, frames in ((Total(4), 4), (Repeat(4), 1)):  # matrices of 1x4 and 4x1, all ones
        x = noise(frames, 1, 4, 4)
        problem = simulate(x, operator, 0.1, generator=generator())
        exact = ClosedForm().correct(torch.zeros_like(x), problem, LEVEL).video
        steps = DampedCG(tolerance=1e-12).correct(torch.zeros_like(x), problem, LEVEL).video
        torch.testing.assert_close(exact, steps)


def test_what_is_kept_between_calls_does_not_know_the_callers_mode():
    operator = GaussianBlur(0.77)
    x = noise(1, 1, 8, 8)
    problem = simulate(x, operator, 0.1, generator=generator())
    with torch.inference_mode():
        inside = ClosedForm().correct(x, problem, LEVEL).video
    axes, _ = spectrum_of(operator, x)
    assert not any(svd.values.is_inference() for svd in axes if svd is not None)
    assert torch.equal(ClosedForm().correct(x, problem, LEVEL).video, inside)


def test_an_operator_without_factors_is_not_kept():
    operator = Clip(-0.5, 0.5).linearize(noise(2, 1, 8, 8)) @ GaussianBlur(1.0)
    assert spectrum_of(operator, noise(2, 1, 8, 8)) is None
    gone = weakref.ref(operator)
    del operator
    assert gone() is None


def test_numbers_that_overflow_are_no_convergence():
    x = torch.full((1, 1, 64, 64), 60.0).half()
    found = PlainCG().correct(0 * x, InverseProblem(Identity(), x), LEVEL)
    assert found.stopped.startswith("breakdown")


@pytest.mark.parametrize("solver", [ClosedForm(), DampedCG(), NoiseAware(), PlainCG(3)], ids=repr)
def test_the_arguments_are_not_changed(solver):
    problem, estimate = problem_of(AveragePool(2)), noise(*SHAPE)
    copies = problem.measurement.clone(), estimate.clone()
    solver.correct(estimate, problem, LEVEL)
    assert torch.equal(problem.measurement, copies[0])
    assert torch.equal(estimate, copies[1])


class Untouched:
    """A user's operator that returns its argument itself: denoising."""

    def forward(self, video):
        return video

    def adjoint(self, measurement):
        return measurement


@pytest.mark.parametrize("solver", [DampedCG(spread_of(0.5)), PlainCG(3)], ids=["damped", "plain"])
def test_an_operator_may_return_its_argument_itself(solver):
    problem, estimate = problem_of(Untouched()), noise(*SHAPE)
    copies = problem.measurement.clone(), estimate.clone()
    found = solver.correct(estimate, problem, LEVEL).video
    weight = 1 / (1 + (0.1 / 0.5) ** 2) if isinstance(solver, DampedCG) else 1
    torch.testing.assert_close(found, copies[1] + weight * (copies[0] - copies[1]))
    assert torch.equal(problem.measurement, copies[0])
    assert torch.equal(estimate, copies[1])


@pytest.mark.parametrize("name", ["deblur+", "sr4", "masked blur"])
@pytest.mark.parametrize("iterations", [1, 5])
def test_plain_cg_is_cg_on_the_normal_equations(name, iterations):
    operator = OPERATORS[name]
    problem, estimate = problem_of(operator), noise(*SHAPE)
    found = PlainCG(iterations).correct(estimate, problem, LEVEL)
    expected = conjugate_gradient(
        lambda x: normal(operator, x),
        operator.adjoint(problem.measurement),
        estimate,
        iterations=iterations,
    )
    assert torch.equal(found.video, expected.solution)
    assert found.residuals == expected.residuals


@pytest.mark.parametrize("operator", [GaussianBlur(1.0), GaussianBlur(1.0) @ TemporalAverage(3)])
def test_plain_cg_fits_the_noise_that_the_noise_aware_solution_leaves(operator):
    prior = GaussianPrior.natural(16, 16)
    truth = prior.sample(3, 1, generator())
    problem = simulate(truth, operator, noise_std=0.05, generator=generator(1))
    estimate = truth + 0.1 * noise(*truth.shape, seed=2)

    def residual_and_error(solver):
        video = solver.correct(estimate, problem, LEVEL).video
        return (operator.forward(video) - problem.measurement).norm(), (video - truth).norm()

    plain_residual, plain_error = residual_and_error(PlainCG(100))
    aware_residual, aware_error = residual_and_error(NoiseAware(spread_of(0.1)))
    assert plain_residual < 0.95 * aware_residual
    assert plain_error > 2 * aware_error
    assert aware_error < (estimate - truth).norm()


@pytest.mark.parametrize("solver", [ClosedForm, DampedCG, NoiseAware])
def test_a_measurement_without_noise_is_given_the_least_noise(solver):
    estimate = noise(*SHAPE)
    clean, noisy = (problem_of(AveragePool(2), std) for std in (0.0, 0.03))
    torch.testing.assert_close(
        solver(least_noise=0.03).correct(estimate, clean, LEVEL).video,
        solver().correct(estimate, noisy, LEVEL).video,
    )


@given(
    scale=st.floats(0, 10),
    floor=st.floats(1e-6, 1),
    signal=st.floats(0.01, 1),
    noise_part=st.floats(0, 1),
)
def test_the_scheduled_spread_is_its_formula(scale, floor, signal, noise_part):
    found = ScheduleSpread(scale, floor)(NoiseLevel(0.5, signal, noise_part))
    expected = math.hypot(scale * noise_part / signal, floor)
    assert found == pytest.approx(min(expected, 4))


@pytest.mark.parametrize("value", [-0.1, math.inf, math.nan])
def test_a_noise_that_is_no_deviation_is_refused(value):
    with pytest.raises(InputError, match=f"noise_std {value}"):
        InverseProblem(AveragePool(2), noise(1, 1, 2, 2), value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    "op", [Grayscale(), Grayscale() @ AveragePool(4), Grayscale() @ TemporalAverage(3)], ids=repr
)
def test_steps_after_the_solution_do_not_follow_rounding_into_the_null_space(op, dtype):
    """It is found after as many steps as there are singular values, here one to eight."""
    truth = noise(4, 3, 8, 8).to(dtype)
    problem = InverseProblem(op, op.forward(truth), 0.0)
    start = noise(4, 3, 8, 8, seed=1).to(dtype)
    found = PlainCG(30).correct(start, problem, LEVEL)
    assert found.video.abs().max() < 2 * start.abs().max()
    residual = op.forward(found.video) - problem.measurement
    assert residual.norm() < 20 * torch.finfo(dtype).eps * problem.measurement.norm()
    check_consistency(PlainCG(30), op, (4, 3, 8, 8), dtype=dtype)


@pytest.mark.parametrize("consistency", [ClosedForm, NoiseAware])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_estimate_that_tells_nothing_does_not_let_rounding_errors_grow(dtype, consistency):
    """The blur's singular values go below those of rounding, by which nothing is divided."""
    video = GaussianPrior.natural(64, 64).sample(1, 3, generator()).to(dtype)
    problem = simulate(video, GaussianBlur(3.0), 0.0, generator=generator())
    there = consistency(spread_of(math.inf))
    found = there.correct(torch.zeros_like(video), problem, LEVEL).video
    assert (found - video).norm() < 3 * video.norm()
    assert (problem.operator.forward(found) - problem.measurement).abs().max() < 1e-3
