"""Consistency elsewhere, and by windows of frames."""

import torch
from dense import generator

from visionxl import ClosedForm, GaussianPrior, InverseProblem, NoiseAware, simulate
from visionxl.operators import GaussianBlur
from visionxl.protocols import Correction
from visionxl.solvers import ByWindow, SpaceTimeTV

PRIOR = GaussianPrior.natural(16, 16)
TRUTH = PRIOR.sample(5, 3, generator())
LEVEL = PRIOR.schedule.level(0.2)
BLUR = GaussianBlur(2.0)


def problem_of(operator):
    return simulate(TRUTH, operator, 0.05, generator=generator(1))


class Noting:
    """A consistency that notes where it was asked to compute, and answers there."""

    def __init__(self):
        self.devices = []

    def correct(self, estimate, problem, level):
        self.devices += [estimate.device.type, problem.measurement.device.type]
        return Correction(estimate, 3, (1.0, 0.5), "converged")


def test_the_consistency_computes_on_its_device():
    noting = Noting()
    on_meta = InverseProblem(BLUR, TRUTH.to("meta"), 0.05)
    found = ByWindow(noting, "meta").correct(TRUTH.to("meta"), on_meta, LEVEL)
    assert noting.devices == ["meta", "meta"]
    assert (found.iterations, found.residuals, found.stopped) == (3, (1.0, 0.5), "converged")


def test_the_video_comes_back_to_where_it_was():
    problem = problem_of(BLUR)
    expected = ClosedForm().correct(TRUTH, problem, LEVEL).video
    found = ByWindow(ClosedForm(), "cpu").correct(TRUTH, problem, LEVEL).video
    assert torch.equal(found, expected)
    assert found.device == TRUTH.device


def test_what_a_consistency_says_of_itself_is_passed_on():
    assert SpaceTimeTV().fits_noise
    assert ByWindow(SpaceTimeTV(), "cpu").fits_noise
    assert not ByWindow(NoiseAware(), "cpu").fits_noise


class BreaksInTheMiddle:
    """A consistency that breaks down at once in the windows with frame 2."""

    def correct(self, estimate, problem, level):
        if bool((estimate == 2).any()):
            return Correction(estimate, 0, (), "breakdown: on purpose")
        return Correction(estimate, 5, (), "converged")


def test_a_breakdown_in_one_window_is_told():
    numbers = torch.arange(5.0).view(-1, 1, 1, 1).expand(5, 3, 8, 8)
    by_window = ByWindow(BreaksInTheMiddle(), "cpu", core=1, context=0)
    found = by_window.correct(numbers, InverseProblem(BLUR, numbers, 0.05), LEVEL)
    assert torch.equal(found.video, numbers)
    assert found.stopped == "breakdown: on purpose"


class Elsewhere(Noting):
    """A consistency that answers in host memory, wherever it was asked."""

    def correct(self, estimate, problem, level):
        super().correct(estimate, problem, level)
        return Correction(TRUTH, 0, (), "")


def test_what_lies_elsewhere_is_moved_to_the_device_and_back():
    noting, there = Elsewhere(), TRUTH.to("meta")
    ByWindow(noting, "meta").correct(TRUTH, InverseProblem(BLUR, TRUTH, 0.05), LEVEL)
    assert noting.devices == ["meta", "meta"]
    found = ByWindow(noting, "meta").correct(there, InverseProblem(BLUR, there, 0.05), LEVEL)
    assert found.video.device.type == "meta"
