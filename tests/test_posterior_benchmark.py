"""The benchmark that holds methods against exact posteriors, and its dense mathematics."""

import json
import sys

import posterior
import torch
from dense import generator

from visionxl import GaussianPrior, InverseProblem, simulate
from visionxl.operators import AveragePool
from visionxl.priors import MixturePrior
from visionxl.solvers import METHODS

SIZE, FRAMES = posterior.SIZE, posterior.FRAMES


def problem_of(prior, noise_std=0.1):
    truth = prior.sample(FRAMES, 1, generator(1))
    return simulate(truth, AveragePool(2), noise_std, generator=generator(2))


def test_a_mixture_of_one_mode_has_the_posterior_of_the_white_gaussian():
    white = GaussianPrior(torch.full((SIZE, SIZE), 0.2**2, dtype=torch.float64))
    one = MixturePrior(torch.zeros(1, SIZE, SIZE, dtype=torch.float64), std=0.2)
    problem = problem_of(white)
    expected = posterior.gaussian_posterior(white, problem)
    found = posterior.mixture_posterior(one, problem)
    torch.testing.assert_close(found.mean, expected.mean)
    torch.testing.assert_close(found.std, expected.std)


def test_the_mixture_posterior_is_that_of_weighted_draws():
    """Importance sampling: draws from the prior, weighted by the likelihood."""
    means = torch.stack([torch.full((SIZE, SIZE), v) for v in (-0.3, 0.3)]).double()
    prior = MixturePrior(means, std=0.05)
    problem = problem_of(prior, noise_std=0.5)
    exact = posterior.mixture_posterior(prior, problem)
    draws = prior.sample(FRAMES, 4000, generator(3))
    apart = problem.measurement - problem.operator.forward(draws)
    likelihood = (-apart.square().sum((-1, -2)) / (2 * 0.5**2)).softmax(1)  # frame by frame
    mean = (likelihood[..., None, None] * draws).sum(1, keepdim=True)
    torch.testing.assert_close(mean, exact.mean, atol=0.02, rtol=0)


def test_the_exact_sampler_would_have_no_error():
    prior = GaussianPrior.natural(SIZE, SIZE, std=0.3)
    problem = problem_of(prior)
    exact = posterior.gaussian_posterior(prior, problem)
    matrix = posterior.dense(problem.operator.forward)
    precision = torch.linalg.inv(posterior.dense(prior.covariance)) + matrix.T @ matrix / 0.1**2
    covariance = torch.linalg.inv(precision)
    white = torch.randn(4000, len(covariance), generator=generator(4), dtype=torch.float64)
    draws = exact.mean.flatten() + white @ torch.linalg.cholesky(covariance).T
    torch.testing.assert_close(draws.std(0), exact.std.flatten(), rtol=0.06, atol=0)


def test_the_command_prints_and_keeps_a_row_for_every_problem(tmp_path, monkeypatch, capsys):
    file = tmp_path / "out.json"
    command = ["posterior.py", "--method", "latino", "--method", "vision_xl", "--json", str(file)]
    monkeypatch.setattr(sys, "argv", command)
    posterior.main()
    rows = json.loads(file.read_text())
    table, _, summary = capsys.readouterr().out.partition("mean_error / spread_error, means over")
    for method in ("latino", "vision_xl"):
        own = [row for row in rows if row["method"] == method]
        assert len(own) == 2 * 3 * len(posterior.NOISES)
        assert all(0 < row["mean_error"] < 1 for row in own)
        assert all((row["spread_error"] is None) == (method == "vision_xl") for row in own)
        assert all(row["evaluations"] >= 8 for row in own)
        assert table.count(f"| {method} |") == len(own)
        assert summary.count(f"| {method} |") == 1
    assert len({row["method"] for row in rows}) == 2


def test_every_method_of_the_library_is_in_the_table():
    assert set(posterior.METHODS) == set(METHODS)


def test_the_measurement_is_the_same_in_every_channel():
    prior = posterior.priors()["gaussian"]
    problem, _ = posterior.measured(prior, posterior.operators()["sr2+"], 0.1)
    assert isinstance(problem, InverseProblem)
    assert torch.equal(problem.measurement[:, :1], problem.measurement[:, 5:6])
