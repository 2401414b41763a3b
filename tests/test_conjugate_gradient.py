"""Conjugate gradients against dense linear algebra, and the reasons it ends with."""

from itertools import pairwise

import pytest
import torch
from dense import dense, generator, noise, relative_error
from hypothesis import given
from hypothesis import strategies as st

from visionxl.operators import AveragePool, BicubicDownsample, GaussianBlur, Mask, TemporalAverage
from visionxl.operators import normal as gram
from visionxl.solvers import conjugate_gradient
from visionxl.solvers.cg import CONVERGED, INDEFINITE, NOT_A_NUMBER, USED_UP, dot

SHAPES = st.sampled_from([(1,), (5,), (12,), (2, 3), (3, 1, 2, 2)])
SEEDS = st.integers(0, 10**6)


def positive_definite(size, seed, condition=10.0):
    """A random symmetric matrix with eigenvalues from 1 to ``condition``."""
    basis, _ = torch.linalg.qr(noise(size, size, seed=seed))
    matrix = basis @ torch.diag(torch.linspace(1, condition, size, dtype=torch.float64)) @ basis.T
    return (matrix + matrix.T) / 2


def action(matrix):
    return lambda x: (matrix.to(x) @ x.flatten()).view(x.shape)


def zeros(b):
    return torch.zeros_like(b)


@given(shape=SHAPES, seed=SEEDS)
def test_float64_agrees_with_the_dense_solve_after_as_many_steps_as_unknowns(shape, seed):
    b, x0 = noise(*shape, seed=seed), noise(*shape, seed=seed + 1)
    matrix = positive_definite(b.numel(), seed)
    result = conjugate_gradient(action(matrix), b, x0, iterations=b.numel())
    truth = torch.linalg.solve(matrix, b.flatten()).view(shape)
    assert relative_error(result.solution, truth) < 1e-8


@given(shape=SHAPES, seed=SEEDS)
def test_float32_agrees_with_the_dense_solve_to_its_precision(shape, seed):
    b = noise(*shape, seed=seed)
    matrix = positive_definite(b.numel(), seed)
    single = b.float()
    result = conjugate_gradient(
        action(matrix), single, zeros(single), iterations=3 * b.numel(), tolerance=1e-6
    )
    truth = torch.linalg.solve(matrix, b.flatten()).view(shape)
    assert result.solution.dtype == torch.float32
    assert result.stopped == CONVERGED
    assert relative_error(result.solution.double(), truth) < 1e-4


