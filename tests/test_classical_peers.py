"""The classical rows of the quality benchmark: against dense linear algebra, another minimiser,
and an exhaustive search."""

import math
from functools import lru_cache

import peers.oracle
import pytest
import torch
from dense import dense, generator, gradient, noise, relative_error
from peers.case import Case
from peers.classical import (
    back_projection,
    cg,
    cg_iterates,
    gram,
    minimise_roughness,
    tikhonov,
    tv,
)
from peers.oracle import at_best_weight, best_weight, lowest_place, tiles
from peers.variation import minimise_variation, roughness

from visionxl import InputError, InverseProblem
from visionxl.metrics import psnr
from visionxl.operators import (
    TASKS,
    AveragePool,
    GaussianBlur,
    Grayscale,
    Identity,
    Mask,
    Stack,
    TemporalAverage,
    TemporalSubsample,
    lift,
    normal,
)
from visionxl.solvers import conjugate_gradient

SHAPE = (4, 3, 6, 8)
OPERATORS = {
    "identity": Identity(),
    "blur": GaussianBlur(0.8, "reflect") @ TemporalAverage(3),
    "pool": AveragePool(2) @ TemporalAverage(3),
    "mask": Mask.random(0.5, *SHAPE[2:], generator()) @ TemporalAverage(3),
    "frames": TemporalSubsample(2),
    "grey": GaussianBlur(0.8, "zero") @ Grayscale(),
}
operators = pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS)
PRIOR = None  # the rows leave it alone


def picture(frames=5, height=24, width=32, dtype=torch.float32):
    """Moving discs on a slope, with a little texture: (frames, 3, height, width) in [-1, 1]."""
    rows = torch.arange(height, dtype=torch.float64)[:, None] / height
    columns = torch.arange(width, dtype=torch.float64) / width
    clip = torch.empty(frames, 3, height, width, dtype=torch.float64)
    for t in range(frames):
        disc = (rows - 0.5) ** 2 + (columns - 0.3 - 0.08 * t) ** 2 < 0.04
        for channel in range(3):
            clip[t, channel] = 0.4 * rows - 0.3 * columns + (0.5 - 0.4 * channel) * disc
    return (clip + 0.05 * noise(*clip.shape[1:])).clamp(-1, 1).to(dtype)


def measured(operator, noise_std=0.05, shape=SHAPE):
    """A float64 problem, from a video of smooth values."""
    video = picture(shape[0], *shape[2:], dtype=torch.float64)
    y = operator.forward(video)
    return InverseProblem(operator, y + noise_std * noise(*y.shape), noise_std)


def objective(problem, weight, video):
    residual = problem.operator.forward(video) - problem.measurement
    norms = gradient(video).square().sum((1, 2)).sqrt()
    return (0.5 * residual.square().sum() + weight * norms.sum()).item()


@pytest.mark.parametrize("shape", [SHAPE, (1, 1, 5, 3), (3, 2, 1, 4), (2, 1, 4, 1)])
def test_the_roughness_is_the_gradient_of_half_the_square_of_the_differences(shape):
    x = noise(*shape).requires_grad_()
    (gradient(x).square().sum() / 2).backward()
    torch.testing.assert_close(roughness(x.detach()), x.grad)


def test_an_operator_without_factors_is_told():
    problem = measured(Stack((Identity(), Identity()), SHAPE))
    for solve in (minimise_variation, minimise_roughness):
        with pytest.raises(InputError, match="no factors"):
            solve(problem, 0.1)


@lru_cache
def matrix(name):
    """The dense matrix of an operator, or of ``D``."""
    return dense(gradient if name == "differences" else OPERATORS[name].forward, SHAPE)


def by_smoothing(problem, a, weight):
    """The minimiser of total variation with ever less smoothed norms, by L-BFGS."""
    video = lift(problem.operator, problem.measurement).clone().requires_grad_()
    for smoothing in (1e-1, 1e-2, 1e-3, 1e-4):
        optimiser = torch.optim.LBFGS(
            [video],
            max_iter=150,
            history_size=30,
            tolerance_grad=1e-12,
            tolerance_change=1e-13,
            line_search_fn="strong_wolfe",
        )

        def closure(smoothing=smoothing, optimiser=optimiser):
            optimiser.zero_grad()
            residual = a @ video.flatten() - problem.measurement.flatten()
            norms = (gradient(video).square().sum((1, 2)) + smoothing**2).sqrt()
            value = 0.5 * residual.square().sum() + weight * norms.sum()
            value.backward()
            return value

        optimiser.step(closure)
    return video.detach()


