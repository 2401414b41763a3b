"""Consistency elsewhere, and a channel at a time."""

import pytest
import torch
from dense import generator

from visionxl import (
    ClosedForm,
    DampedCG,
    GaussianPrior,
    InputError,
    InverseProblem,
    NoiseAware,
    simulate,
)
from visionxl.counting import peak_bytes_of
from visionxl.operators import AveragePool, Blur, GaussianBlur, Mask, TemporalAverage
from visionxl.protocols import Correction
from visionxl.solvers import ByChannel, OnDevice

PRIOR = GaussianPrior.natural(16, 16)
TRUTH = PRIOR.sample(5, 3, generator())
LEVEL = PRIOR.schedule.level(0.2)
OPERATORS = {
    "blur": GaussianBlur(2.0),
    "blur and average": GaussianBlur(2.0) @ TemporalAverage(3),
    "pooling": AveragePool(4) @ TemporalAverage(3),
    "mask": Mask.random(0.5, 16, 16, generator()) @ TemporalAverage(3),
}


def problem_of(operator):
    return simulate(TRUTH, operator, 0.05, generator=generator(1))


@pytest.mark.parametrize("operator", OPERATORS.values(), ids=list(OPERATORS))
@pytest.mark.parametrize("consistency", [ClosedForm(), NoiseAware(), DampedCG(iterations=200)])
def test_channel_by_channel_the_answer_is_the_same(operator, consistency):
    problem, estimate = problem_of(operator), torch.zeros_like(TRUTH)
    expected = consistency.correct(estimate, problem, LEVEL).video
    found = ByChannel(consistency).correct(estimate, problem, LEVEL).video
    tolerance = 1e-10 if not isinstance(consistency, DampedCG) else 1e-3
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)


def test_channel_by_channel_takes_less_memory():
    truth = torch.zeros(9, 3, 64, 64)
    problem = simulate(truth, OPERATORS["blur and average"], 0.05, generator=generator(1))
    estimate = torch.zeros_like(truth)

    def peak(consistency):
        consistency.correct(estimate, problem, LEVEL)  # decomposes the operator once
        return peak_bytes_of(lambda: consistency.correct(estimate, problem, LEVEL))

    assert peak(ByChannel(ClosedForm())) < 0.75 * peak(ClosedForm())


def test_channel_by_channel_an_operator_without_factors_is_refused():
    problem = problem_of(Blur([[0.2, 0.5, 0.3], [0.0, 0.1, -0.1], [0.0, 0.0, 0.0]]))
    with pytest.raises(InputError, match="ByChannel needs an operator whose factors"):
        ByChannel(DampedCG()).correct(TRUTH, problem, LEVEL)


class Noting:
    """A consistency that notes where it was asked to compute, and answers there."""

    def __init__(self):
        self.devices = []

    def correct(self, estimate, problem, level):
        self.devices += [estimate.device.type, problem.measurement.device.type]
        return Correction(estimate, 3, (1.0, 0.5), "converged")


def test_the_consistency_computes_on_its_device():
    noting = Noting()
    on_meta = InverseProblem(OPERATORS["blur"], TRUTH.to("meta"), 0.05)
    found = OnDevice(noting, "meta").correct(TRUTH.to("meta"), on_meta, LEVEL)
    assert noting.devices == ["meta", "meta"]
    assert (found.iterations, found.residuals, found.stopped) == (3, (1.0, 0.5), "converged")


def test_the_video_comes_back_to_where_it_was():
    problem = problem_of(OPERATORS["blur"])
    expected = ClosedForm().correct(TRUTH, problem, LEVEL).video
    found = OnDevice(ClosedForm(), "cpu").correct(TRUTH, problem, LEVEL).video
    assert torch.equal(found, expected)
    assert found.device == TRUTH.device
