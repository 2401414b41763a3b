"""Several measurements of one video as one problem."""

import pytest
import torch
from dense import generator, noise

from visionxl import GaussianPrior, InputError, InverseProblem, restore, simulate, vision_xl
from visionxl.operators import Clip, GaussianBlur, Stack, TemporalSubsample, stacked

SHAPE = (6, 3, 16, 24)
SHARP, BLURRED = TemporalSubsample(2, frames=6), GaussianBlur(1.5)
PRIOR = GaussianPrior.natural(*SHAPE[2:])


def two_cameras():
    truth = PRIOR.sample(6, 3, generator()).float()
    chance = generator(1)
    sharp = simulate(truth, SHARP, 0.2, generator=chance)
    return truth, sharp, simulate(truth, BLURRED, 0.02, generator=chance)


def test_each_measurement_counts_by_the_inverse_of_its_noise_variance():
    _, sharp, blurred = two_cameras()
    both = stacked([sharp, blurred])
    video = noise(*SHAPE).float()

    def gradient(problem):
        operator = problem.operator
        residual = operator.forward(video) - problem.measurement
        return operator.adjoint(residual) / problem.noise_std**2

    assert both.noise_std == 0.02
    torch.testing.assert_close(
        gradient(both), gradient(sharp) + gradient(blurred), rtol=1e-4, atol=1e-2
    )


def test_a_measurement_of_the_stack_is_white():
    _, sharp, blurred = two_cameras()
    both, truth = stacked([sharp, blurred]), two_cameras()[0]
    error = both.measurement - both.operator.forward(truth)
    for part in both.operator.split(error):
        assert part.std().item() == pytest.approx(0.02, rel=0.05)


def test_two_cameras_restore_better_than_one_and_than_their_plain_stack():
    truth, sharp, blurred = two_cameras()
    plain = Stack((SHARP, BLURRED), SHAPE)
    y = torch.cat([sharp.measurement.flatten(), blurred.measurement.flatten()])
    problems = {
        "both": stacked([sharp, blurred]),
        "blurred": blurred,
        "told the mean noise": InverseProblem(plain, y, 0.1),
    }
    error = {}
    for name, problem in problems.items():
        video = restore(problem, PRIOR, vision_xl(count=10), generator=generator()).video
        error[name] = (video - truth).square().mean().sqrt().item()
    assert error["both"] < 0.95 * min(error["blurred"], error["told the mean noise"]), error


def test_without_noise_nothing_is_weighted():
    truth = two_cameras()[0]
    sharp, blurred = (simulate(truth, one, generator=generator()) for one in (SHARP, BLURRED))
    both = stacked([sharp, blurred])
    assert both.operator.operators == (SHARP, BLURRED)
    assert torch.equal(both.measurement, both.operator.forward(truth))


_, FIRST, SECOND = two_cameras()
VIDEO = two_cameras()[0]


@pytest.mark.parametrize(
    ("problems", "told"),
    [
        ([], "give one or more"),
        ([FIRST, InverseProblem(BLURRED, SECOND.measurement)], r"0.2, 0.0\].*rounding, 0.0023"),
        ([FIRST, simulate(VIDEO[:5], BLURRED, 0.1, generator=generator())], r"\(5, 3, 16, 24\)"),
        ([FIRST, simulate(VIDEO.double(), BLURRED, 0.1, generator=generator())], "float64"),
        ([FIRST, simulate(VIDEO, Clip(0.5), 0.1, generator=generator())], "forward, adjoint"),
    ],
)
def test_what_cannot_be_stacked_is_told(problems, told):
    with pytest.raises(InputError, match=told):
        stacked(problems)
