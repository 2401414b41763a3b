"""Total variation in space and time, against known videos, dense algebra and another minimiser."""

import math
from functools import cache
from itertools import pairwise

import pytest
import torch
from attrs import evolve
from command_line import moving_scene
from dense import dense, generator, gradient, modes_of, noise, solve_damped, total_variation

from visionxl import simulate
from visionxl.operators import GaussianBlur, Grayscale, Mask, TemporalAverage
from visionxl.solvers.directions import Directions
from visionxl.solvers.motion import Motion
from visionxl.solvers.total_variation import (
    Variation,
    add_adjoint,
    add_carried,
    minimise,
)

# Differences


@pytest.mark.parametrize("shape", [(3, 2, 4, 5), (1, 3, 3, 4), (4, 1, 1, 6), (2, 1, 3, 1)])
def test_add_adjoint_adds_the_adjoint_of_the_differences(shape):
    video, q = noise(*shape), gradient(noise(*shape, seed=1))
    adjoint = video.clone()
    for t, frame in enumerate(adjoint):
        add_adjoint(frame, q[t], 0.7)
    add_carried(adjoint, q, None, 0.7)
    adjoint = (adjoint - video) / 0.7
    left, right = (gradient(video) * q).sum(), (video * adjoint).sum()
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
    rough = noise(4, 3, 4, 8)
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
WEIGHTS = {False: 0.03, True: 0.006}  # directed or not
DAMPING = 0.2
MOTION = Motion.along(0.7 * noise(2, 2, 4, 5, seed=7))
DIRECTIONS = Directions.of(ESTIMATE, 0.1, 1.0, MOTION)
directed_or_not = pytest.mark.parametrize("directed", [False, True], ids=["plain", "directed"])


@cache
def measurement_of(name):
    return simulate(TRUTH, PROBLEMS[name], 0.1, generator=generator(3)).measurement


def minimised(name, directed=False, weight=None, damping=DAMPING, **options):
    """With so many iterations that more change nothing."""
    modes, y = modes_of(PROBLEMS[name], ESTIMATE), measurement_of(name)
    weight = WEIGHTS[directed] if weight is None else weight
    options = {
        "directions": DIRECTIONS if directed else None,
        "iterations": 1000,
        "tolerance": 1e-9,
    } | options
    variation = Variation(weight, options.pop("directions"), options.pop("bend", 0.0))
    return minimise(modes, y, ESTIMATE, variation, damping=damping, **options)


@cache
def minimiser(name, directed=False, weight=None, damping=DAMPING):
    return minimised(name, directed, weight, damping)


@cache
def matrix_of(name):
    return dense(PROBLEMS[name].forward, SMALL)


@cache
def turning():
    """``T`` at every pixel: (frames, 3, 3, height, width)."""
    time, hh, hw, ww = DIRECTIONS.planes.unbind(1)
    none = torch.zeros_like(time)
    rows = ((time, none, none), (none, hh, hw), (none, hw, ww))
    return torch.stack([torch.stack(row, 1) for row in rows], 1)


def objective(name, video, directed, damping=DAMPING, smoothing=0.0, bend=0.0):
    residual = matrix_of(name) @ video.flatten() - measurement_of(name).flatten()
    steps = gradient(video)
    if directed:
        moved = torch.stack([MOTION.ahead(t, video[t + 1]) - video[t] for t in range(2)])
        followed = torch.cat([moved * MOTION.seen.unsqueeze(1), 0 * video[:1]])
        steps = torch.cat([followed.unsqueeze(1), steps[:, 1:]], 1)
        steps = torch.einsum("tijhw,tjchw->tichw", turning(), steps)
    norms = steps.square().sum((1, 2)).add(smoothing**2).sqrt()
    if bend > 0:
        norms = torch.where(norms < bend, norms.square() / (2 * bend), norms - bend / 2)
    variation = norms.sum()
    away = (video - ESTIMATE).square().sum()
    return residual.square().sum() / 2 + damping / 2 * away + WEIGHTS[directed] * variation