@pytest.mark.parametrize(
    ("name", "weight"),
    [("identity", 0.1), ("blur", 0.1), ("pool", 0.03), ("mask", 0.03)],
)
def test_total_variation_agrees_with_another_minimiser(name, weight):
    problem = measured(OPERATORS[name])
    reference = by_smoothing(problem, matrix(name), weight)
    found = minimise_variation(problem, weight, iterations=2000, tolerance=1e-7).video
    least, value = (objective(problem, weight, v) for v in (reference, found))
    assert value <= least * (1 + 1e-6)
    assert value == pytest.approx(least, rel=1e-4)
    assert (found - reference).abs().mean() < 5e-4


@pytest.mark.parametrize("task", ["deblur+", "sr4+", "inpaint"])
@pytest.mark.parametrize("weight", [1e-8, 1e-3, 3e-2])
def test_total_variation_has_converged_where_it_stops(task, weight):
    case = Case.make(picture(), task, 0.02, 0)
    short = minimise_variation(case.problem, weight).video
    long = minimise_variation(case.problem, weight, iterations=600, tolerance=0.0).video
    assert psnr(short, case.truth) == pytest.approx(psnr(long, case.truth), abs=0.02)


def test_total_variation_starts_from_another_weights_solution():
    case = Case.make(picture(), "sr4+", 0.02, 0)
    near = minimise_variation(case.problem, 1e-2, iterations=200, tolerance=1e-5)
    video, dual = near.video.clone(), near.dual.clone()
    exact = minimise_variation(case.problem, 5e-3, iterations=400, tolerance=1e-6).video
    warm, cold = (
        minimise_variation(case.problem, 5e-3, start, iterations=12, tolerance=0.0).video
        for start in (near, None)
    )
    assert relative_error(warm, exact) < 0.5 * relative_error(cold, exact)
    assert torch.equal(near.video, video)
    assert torch.equal(near.dual, dual)


def test_a_huge_weight_leaves_the_mean():
    problem = measured(Identity())
    video = minimise_variation(problem, 10.0, iterations=2000, tolerance=1e-9).video
    mean = problem.measurement.mean((0, 2, 3), keepdim=True).expand_as(video)
    torch.testing.assert_close(video, mean, atol=1e-4, rtol=0)


@operators
def test_no_weight_fits_the_data(operator):
    problem = measured(operator)
    video = minimise_variation(problem, 0.0, iterations=100, tolerance=0.0).video
    residual = operator.adjoint(operator.forward(video) - problem.measurement)
    assert residual.abs().max() < 1e-5


@pytest.mark.parametrize("name", ["identity", "blur", "pool", "mask", "frames"])
@pytest.mark.parametrize("weight", [1e-6, 1e-2, 1.0])
def test_tikhonov_agrees_with_a_dense_solve(name, weight):
    problem = measured(OPERATORS[name])
    A, D = matrix(name), matrix("differences")
    right = A.T @ problem.measurement.flatten()
    truth = torch.linalg.solve(A.T @ A + weight * D.T @ D, right).view(SHAPE)
    exact = minimise_roughness(problem, weight, tolerance=1e-10).video
    assert relative_error(exact, truth) < 1e-6
    assert relative_error(minimise_roughness(problem, weight).video, truth) < 2e-3


def test_tikhonov_holds_in_float32_for_tiny_weights():
    case = Case.make(picture(), "deblur+", 0.0, 0)
    problem = case.problem
    double = InverseProblem(problem.operator, problem.measurement.double())
    for weight in (1e-9, 1e-7):  # less would weigh modes that float32 does not have
        single = minimise_roughness(problem, weight).video
        exact = minimise_roughness(double, weight, tolerance=1e-8).video
        assert relative_error(single.double(), exact) < 3e-3


@operators
def test_cg_iterates_are_those_of_the_library(operator):
    problem = measured(operator)
    right = operator.adjoint(problem.measurement)
    start = noise(*SHAPE)
    iterates = cg_iterates(gram(problem, start), right, start)
    for k, iterate in zip(range(1, 5), iterates, strict=False):
        expected = conjugate_gradient(lambda x: normal(operator, x), right, start, iterations=k)
        torch.testing.assert_close(iterate, expected.solution)