@pytest.mark.parametrize(
    "op",
    [
        GaussianBlur(0.8, "reflect"),
        AveragePool(2) @ TemporalAverage(3),
        BicubicDownsample(2) @ TemporalAverage(5, "replicate"),
        Mask.random(0.5, 4, 6, generator()) @ GaussianBlur(1.0, "zero"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("damping", [1.0, 0.01])
@pytest.mark.parametrize(("dtype", "error"), [(torch.float64, 1e-7), (torch.float32, 1e-3)])
def test_damped_normal_equations_agree_with_the_dense_solve(op, damping, dtype, error):
    shape = (3, 1, 4, 6)
    matrix = dense(lambda x: gram(op, x) + damping * x, shape)
    b = noise(*shape)
    result = conjugate_gradient(
        lambda x: gram(op, x) + damping * x,
        b.to(dtype),
        zeros(b).to(dtype),
        iterations=200,
        tolerance=error / 100,
    )
    truth = torch.linalg.solve(matrix, b.flatten()).view(shape)
    assert result.stopped == CONVERGED
    assert relative_error(result.solution.double(), truth) < error


@given(shape=SHAPES, seed=SEEDS)
def test_the_error_in_the_energy_norm_never_grows(shape, seed):
    b, x0 = noise(*shape, seed=seed), noise(*shape, seed=seed + 1)
    matrix = positive_definite(b.numel(), seed, condition=1e3)
    truth = torch.linalg.solve(matrix, b.flatten())

    def energy(iterations):
        result = conjugate_gradient(action(matrix), b, x0, iterations=iterations)
        error = result.solution.flatten() - truth
        return (error @ matrix @ error).sqrt().item()

    energies = [energy(k) for k in range(b.numel() + 1)]
    assert all(later <= sooner + 1e-12 for sooner, later in pairwise(energies))


@given(shape=SHAPES, seed=SEEDS)
def test_the_residuals_are_those_of_the_iterates(shape, seed):
    b, x0 = noise(*shape, seed=seed), noise(*shape, seed=seed + 1)
    matrix = positive_definite(b.numel(), seed)
    history = conjugate_gradient(action(matrix), b, x0, iterations=3).residuals
    for iterations, residual in enumerate(history):
        x = conjugate_gradient(action(matrix), b, x0, iterations=iterations).solution
        assert residual == pytest.approx(
            ((b - action(matrix)(x)).norm() / b.norm()).item(), abs=1e-12
        )


def test_it_stops_at_the_tolerance():
    b, matrix = noise(12), positive_definite(12, 0)
    result = conjugate_gradient(action(matrix), b, zeros(b), iterations=50, tolerance=1e-3)
    assert result.stopped == CONVERGED
    assert result.iterations == len(result.residuals) - 1 < 12
    assert result.residuals[-1] <= 1e-3 < result.residuals[-2]


def test_it_stops_when_its_iterations_are_used_up():
    b, matrix = noise(12), positive_definite(12, 0)
    result = conjugate_gradient(action(matrix), b, zeros(b), iterations=2, tolerance=1e-9)
    assert (result.iterations, result.stopped) == (2, USED_UP)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_stops_it_at_the_last_finite_solution(value):
    b, matrix = noise(6), positive_definite(6, 0)
    calls = []

    def failing(x):
        calls.append(x)
        return action(matrix)(x) * (value if len(calls) > 2 else 1)

    result = conjugate_gradient(failing, b, zeros(b), iterations=6)
    assert (result.iterations, result.stopped) == (1, NOT_A_NUMBER)
    assert torch.equal(
        result.solution, conjugate_gradient(action(matrix), b, zeros(b), iterations=1).solution
    )


def test_a_right_hand_side_with_nan_stops_it_at_once():
    b = torch.tensor([1.0, float("nan")])
    result = conjugate_gradient(lambda x: x, b, zeros(b))
    assert (result.iterations, result.stopped) == (0, NOT_A_NUMBER)
    assert torch.equal(result.solution, zeros(b))


@pytest.mark.parametrize("diagonal", [(-1.0, -2.0), (1.0, -2.0)])
def test_an_indefinite_operator_is_told_from_a_slow_one(diagonal):
    b = torch.tensor([1.0, 1.0])
    result = conjugate_gradient(lambda x: torch.tensor(diagonal) * x, b, zeros(b))
    assert result.stopped == INDEFINITE
    assert torch.isfinite(result.solution).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1.0, 0.01])
def test_going_on_after_convergence_is_no_breakdown(dtype, scale):
    for seed in range(20):
        b, matrix = noise(6, seed=seed, dtype=dtype), scale * positive_definite(6, seed)
        result = conjugate_gradient(action(matrix), b, zeros(b), iterations=300)
        assert result.stopped in (CONVERGED, USED_UP)
        truth = torch.linalg.solve(matrix, b.double())
        assert relative_error(result.solution.double(), truth) < 1e-4


@given(shape=SHAPES, seed=SEEDS)
def test_the_arguments_are_not_changed(shape, seed):
    b, x0 = noise(*shape, seed=seed), noise(*shape, seed=seed + 1)
    copies = b.clone(), x0.clone()
    conjugate_gradient(lambda x: x, b, x0, iterations=3)
    assert torch.equal(b, copies[0])
    assert torch.equal(x0, copies[1])


def test_a_start_at_the_solution_takes_no_step():
    x0 = torch.tensor([3.0, -2.0, 5.0])
    diagonal = torch.tensor([1.0, 2.0, 4.0])
    result = conjugate_gradient(lambda x: diagonal * x, diagonal * x0, x0)
    assert (result.iterations, result.stopped, result.residuals) == (0, CONVERGED, (0.0,))
    assert torch.equal(result.solution, x0)


def test_nothing_on_the_right_takes_no_step_from_nothing():
    b = torch.zeros(4)
    result = conjugate_gradient(lambda x: 2 * x, b, b)
    assert (result.iterations, result.stopped, result.residuals) == (0, CONVERGED, (0.0,))


def test_nothing_on_the_right_leads_to_nothing_with_absolute_residuals():
    matrix, x0 = positive_definite(5, 0), noise(5)
    result = conjugate_gradient(action(matrix), zeros(x0), x0, iterations=5)
    assert result.residuals[0] == pytest.approx((matrix @ x0).norm().item())
    assert result.solution.norm() < 1e-10


def test_the_inner_product_adds_up_frames_in_double_precision():
    values = torch.tensor([[1e8], [1.0], [-1e8]])
    assert dot(values, torch.ones(3, 1)) == 1.0
