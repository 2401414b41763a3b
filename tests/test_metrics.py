"""Each measure against its definition, written out in numpy."""

import math
import socket

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from measuring import measures, residual
from peers.case import Case, Estimate
from torch import nn

from visionxl import InputError, InverseProblem, metrics, simulate
from visionxl.metrics import check_same_shape, difference_psnr, lpips, psnr, ssim
from visionxl.operators import TASKS, Identity, task_named

MEASURES = [psnr, ssim, difference_psnr]


def pair(seed=0, frames=4, height=20, width=27, error=0.2):
    """A truth in [-1, 1], and that with errors, some of which leave the range."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.rand(frames, 3, height, width, generator=generator) * 2 - 1
    return truth + error * torch.randn(truth.shape, generator=generator), truth


def arrays(video, truth):
    return np.clip(video.double().numpy(), -1, 1), truth.double().numpy()


def decibels(errors):
    """Mean over the frames, of the range 2 of [-1, 1] over the root mean square error."""
    return float(np.mean([20 * math.log10(2 / math.sqrt(np.mean(e**2))) for e in errors]))


seeds = st.integers(0, 2**31)


@given(seeds)
def test_psnr_is_its_definition(seed):
    video, truth = arrays(*pair(seed))
    assert psnr(*pair(seed)) == pytest.approx(decibels(video - truth), abs=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_measures_of_half_precision_are_those_of_their_values(dtype):
    video, truth = (v.to(dtype) for v in pair(error=0.05))
    for measure in MEASURES:
        exact = measure(video.double(), truth.double())
        assert measure(video, truth) == pytest.approx(exact, rel=0.005)


@given(seeds)
def test_difference_psnr_is_its_definition(seed):
    video, truth = arrays(*pair(seed))
    errors = (video[1:] - video[:-1]) - (truth[1:] - truth[:-1])
    assert difference_psnr(*pair(seed)) == pytest.approx(decibels(errors), abs=1e-4)


def window_means(picture):
    """Gaussian means of every 11 x 11 pixels, sigma 1.5, the picture reflected beyond its border
    (the pixel at the border is not repeated)."""
    weights = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    weights = np.outer(weights, weights) / weights.sum() ** 2
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(picture, 5, mode="reflect"), (11, 11))
    return np.einsum("ijkl,kl->ij", windows, weights)


def structural_similarity(x, y):
    """Wang et al. 2004, one channel of one frame: K1 = 0.01, K2 = 0.03, L = 2."""
    c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2
    mx, my = window_means(x), window_means(y)
    vx, vy = window_means(x * x) - mx**2, window_means(y * y) - my**2
    vxy = window_means(x * y) - mx * my
    map_ = (2 * mx * my + c1) * (2 * vxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    return map_.mean()


def mean_similarity(x, y):
    planes = zip(x.reshape(-1, *x.shape[2:]), y.reshape(-1, *y.shape[2:]), strict=True)
    return float(np.mean([structural_similarity(a, b) for a, b in planes]))


@pytest.mark.parametrize("error", [0.02, 0.3, 1.0])
@pytest.mark.parametrize("size", [(20, 27), (16, 16)])
def test_ssim_is_its_formula_on_values_from_zero(error, size):
    video, truth = pair(1, 3, *size, error)
    x, y = arrays(video, truth)
    assert ssim(video, truth) == pytest.approx(mean_similarity(x + 1, y + 1), abs=2e-5)


def test_the_negative_of_a_picture_is_not_like_it():
    _, truth = pair(frames=1)
    assert ssim(-truth, truth) < 0


def test_of_no_frames_there_is_no_measure():
    none = torch.zeros(0, 3, 16, 16)
    assert all(math.isnan(measure(none, none)) for measure in MEASURES)


def test_of_equal_videos_psnr_is_infinite_and_ssim_one():
    _, truth = pair()
    assert psnr(truth, truth) == difference_psnr(truth, truth) == math.inf
    assert ssim(truth, truth) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(("offset", "expected"), [(0.2, 20.0), (0.02, 40.0), (2.0, 0.0)])
def test_psnr_of_a_known_error(offset, expected):
    truth = torch.full((3, 3, 16, 16), -1.0)
    assert psnr(truth + offset, truth) == pytest.approx(expected, abs=1e-4)
    assert difference_psnr(truth + offset, truth) == math.inf  # it does not flicker


def test_psnr_averages_decibels_over_the_frames():
    truth = torch.zeros(2, 3, 16, 16)
    video = truth.clone()
    video[0] += 0.2
    video[1] += 0.02
    assert psnr(video, truth) == pytest.approx(30, abs=1e-4)


def test_difference_psnr_of_known_flicker():
    truth = torch.zeros(4, 3, 16, 16)
    flickering = truth + 0.1 * torch.tensor([1.0, -1.0, 1.0, -1.0]).view(4, 1, 1, 1)
    assert difference_psnr(flickering, truth) == pytest.approx(20, abs=1e-4)


@given(seeds, st.floats(1e-3, 3))
def test_values_stay_in_their_range_and_fall_with_the_error(seed, error):
    video, truth = pair(seed, 2, 16, 16, error)
    worse = truth + 4 * (video - truth)
    for measure, least, most in ((psnr, 0, math.inf), (ssim, -1, 1)):
        assert least <= measure(worse, truth) < measure(video, truth) <= most
    assert -6.03 <= difference_psnr(worse, truth) < difference_psnr(video, truth)


def test_values_beyond_the_range_count_as_its_end():
    video, truth = pair(error=1.0)
    for measure in MEASURES:
        assert measure(video, truth) == measure(video.clamp(-1, 1), truth)


def test_a_single_frame_has_no_difference():
    video, truth = pair(frames=1)
    assert math.isnan(difference_psnr(video, truth))


def test_videos_of_other_sizes_are_refused():
    video, truth = pair()
    with pytest.raises(InputError, match="same frames, channels, height and width"):
        check_same_shape(video[1:], truth)


def test_lpips_without_weights_is_none_and_asks_no_network(monkeypatch, tmp_path):
    def connect(*_):
        raise AssertionError("it wants to be connected")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert lpips(*pair()) is None


@pytest.fixture
def distance(monkeypatch, tmp_path):
    """A network in the place of LPIPS's, which takes what AlexNet takes."""
    sides = nn.Sequential(nn.Conv2d(3, 1, 11, 4, 2), nn.MaxPool2d(3, 2), nn.MaxPool2d(3, 2))

    def network(frame, true):
        assert frame.shape == true.shape == (1, 3, *frame.shape[-2:])
        assert sides(frame).numel()
        return (frame - true).abs().mean()

    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "alexnet-owt-0.pth").touch()
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(metrics, "_lpips_network", lambda: network)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("channels", [1, 3])
def test_lpips_is_the_mean_over_frames_gray_ones_too(channels, dtype, distance):
    video, truth = (v[:, :channels].to(dtype) for v in pair(height=31, width=40))
    expected = (video.clamp(-1, 1) - truth).abs().mean().item()
    assert lpips(video, truth) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("channels", "height"), [(3, 30), (4, 31)])