@pytest.mark.parametrize("task", ["sr4+", "temporal"])
def test_cg_is_the_best_of_its_iterates(task):
    case = Case.make(picture(), task, 0.05, 0)
    problem = case.problem
    start = lift(problem.operator, problem.measurement)
    right = problem.operator.adjoint(problem.measurement)
    values = [
        psnr(
            conjugate_gradient(
                lambda x: normal(problem.operator, x), right, start, iterations=k
            ).solution,
            case.truth,
        )
        for k in range(1, 41)
    ]
    answer = cg(case, PRIOR)
    assert psnr(answer.video, case.truth) == pytest.approx(max(values), abs=2e-3)
    assert values[int(answer.note.split()[1]) - 1] == pytest.approx(max(values), abs=2e-3)


@pytest.mark.parametrize("row", [tikhonov, tv])
@pytest.mark.parametrize(
    ("task", "noise_std"), [("deblur+", 0.01), ("inpaint+", 0.1), ("inpaint+", 0.0), ("sr4+", 0.0)]
)
def test_the_oracle_finds_the_best_weight(row, task, noise_std):
    case = Case.make(picture(), task, noise_std, 0)
    solve = minimise_roughness if row is tikhonov else minimise_variation
    exponents = range(1, -25, -1) if noise_std else range(-20, -75, -5)
    weights = [10 ** (k / 5) for k in exponents]
    values = {w: psnr(solve(case.problem, w, None).video, case.truth) for w in weights}
    best = max(values, key=values.get)
    answer = row(case, PRIOR)
    chosen = float(answer.note.removeprefix("weight "))
    near = abs(math.log(chosen / best)) < math.log(1.5)
    assert near or psnr(answer.video, case.truth) > values[best] - 0.02


@pytest.mark.parametrize("lowest", [-7.3, -2.0, 0.0, 0.4, 1.5, 6.2])
@pytest.mark.parametrize("steep", [0.05, 1.0])
def test_the_search_finds_the_lowest_place(lowest, steep):
    asked = []

    def error(place):
        asked.append(place)
        return 1 + steep * (place - lowest) ** 2

    assert lowest_place(error, -30, 30) == pytest.approx(lowest, abs=1e-9)
    assert len(asked) == len(set(asked)) <= 5 + abs(lowest) / 2


def test_the_search_ends_at_its_limits_and_on_a_plain():
    assert lowest_place(lambda place: 30.0 + place, -8, 8) == -8
    assert lowest_place(lambda place: 30.0 - place, -7, 7) == pytest.approx(7, abs=1)
    assert abs(lowest_place(lambda place: 1.0, -8, 8)) <= 2


def test_a_large_clip_is_searched_on_four_tiles(monkeypatch):
    monkeypatch.setattr(peers.oracle, "WHOLE", 64 * 128)
    truth = noise(2, 3, 64, 128).clamp(-1, 1).float()
    case = Case.make(truth, "inpaint", 0.1, 3)
    assert tiles(Case.make(truth[..., :-4], "inpaint", 0.1, 3))[0].truth.shape == (2, 3, 64, 124)
    found = tiles(case)
    corners = [(8, 16), (8, 80), (40, 16), (40, 80)]
    for tile, (top, left) in zip(found, corners, strict=True):
        assert torch.equal(tile.truth, truth[..., top : top + 16, left : left + 32])
        assert (tile.task, tile.noise, tile.seed) == ("inpaint", 0.1, 3)
    asked = []

    def solve(problem, weight, start):
        asked.append((tuple(problem.measurement.shape), weight))
        return minimise_roughness(problem, weight, start)

    answer = at_best_weight(case, solve, 0.1)
    assert {shape for shape, _ in asked[:-1]} == {(2, 3, 16, 32)}
    assert asked[-1] == ((2, 3, 64, 128), answer.weight)
    assert answer.weight == best_weight(found, minimise_roughness, 0.1)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("row", [back_projection, cg, tikhonov, tv])
def test_every_row_answers_every_task(row, task):
    truth = picture(frames=8, height=16, width=24)
    case = Case.make(truth, task, 0.05, 1)
    before = case.problem.measurement.clone()
    answer = row(case, PRIOR)
    assert answer.video.shape == truth.shape
    assert answer.video.dtype == truth.dtype
    assert torch.isfinite(answer.video).all()
    assert answer.evaluations == 0
    assert torch.equal(case.problem.measurement, before)
    start = psnr(lift(case.problem.operator, before), truth)
    assert psnr(answer.video, truth) >= start - 1e-6 or row is cg
