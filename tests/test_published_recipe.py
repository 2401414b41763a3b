"""The paper's method as its public code runs it, beside the same recipe with exact adjoints."""

from collections import Counter
from contextlib import nullcontext

import pytest
import torch
from attrs import evolve, field, frozen
from dense import generator, noise
from peers.case import Case
from peers.published import (
    OneEarlier,
    PublishedCG,
    PublishedInversion,
    PublishedOperator,
    PublishedPrior,
    default,
    paper,
    paper_exact,
)

from visionxl import BatchConsistentInversion, GaussianPrior, InverseProblem, PlainCG
from visionxl.metrics import psnr
from visionxl.operators import TASKS, TemporalAverage, check_adjoint, lift, task_named
from visionxl.protocols import NoiseLevel
from visionxl.solvers import Around, FrameByFrame, leading_times
from visionxl.solvers.residual import data_residual

LEVEL = NoiseLevel(time=0.1, signal=0.8, noise=0.6)
SHAPE = (25, 1, 8, 8)  # more frames than CG takes steps: it has not converged after 10
PRIOR = GaussianPrior.natural(24, 24, std=0.4, exponent=3.0)  # smooth pictures
METHODS = [paper, paper_exact, default]


def operator_of(task):
    frames, _, height, width = SHAPE
    return task_named(task)(frames, height, width, generator())


def panning(frames):
    """A smooth picture, in [-0.9, 0.9], that moves a pixel per frame."""
    picture = PRIOR.sample(1, 1, generator())
    picture *= 0.9 / picture.abs().max()
    return torch.cat([picture.roll(t, -1) for t in range(frames)])


@frozen(eq=False)
class Recording(FrameByFrame):
    """A prior that notes the time of every frame that is denoised."""

    times: list[float] = field(factory=list, init=False)

    def denoise(self, latent, level):
        self.times.extend([level.time] * len(latent))
        return super().denoise(latent, level)


class Negative:
    """The identity with a wrong adjoint: ``A' A`` is minus the identity."""

    def forward(self, video):
        return video

    def adjoint(self, measurement):
        return -measurement


# The adjoints


@pytest.mark.parametrize("task", TASKS)
def test_the_published_adjoint_is_wrong_for_blurs_and_poolings_alone(task):
    exact = operator_of(task)
    assert check_adjoint(exact, SHAPE) < 1e-14
    found = check_adjoint(PublishedOperator(exact), SHAPE)
    wrong = task.rstrip("+") in ("deblur", "sr4")
    assert found > 1e-3 if wrong else found < 1e-14


@pytest.mark.parametrize("task", ["sr4", "sr4+"])
def test_the_published_adjoint_of_a_pooling_is_16_times_the_adjoint(task):
    exact = operator_of(task)
    measurement = exact.forward(noise(*SHAPE))
    found = PublishedOperator(exact).adjoint(measurement)
    torch.testing.assert_close(found, 16 * exact.adjoint(measurement))


def test_the_published_adjoint_of_a_blurred_average_is_the_average():
    measurement = noise(*SHAPE)
    found = PublishedOperator(operator_of("deblur+")).adjoint(measurement)
    torch.testing.assert_close(found, TemporalAverage(7).adjoint(measurement))


@pytest.mark.parametrize("task", TASKS)
def test_the_published_adjoint_does_not_change_the_lifted_measurement(task):
    exact = operator_of(task)
    measurement = exact.forward(noise(*SHAPE))
    assert torch.equal(lift(PublishedOperator(exact), measurement), lift(exact, measurement))


# Conjugate gradients


def corrected(consistency, operator, task, seed):
    truth, estimate = noise(*SHAPE, seed=seed), noise(*SHAPE, seed=seed + 1)
    problem = InverseProblem(operator, operator_of(task).forward(truth))
    return estimate, consistency.correct(estimate, problem, LEVEL)