def damped_least_squares(name):
    return solve_damped(matrix_of(name), measurement_of(name), ESTIMATE, DAMPING)


@directed_or_not
@pytest.mark.parametrize("name", PROBLEMS)
def test_without_weight_it_is_damped_least_squares(name, directed):
    found = minimiser(name, directed, weight=0.0).video
    torch.testing.assert_close(found, damped_least_squares(name), rtol=0, atol=1e-7)


@directed_or_not
@pytest.mark.parametrize("name", PROBLEMS)
def test_the_objective_is_least_at_the_minimiser(name, directed):
    found = minimiser(name, directed).video
    least = objective(name, found, directed).item()
    assert least < 0.9 * objective(name, ESTIMATE, directed).item()
    assert least < 0.99 * objective(name, damped_least_squares(name), directed).item()
    for seed in range(10):
        for size in (1e-1, 1e-2, 1e-3):
            other = found + size * noise(*SMALL, seed=seed)
            assert least < objective(name, other, directed).item()


SMOOTHING = 1e-4
BENDS = {False: 0.2, True: 1.0}


def smoothly_minimised(name, directed, damping, least=SMOOTHING, bend=0.0):
    """The minimiser with ever less smoothed norms, by a quasi-Newton method."""
    video = ESTIMATE.clone().requires_grad_()
    for smoothing in (1e-1, 1e-2, 1e-3, least):
        solver = torch.optim.LBFGS(
            [video], max_iter=400, tolerance_grad=1e-10, tolerance_change=0, history_size=50,
            line_search_fn="strong_wolfe",
        )  # fmt: skip

        def closure(solver=solver, smoothing=smoothing):
            solver.zero_grad()
            value = objective(name, video, directed, damping, smoothing, bend)
            value.backward()
            return value

        solver.step(closure)
    return video.detach()


@directed_or_not
@pytest.mark.parametrize(
    ("name", "damping"), [*((name, DAMPING) for name in PROBLEMS), ("mask", 0.0)]
)
def test_it_agrees_with_a_smoothed_objective_and_a_quasi_newton_method(name, directed, damping):
    found = minimiser(name, directed, damping=damping).video
    reference = smoothly_minimised(name, directed, damping)
    # Smoothing by s adds at most s per pixel, and the objective is strongly convex by the damping.
    slack = 1.1 * WEIGHTS[directed] * SMOOTHING * SMALL[0] * SMALL[2] * SMALL[3]
    least, theirs = (objective(name, v, directed, damping).item() for v in (found, reference))
    assert theirs - slack < least < theirs + 2e-6
    if damping > 0:
        assert (found - reference).norm() < math.sqrt(2 * slack / damping)


@directed_or_not
@pytest.mark.parametrize("name", PROBLEMS)
def test_bent_it_agrees_with_a_quasi_newton_method(name, directed):
    found = minimised(name, directed, bend=BENDS[directed])
    reference = smoothly_minimised(name, directed, DAMPING, least=1e-7, bend=BENDS[directed])
    torch.testing.assert_close(found.video, reference, rtol=0, atol=1e-5)
    lengths = found.dual.square().sum((1, 2)).sqrt()  # the slope of the penalty, in both its parts
    assert (lengths < 0.9 * WEIGHTS[directed]).any()
    assert lengths.max() == pytest.approx(WEIGHTS[directed], rel=1e-6)
    straight = minimiser(name, directed).video
    assert (found.video - straight).abs().max() > 1e-3


@pytest.mark.parametrize("name", PROBLEMS)
def test_bent_beyond_every_difference_the_penalty_is_their_square(name):
    weight, bend = 30.0, 1000.0
    found = minimised(name, weight=weight, bend=bend, iterations=3000).video
    A, D = matrix_of(name), dense(gradient, SMALL)
    normal = A.T @ A + DAMPING * torch.eye(A.shape[1]) + weight / bend * D.T @ D
    right = A.T @ measurement_of(name).flatten() + DAMPING * ESTIMATE.flatten()
    expected = torch.linalg.solve(normal, right).view(SMALL)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", PROBLEMS)