def test_lpips_of_what_its_network_does_not_take_is_none(channels, height, distance):
    video = torch.zeros(1, channels, height, 64)
    assert lpips(video, video) is None


@pytest.mark.parametrize("task", TASKS)
def test_the_residual_is_in_units_of_the_noise(task):
    generator = torch.Generator().manual_seed(0)
    video, truth = pair(frames=7, height=32, width=48)
    operator = task_named(task)(7, 32, 48, generator)
    noisy = simulate(truth, operator, 0.05, generator=generator)
    difference = (noisy.measurement - operator.forward(video)).double().numpy()
    expected = np.sqrt(np.mean(difference**2)) / 0.05
    assert residual(noisy, video) == pytest.approx(expected, rel=1e-5)
    assert residual(noisy, truth) == pytest.approx(1, rel=0.05)


def test_the_residual_without_noise_is_the_root_mean_square_itself():
    truth = torch.zeros(2, 3, 16, 16)
    problem = InverseProblem(Identity(), truth, 0.0)
    assert residual(problem, truth + 0.25) == pytest.approx(0.25)


@pytest.mark.parametrize(("change", "diverged"), [(0.8, False), (1.2, True), (math.nan, True)])
def test_diverged_is_one_decibel_below_the_back_projection(change, diverged):
    _, truth = pair(frames=7, height=32, width=32)
    case = Case.make(0.9 * truth, "deblur", 0.05, 0)
    error = case.problem.measurement - case.truth  # what the back-projection is off by
    told = measures(case, Estimate(case.truth + error * 10 ** (change / 20)))
    assert told["diverged"] is diverged
    assert (told["psnr"] is None) == math.isnan(change)


def test_a_truth_beyond_the_range_counts_as_its_end_too():
    video, truth = pair()
    beyond = truth + 3 * (truth.abs() == truth.abs().max()) * truth.sign()
    beyond[:, :, :4] = 1.7
    ended = beyond.clamp(-1, 1)
    for measure in (psnr, difference_psnr, ssim):
        assert measure(video, beyond) == measure(video, ended)


def test_half_precision_measures_small_errors():
    truth = torch.zeros(2, 3, 16, 16)
    for measure in (psnr, difference_psnr):
        expected = measure(truth + 1e-3 * torch.arange(2.0).view(2, 1, 1, 1) + 1e-4, truth)
        half = (truth + 1e-3 * torch.arange(2.0).view(2, 1, 1, 1) + 1e-4).half()
        assert measure(half, truth.half()) == pytest.approx(expected, abs=0.1)
        assert measure(half, truth) == pytest.approx(expected, abs=0.1)
