"""The kernel of a blur, found in the blurred video alone, and fitted to a known one."""

import math
import re

import pytest
import torch

from visionxl import InputError, simulate
from visionxl.operators import Blur
from visionxl.operators.blur import motion_kernel
from visionxl.sizes import cover
from visionxl.solvers import blind, estimate_kernel, fit_kernel
from visionxl.solvers.blind import centred, few_edges, gradients, light, tapered
from visionxl.video import DEMO_CLIP, read_clip


def chance(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def clip():
    return cover(read_clip(DEMO_CLIP, 3).video, 128, 192)


def likeness(found, true):
    """The correlation of two kernels at their best shift by a few pixels."""
    room = len(found) + 8
    found, true = (
        torch.nn.functional.pad(k.double(), [(room - len(k) + 1) // 2] * 4) for k in (found, true)
    )
    shifts = [(i, j) for i in range(-3, 4) for j in range(-3, 4)]
    best = max((found.roll(s, (0, 1)) * true).sum().item() for s in shifts)
    return best / (found.norm() * true.norm()).item()


def rolled_by_centre(kernel):
    place = torch.arange(len(kernel), dtype=kernel.dtype)
    return (kernel.sum(1) * place).sum().item(), (kernel.sum(0) * place).sum().item()


@pytest.mark.parametrize("angle", [0.0, 30.0, 90.0, 135.0])
def test_it_finds_a_motion_in_a_blurred_noisy_clip(angle, clip):
    true = motion_kernel(9.0, angle)
    blurred = simulate(clip, Blur(true), 0.005, generator=chance()).measurement
    found = estimate_kernel(blurred, 13)
    assert likeness(found, true) > 0.85
    for other in {0.0, 30.0, 90.0, 135.0} - {angle}:
        assert likeness(found, true) > likeness(found, motion_kernel(9.0, other)) + 0.1


def test_what_it_finds_is_a_kernel(clip):
    blurred = simulate(clip, Blur(motion_kernel(7.0, 60.0)), 0.02, generator=chance()).measurement
    found = estimate_kernel(blurred, 11, frames=1)
    assert found.shape == (11, 11)
    assert found.dtype == torch.float64
    assert found.min() >= 0
    assert found.sum().item() == pytest.approx(1)
    assert all(abs(mean - 5) <= 0.5 for mean in rolled_by_centre(found))
    Blur(found).forward(blurred)


def test_it_reads_only_the_frames_it_is_told_to_and_leaves_the_measurement(clip):
    blurred = Blur(motion_kernel(5.0, 0.0)).forward(clip)
    before = blurred.clone()
    middle_changed = blurred.clone()
    middle_changed[1] = 0
    one = estimate_kernel(blurred, 7, frames=2)  # the first and the last
    assert torch.equal(one, estimate_kernel(middle_changed, 7, frames=2))
    assert torch.equal(blurred, before)
    assert torch.equal(estimate_kernel(blurred, 7, frames=50), estimate_kernel(blurred, 7))


def test_a_known_video_tells_its_kernel_and_where_it_lies(clip):
    true = torch.zeros(9, 9, dtype=torch.float64)
    true[2:7, 3] = 0.12
    true[6, 4:6] = 0.2
    blurred = simulate(clip, Blur(true), 0.002, generator=chance()).measurement
    found = fit_kernel(clip, blurred, 9)
    assert likeness(found, true) > 0.97
    assert likeness(fit_kernel(clip, clip, 9), torch.eye(1)) > 0.97
    off = torch.zeros(9, 9, dtype=torch.float64)
    off[6, 7] = 1.0  # a shift: its place is all there is to tell
    moved = simulate(clip, Blur(off), 0.002, generator=chance()).measurement
    assert divmod(fit_kernel(clip, moved, 9).argmax().item(), 9) == (6, 7)


def test_a_picture_of_few_edges_has_fewer_the_more_they_cost():
    """Without a blur and with a piecewise constant picture nothing but noise is taken off."""
    flat = -0.5 * torch.ones(1, 48, 64)
    flat[:, 12:36, 20:44] = 0.5
    noisy = flat + 0.05 * torch.randn(flat.shape, generator=chance())
    none = torch.zeros(3, 3, dtype=torch.float64)
    none[1, 1] = 1
    found = few_edges(noisy, none, 0.03)
    assert (found - flat).square().mean() < 0.1 * (noisy - flat).square().mean()
    counts = [
        sum(g.square() for g in gradients(few_edges(noisy, none, cost))).gt(1e-3).sum().item()
        for cost in (1e-4, 1e-2, 10.0)
    ]
    assert counts[0] > counts[1] > counts[2]


def test_light_keeps_one_piece_and_sums_to_1_and_is_centred_by_whole_pixels():
    kernel = torch.zeros(9, 9, dtype=torch.float64)
    kernel[0, 1:4] = torch.tensor([2.0, 4.0, 2.0])
    kernel[1, 4] = 1.0  # touches at a corner
    kernel[5, 5] = 3.0  # apart
    kernel[1, 2] = 0.1  # faint
    kernel[0, 5] = -1.0
    expected = torch.zeros(9, 9, dtype=torch.float64)
    expected[0, 1:4] = torch.tensor([2.0, 4.0, 2.0]) / 9
    expected[1, 4] = 1 / 9
    assert torch.allclose(light(kernel), expected)
    assert torch.equal(centred(light(kernel)), light(kernel).roll((4, 2), (0, 1)))


def test_a_lopsided_kernel_is_centred_as_far_as_it_stays_whole():
    kernel = torch.zeros(9, 9, dtype=torch.float64)
    kernel[:, 4] = torch.tensor([0.5, *[0.0625] * 8])
    assert torch.equal(centred(kernel), kernel)  # its mean is two rows above the middle
    kernel[7:, 4] = 0.0
    found = centred(kernel / kernel.sum())[:, 4]
    assert torch.equal(found[:2], torch.zeros(2, dtype=torch.float64))
    assert torch.equal(found[2:], kernel[:7, 4] / kernel.sum())


def test_tapering_leaves_the_middle_and_joins_the_borders(clip):
    grey = clip.mean(1)
    smooth = tapered(grey, 10)
    middle = slice(11, -11)
    assert torch.allclose(smooth[:, middle, middle], grey[:, middle, middle], atol=1e-6)

    def jump(planes):
        return (planes[:, 0] - planes[:, -1]).abs().mean()

    assert jump(smooth) < 0.2 * jump(grey)


@pytest.mark.parametrize(
    ("change", "size", "message"),
    [
        (lambda v: v, 8, "size 8: give an odd number of pixels from 3 to 64"),
        (lambda v: v, 1, "size 1: give an odd number"),
        (lambda v: v, 65, "size 65: give an odd number of pixels from 3 to 64"),
        (
            lambda v: v.repeat(1, 1, 2, 2),
            103,
            "size 103: give an odd number of pixels from 3 to 101",
        ),
        (lambda v: v * math.nan, 9, "not finite"),
        (lambda v: torch.zeros_like(v) + 0.25, 9, "one colour only: a blur shows at edges"),
        (lambda v: v[:0], 9, "measurement of shape (0, 3, 128, 192)"),
    ],
)
def test_bad_measurements_and_sizes_are_told(change, size, message, clip):
    with pytest.raises(InputError, match=re.escape(message)):
        estimate_kernel(change(clip), size)


def test_a_gentle_slope_has_no_edges():
    slope = torch.linspace(0, 0.03, 192).expand(2, 3, 128, -1)
    with pytest.raises(InputError, match="no edges"):
        estimate_kernel(slope, 9)


def test_no_frames_and_two_shapes_are_told(clip):
    with pytest.raises(InputError, match="frames 0: give how many"):
        estimate_kernel(clip, 9, frames=0)
    with pytest.raises(InputError, match="a blur changes no shape"):
        fit_kernel(clip, clip[..., :-2], 9)
    with pytest.raises(InputError, match="video has frames of one colour"):
        fit_kernel(torch.zeros_like(clip), clip, 9)


def test_edges_get_cheaper_turn_by_turn_down_to_a_least(monkeypatch, clip):
    told = []

    def few(measurement, kernel, sparsity):
        told.append(sparsity)
        return measurement

    monkeypatch.setattr(blind, "few_edges", few)
    monkeypatch.setattr(blind, "FALL", 3.0)
    blind.estimate_kernel(clip, 5)
    assert told[:3] == pytest.approx([0.03, 0.01, 0.01 / 3])
    assert told[-1] == blind.LEAST_SPARSITY