def test_directions_all_alike_are_a_weight(name):
    alike = 4.0 * torch.tensor([1.0, 1, 0, 1]).double().view(1, 4, 1, 1)
    directions = evolve(
        DIRECTIONS,
        motion=None,
        planes=alike.expand(3, -1, 4, 5),
        least=torch.full_like(DIRECTIONS.least, 1 / 16),
    )
    found = minimised(name, directions=directions, weight=0.005).video
    expected = minimised(name, weight=0.02).video
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    other = minimised(name, weight=0.005).video
    assert (found - other).abs().max() > 0.01


@directed_or_not
def test_more_damping_lies_nearer_to_the_estimate_and_more_weight_varies_less(directed):
    name = "mask"
    found = [minimiser(name, directed, damping=d).video for d in (DAMPING, 1.0, 100.0)]
    damped = [(video - ESTIMATE).norm() for video in found]
    assert all(a > b for a, b in pairwise(damped))
    assert damped[-1] < 0.05 * damped[0]
    weights = (0.0, WEIGHTS[directed] / 3, WEIGHTS[directed])
    varied = [total_variation(minimiser(name, directed, weight=w).video) for w in weights]
    assert all(a > b for a, b in pairwise(varied))


def test_a_huge_weight_leaves_one_colour_the_mean_of_measurement_and_estimate():
    name = "blur in time and space"  # it keeps constants
    found = minimiser(name, weight=1e3).video
    sums = measurement_of(name) + DAMPING * ESTIMATE
    colour = sums.mean(dim=(0, 2, 3), keepdim=True) / (1 + DAMPING)
    kept = PROBLEMS[name].forward(torch.ones_like(ESTIMATE))
    torch.testing.assert_close(kept, torch.ones_like(kept))
    torch.testing.assert_close(found, colour.expand(SMALL), rtol=0, atol=2e-3)


@directed_or_not
@pytest.mark.parametrize("name", PROBLEMS)
def test_it_is_the_same_from_wherever_it_starts(name, directed):
    expected, before = minimiser(name, directed).video, ESTIMATE.clone()
    start = noise(*SMALL, seed=8)
    kept = start.clone()
    found = minimised(name, directed, start=start).video
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert torch.equal(start, kept)
    other = minimised(name, directed, weight=0.1, iterations=50)
    dual = other.dual.clone()
    warm = minimised(name, directed, start=other.video, dual=other.dual)
    torch.testing.assert_close(warm.video, expected, rtol=0, atol=1e-5)
    assert torch.equal(other.dual, dual)
    assert torch.equal(before, ESTIMATE)


@directed_or_not
def test_the_dual_of_the_solution_is_within_the_weight(directed):
    largest = minimiser("mask", directed).dual.square().sum((1, 2)).sqrt().max()
    assert largest == pytest.approx(WEIGHTS[directed], rel=1e-6)  # where something changes


@directed_or_not
def test_it_stops_at_the_tolerance_or_the_number_of_iterations(directed):
    assert minimised("mask", directed, iterations=7).iterations == 7
    few, many = (minimised("mask", directed, tolerance=t).iterations for t in (1e-2, 1e-5))
    assert 1 < few < many < 1000


def test_it_goes_on_where_the_first_step_changes_nothing():
    """The data term alone is solved where it starts; what is left to do is the variation's."""
    mask = Mask.random(0.5, 4, 5, generator(2))
    start = noise(*SMALL, seed=8)
    found = minimise(
        modes_of(mask, start), mask.forward(start), start, Variation(0.1), iterations=50
    )
    assert found.iterations > 1
    assert total_variation(found.video) < 0.9 * total_variation(start)


def test_a_video_of_zeros_stays_as_it_is():
    zeros = torch.zeros(*SMALL, dtype=torch.float64)
    blur = PROBLEMS["blur in time and space"]
    found = minimise(
        modes_of(blur, zeros), blur.forward(zeros), zeros, Variation(0.1), damping=DAMPING
    )
    assert torch.equal(found.video, zeros)