@pytest.mark.parametrize("task", ["temporal", "inpaint+", "sr4+"])
@pytest.mark.parametrize("iterations", [1, 5, 10])
def test_cg_with_a_right_or_a_scaled_adjoint_is_plain_cg(task, iterations):
    exact = operator_of(task)
    _, found = corrected(PublishedCG(iterations), PublishedOperator(exact), task, seed=3)
    estimate, expected = corrected(PlainCG(iterations), exact, task, seed=3)
    assert found.iterations == iterations
    assert (expected.video - estimate).norm() > 1
    torch.testing.assert_close(found.video, expected.video, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("task", ["sr4", "inpaint"])
def test_cg_stops_where_the_first_step_solves_it(task):
    exact = operator_of(task)
    _, found = corrected(PublishedCG(), PublishedOperator(exact), task, seed=5)
    _, expected = corrected(PlainCG(), exact, task, seed=5)
    assert found.iterations == 1
    torch.testing.assert_close(found.video, expected.video)


def test_cg_of_a_solved_problem_returns_the_estimate():
    zero = torch.zeros(SHAPE)
    problem = InverseProblem(PublishedOperator(operator_of("deblur")), zero)
    found = PublishedCG().correct(zero, problem, LEVEL)
    assert torch.equal(found.video, zero)


def test_cg_goes_on_where_a_curvature_is_negative_and_plain_cg_does_not():
    estimate, measurement = noise(*SHAPE, seed=1), noise(*SHAPE, seed=2)
    problem = InverseProblem(Negative(), measurement)
    plain = PlainCG().correct(estimate, problem, LEVEL)
    assert plain.stopped.startswith("breakdown")
    assert torch.equal(plain.video, estimate)
    found = PublishedCG().correct(estimate, problem, LEVEL)
    torch.testing.assert_close(found.video, measurement)


# The start


def test_the_inversion_is_that_of_the_library_for_a_denoiser_that_is_told_no_time():
    problem = Case.make(panning(9), "sr4+", 0.01, 0).problem
    schedule = OneEarlier(PRIOR.schedule)
    levels = [schedule.level(time) for time in leading_times()]
    found, expected = (
        start.start(problem, PRIOR, levels, generator())
        for start in (PublishedInversion(), BatchConsistentInversion())
    )
    torch.testing.assert_close(found, expected)


def test_the_schedule_tells_the_time_with_the_level_of_the_one_before():
    level = OneEarlier(PRIOR.schedule).level(0.281)
    assert level.time == 0.281
    assert evolve(level, time=0.280) == PRIOR.schedule.level(0.280)


# The methods


def test_every_step_of_the_paper_evaluates_the_denoiser_twice():
    case, frames = Case.make(panning(8), "inpaint+", 0.01, 0), 8
    told, estimates = {}, {}
    for method in METHODS:
        prior = Recording(PRIOR, frames)
        estimates[method] = method(case, prior)
        told[method] = Counter(prior.times)
    times = leading_times()
    inverted = Counter(times[1:])  # from the lowest up to the first, of one frame
    steps = Counter(dict.fromkeys(times, frames))
    assert told[paper_exact] == steps + inverted
    late = leading_times(start=0.15)  # the default inverts every frame at once
    assert told[default] == Counter(dict.fromkeys(late, frames)) + Counter({late[0]: frames})
    twice = steps + Counter(times)
    assert told[paper] == twice + twice
    assert [estimates[method].evaluations for method in METHODS] == [32, 15, 5]


def test_both_prompts_are_evaluated_in_one_call():
    sizes = []

    def noted(stage, frames):
        sizes.append((stage, frames))
        return nullcontext()

    latent, level = noise(7, 3, 24, 24), PRIOR.schedule.level(0.2)
    found = PublishedPrior.of(Around(PRIOR, noted), 3).denoise(latent, level)
    assert sizes == [("denoise", 6), ("denoise", 6), ("denoise", 2)]
    expected = PRIOR.denoise(latent, level)
    torch.testing.assert_close(found.clean, expected.clean)
    torch.testing.assert_close(found.noise, expected.noise)


def test_the_paper_returns_an_estimate_from_before_its_conjugate_gradients():
    case = Case.make(panning(4), "inpaint", 0.0, 0)
    before, after = (method(case, PRIOR).video for method in (paper, paper_exact))
    assert data_residual(case.problem, after) < 1e-7
    assert data_residual(case.problem, before) > 1e-3
    assert psnr(before, after) > 30  # of the same recipe


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_gives_the_same_answer(method):
    case = Case.make(panning(4), "sr4", 0.01, 0)
    other = evolve(case, seed=1)  # the same measurement, another chance
    first, again, another = (method(c, PRIOR).video for c in (case, case, other))
    assert torch.equal(first, again)
    assert not torch.equal(first, another)


def test_without_the_blur_in_the_adjoint_noise_is_disastrous():
    gain = {}
    for noise_std in (0.0, 0.05):
        case = Case.make(panning(9), "deblur+", noise_std, 0)
        lifted = psnr(lift(case.problem.operator, case.problem.measurement), case.truth)
        for method in (paper, paper_exact):
            gain[method, noise_std] = psnr(method(case, PRIOR).video, case.truth) - lifted
    assert gain[paper, 0.0] > 2
    assert gain[paper_exact, 0.0] > 1
    assert gain[paper, 0.05] < -8
    assert gain[paper, 0.05] < gain[paper_exact, 0.05] - 8


def test_an_answer_that_is_not_finite_is_told():
    case = Case.make(panning(2).float(), "deblur", 0.0, 0)
    huge = evolve(case.problem, measurement=1e30 * case.problem.measurement)
    estimate = paper(evolve(case, problem=huge), PRIOR)
    assert estimate.note == "diverged"
    assert torch.isfinite(estimate.video).all()
    assert estimate.video.shape == case.truth.shape
    assert paper(case, PRIOR).note == ""
