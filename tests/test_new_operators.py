"""Cameras: what each measures, said a second time; how it lifts; what restores it."""

import math
from typing import get_args

import numpy as np
import pytest
import torch
from dense import dense, filtered, generator, modes_of, noise, solve_damped
from hypothesis import given, settings
from hypothesis import strategies as st

from visionxl import InverseProblem, NoiseAware, simulate
from visionxl.errors import InputError
from visionxl.operators import (
    MORE_TASKS,
    AveragePool,
    BlockCosine,
    Boundary,
    DropFrames,
    ExposureBracket,
    GaussianBlur,
    Mask,
    Repeat,
    RollingShutter,
    Shift,
    Snapshot,
    TemporalAverage,
    VaryingBlur,
    bayer,
    check_adjoint,
    dithered,
    factors_of,
    interlaced,
    lift,
    normal,
    task_named,
)
from visionxl.operators.pooling import cubic
from visionxl.operators.transform import cosines
from visionxl.protocols import NoiseLevel
from visionxl.solvers import ClosedForm, ConstantSpread, DampedCG

LEVEL = NoiseLevel(time=0.1, signal=0.8, noise=0.6)
BORDERS = get_args(Boundary)
FACTORED = {"drop", "bracket", "deinterlace", "bayer", "bayer+", "jpeg"}


def task(name, shape):
    return task_named(name)(shape[0], *shape[2:], generator())


# The named tasks


@pytest.mark.parametrize("name", MORE_TASKS)
@pytest.mark.parametrize("shape", [(3, 3, 8, 16), (9, 3, 16, 8)])
def test_the_tasks_have_exact_adjoints(name, shape):
    A = task(name, shape)
    assert check_adjoint(A, shape) < 1e-14
    assert check_adjoint(A, shape, dtype=torch.float32) < 1e-6
    assert (factors_of(A, shape) is not None) == (name in FACTORED)


@pytest.mark.parametrize("name", MORE_TASKS)
def test_the_consistency_solves_every_task(name):
    shape = (4, 1, 8, 8) if name in ("blur-varying", "shift-sr4") else (4, 3, 8, 8)
    A, estimate = task(name, shape), noise(*shape)
    problem = InverseProblem(A, noise(*A.forward(estimate).shape, seed=3), 0.1)
    solver = ClosedForm if name in FACTORED else DampedCG
    options = {} if name in FACTORED else {"iterations": 500, "tolerance": 1e-12}
    found = solver(ConstantSpread(0.5), **options).correct(estimate, problem, LEVEL)
    expected = solve_damped(dense(A.forward, shape), problem.measurement, estimate, 0.04)
    torch.testing.assert_close(found.video, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", MORE_TASKS)
def test_the_tasks_lift_a_constant_to_itself_where_it_was_seen(name):
    shape = (8, 3, 8, 16)
    A = task(name, shape)
    video = torch.full(shape, 0.7, dtype=torch.float64)
    seen = A.outer if name.endswith("+") else A
    expected = video * seen.mask if isinstance(seen, Mask) else video
    if name == "snapshot":
        expected = video * (A.codes.double().sum(0) > 0)
    torch.testing.assert_close(lift(A, A.forward(video)), expected)


@pytest.mark.parametrize("name", sorted(FACTORED))
def test_the_modes_of_what_has_factors_are_the_operators_own(name):
    shape = (4, 3, 8, 8)
    A, x = task(name, shape), noise(*shape)
    modes = modes_of(A, x)
    torch.testing.assert_close(filtered(modes, x, modes.values.square()), normal(A, x))
    matrix = dense(A.forward, shape)
    square = matrix.T @ matrix
    damped = square + 0.1 * torch.eye(len(square), dtype=torch.float64)
    expected = torch.linalg.solve(damped, square).trace().item()
    assert modes.determined(0.1) == pytest.approx(expected, rel=1e-6)


# Varying blur


def test_equal_blurs_everywhere_are_that_blur():
    x = noise(2, 3, 9, 12)
    same = VaryingBlur.radial(9, 12, sigmas=(1.2, 1.2, 1.2))
    torch.testing.assert_close(same.forward(x), GaussianBlur(1.2).forward(x))


def test_a_radial_blur_is_sharp_in_the_centre_and_blurred_in_the_corners():
    x = noise(1, 1, 41, 41)
    blurred = VaryingBlur.radial(41, 41, sigmas=(0.2, 3.0)).forward(x)
    torch.testing.assert_close(blurred[..., 20, 20], x[..., 20, 20], rtol=1e-4, atol=1e-4)
    corner = GaussianBlur(3.0).forward(x)[..., 0, 0]
    torch.testing.assert_close(blurred[..., 0, 0], corner)


def test_a_blur_by_a_map_is_that_of_the_sigma_at_each_place():
    x, sigma = noise(1, 1, 20, 24), torch.full((20, 24), 0.5)
    sigma[:, 16:] = 2.5
    sigma[:, 12:16] = 1.5  # the middle one of three
    blurred = VaryingBlur.from_map(sigma, count=3).forward(x)
    for value in (0.5, 1.5, 2.5):
        there = sigma == value
        torch.testing.assert_close(blurred[..., there], GaussianBlur(value).forward(x)[..., there])
    same = VaryingBlur.from_map(torch.full((20, 24), 1.2).numpy())
    assert len(same.blurs) == 1
    torch.testing.assert_close(same.forward(x), GaussianBlur(1.2).forward(x))
    assert check_adjoint(VaryingBlur.from_map(sigma), (2, 3, 20, 24)) < 1e-12


# Time


@pytest.mark.parametrize("border", [border for border in BORDERS if border != "zero"])
@settings(max_examples=15)
@given(frames=st.integers(1, 6), height=st.integers(1, 7), readout=st.floats(0, 9))
def test_a_rolling_shutter_interpolates_each_row_at_its_own_time(border, frames, height, readout):
    x = noise(frames, 2, height, 3)
    mode = {"circular": "wrap", "reflect": "reflect", "replicate": "edge"}[border]
    later = np.pad(x.numpy(), [(0, 11), (0, 0), (0, 0), (0, 0)], mode=mode)
    measured = RollingShutter(readout, border).forward(x).numpy()
    for i in range(height):
        for t in range(frames):
            for c in range(2):
                when = t + readout * i / height
                before = math.floor(when)
                share = when - before
                expected = (1 - share) * later[before, c, i] + share * later[before + 1, c, i]
                np.testing.assert_allclose(measured[t, c, i], expected, atol=1e-12)


def test_a_rolling_shutter_without_readout_changes_nothing():
    x = noise(3, 1, 4, 5)
    assert torch.equal(RollingShutter(0.0).forward(x), x)


def test_dropped_frames_are_gone_and_the_ones_before_stand_for_them():
    x = noise(5, 1, 2, 2)
    A = DropFrames([False, True, False, False, True])
    assert torch.equal(A.forward(x), x[[1, 4]])
    assert torch.equal(lift(A, A.forward(x)), x[[1, 1, 1, 1, 4]])


@pytest.mark.parametrize("keep", [0.01, 0.5, 1.0])
def test_random_dropping_keeps_its_share_and_the_ends(keep):
    kept = DropFrames.random(keep, 2000, generator()).kept
    assert sum(kept) / 2000 == pytest.approx(keep, abs=0.03)
    assert (kept[0], kept[-1]) == (True, True)
    assert kept == DropFrames.random(keep, 2000, generator()).kept


def test_a_bracket_collects_its_windows_by_turns():
    x, A = noise(7, 1, 2, 2), ExposureBracket((1, 5, 3), "zero")
    y = A.forward(x)
    torch.testing.assert_close(y[0], x[0] / 5)
    torch.testing.assert_close(y[1], x[0:4].sum(0) / 5)  # two before, of which one is missing
    torch.testing.assert_close(y[2], x[1:4].sum(0) / 5)
    torch.testing.assert_close(y[4], x[2:7].sum(0) / 5)


def test_a_bracket_of_one_window_is_the_average():
    x = noise(6, 2, 3, 3)
    found = ExposureBracket((3,), "reflect").forward(x)
    torch.testing.assert_close(found, TemporalAverage(3, "reflect").forward(x))


# Masks


@pytest.mark.parametrize("top_first", [True, False])
def test_interlaced_frames_have_the_lines_of_their_parity(top_first):
    seen = interlaced(4, 6, 5, top_first=top_first).forward(torch.ones(4, 1, 6, 5))
    for t in range(4):
        first = (t + (not top_first)) % 2
        assert (seen[t, :, first::2] == 1).all()
        assert (seen[t, :, 1 - first :: 2] == 0).all()


def test_a_mosaic_sees_one_colour_at_each_pixel():
    x = noise(2, 3, 5, 7)
    y = bayer(5, 7, "gbrg").forward(x)
    assert torch.equal((y != 0).sum(1), torch.ones(2, 5, 7, dtype=torch.long))
    for (down, right), colour in {(0, 0): 1, (0, 1): 2, (1, 0): 0, (1, 1): 1}.items():
        block = (..., slice(down, None, 2), slice(right, None, 2))
        assert torch.equal(y[:, colour][block], x[:, colour][block])


# Coefficients


def test_the_cosines_are_orthonormal_and_diagonalise_the_mirrored_difference():
    D = cosines(8)
    torch.testing.assert_close(D @ D.T, torch.eye(8, dtype=torch.float64))
    mirrored = torch.eye(8, dtype=torch.float64).diff(dim=0)
    expected = 2 - 2 * torch.cos(math.pi * torch.arange(8, dtype=torch.float64) / 8)
    torch.testing.assert_close(D @ mirrored.T @ mirrored @ D.T, torch.diag(expected))


def test_coefficients_with_equal_steps_keep_lengths_and_the_lift_is_the_inverse():
    x = noise(2, 3, 16, 24)
    torch.testing.assert_close(BlockCosine([1.0] * 8).forward(x).norm(), x.norm())
    torch.testing.assert_close(lift(BlockCosine(), BlockCosine().forward(x)), x)


def test_the_coefficients_of_a_block_are_its_own():
    x = noise(1, 1, 16, 16)
    alone = BlockCosine().forward(x[..., 8:, :8])
    torch.testing.assert_close(BlockCosine().forward(x)[..., 8:, :8], alone)


@pytest.mark.parametrize("step", [0.05, 1.0])
def test_dithered_rounding_is_white_noise_that_knows_nothing_of_the_video(step):
    x = 0.3 * noise(8, 3, 64, 64)
    problem = dithered(x, BlockCosine(), step, generator=generator(1))
    clean = problem.operator.forward(x)
    error = problem.measurement - clean
    assert error.abs().max() <= step / 2 * (1 + 1e-6)
    assert error.std().item() == pytest.approx(problem.noise_std, rel=0.01)
    pairs = [(error, clean), (error[..., 1:], error[..., :-1]), (error**2, clean)]
    for left, right in pairs:
        correlation = torch.corrcoef(torch.stack([left.flatten(), right.flatten()]))[0, 1]
        assert correlation.abs() < 0.02


def test_without_dither_a_coarse_rounding_would_know_the_video():
    clean = BlockCosine().forward(0.3 * noise(8, 3, 64, 64))
    error = torch.round(clean) - clean
    correlation = torch.corrcoef(torch.stack([error.flatten(), clean.flatten()]))[0, 1]
    assert correlation < -0.1


# Coded exposures


def test_a_snapshot_is_the_mean_of_the_coded_frames():
    x, codes = noise(7, 2, 4, 5), noise(3, 4, 5, seed=1)
    y = Snapshot(codes, frames=7).forward(x)
    expected = [(codes[:, None] * x[3 * g : 3 * g + 3]).sum(0) / 3 for g in range(2)]
    torch.testing.assert_close(y, torch.stack([*expected, codes[0] * x[6] / 3]))


# A moving camera


@settings(max_examples=15)
@given(offset=st.integers(-3, 3), border=st.sampled_from(BORDERS))
def test_a_shift_by_whole_pixels_is_a_roll_away_from_the_border(offset, border):
    x = noise(2, 1, 12, 12)
    y = Shift([(offset, 0), (0, offset)], border).forward(x)
    inner = (..., slice(3, -3), slice(3, -3))
    torch.testing.assert_close(y[0][inner], x[0].roll(-offset, -2)[inner])
    torch.testing.assert_close(y[1][inner], x[1].roll(-offset, -1)[inner])


@settings(max_examples=15)
@given(down=st.floats(-2, 2), right=st.floats(-2, 2))
def test_a_shift_takes_a_smooth_picture_where_the_formula_says(down, right):
    """Keys' interpolation is exact for polynomials of second degree."""

    def scene(i, j):
        return 0.3 + 0.1 * i - 0.05 * j + 0.01 * i * j + 0.02 * i**2 - 0.03 * j**2

    i, j = torch.meshgrid(*[torch.arange(14).double()] * 2, indexing="ij")
    y = Shift([(down, right)]).forward(scene(i, j)[None, None])
    inner = (..., slice(4, -4), slice(4, -4))
    torch.testing.assert_close(y[inner], scene(i + down, j + right)[None, None][inner])


def test_the_cubic_weights_sum_to_one():
    distances = torch.arange(-1.0, 3.0).double() - torch.linspace(0, 1, 11)[:, None]
    torch.testing.assert_close(cubic(distances).sum(1), torch.ones(11, dtype=torch.float64))


@given(frames=st.integers(1, 6), channels=st.integers(1, 3), size=st.integers(1, 6))
def test_a_repeated_picture_has_an_exact_adjoint_and_factors(frames, channels, size):
    shape = (1, channels, size, size + 1)
    assert check_adjoint(Repeat(frames), shape) < 1e-15
    x = noise(*shape)
    assert torch.equal(Repeat(frames).forward(x), x.expand(frames, -1, -1, -1))
    factors = factors_of(Repeat(frames), shape)
    assert factors is not None
    assert factors.measured(shape) == (frames, *shape[1:])


def test_sixteen_displaced_small_pictures_make_one_large_one():
    offsets = [(i, j) for i in range(4) for j in range(4)]
    A = AveragePool(4) @ Shift(offsets, "circular") @ Repeat(16)
    truth = GaussianBlur(2.0, "circular").forward(noise(1, 3, 24, 32))
    one = lift(AveragePool(4), AveragePool(4).forward(truth))
    problem = simulate(truth, A, 0.0, generator=generator())
    found = NoiseAware(ConstantSpread(1.0), iterations=200, tolerance=1e-8)
    error = (found.correct(torch.zeros_like(truth), problem, LEVEL).video - truth).norm()
    assert error < 0.02 * (one - truth).norm()


# Errors

VIDEO = torch.zeros(4, 3, 6, 8)
ERRORS = {
    "maps for other blurs": (
        lambda: VaryingBlur([GaussianBlur(1.0)], torch.ones(2, 6, 8)),
        "2 maps for 1 blurs",
    ),
    "maps of another size": (
        lambda: VaryingBlur.radial(6, 9).forward(VIDEO),
        r"\(6, 9\).*height 6 and width 8",
    ),
    "a sigma of 0 in a map": (
        lambda: VaryingBlur.from_map(torch.zeros(6, 8)),
        r"sigma of shape \(6, 8\): expected finite numbers above 0",
    ),
    "a map for every frame": (
        lambda: VaryingBlur.from_map(torch.ones(2, 6, 8)),
        r"shape \(height, width\)",
    ),
    "negative maps": (
        lambda: VaryingBlur([GaussianBlur(1.0)], -torch.ones(1, 6, 8)),
        "expected numbers >= 0",
    ),
    "negative readout": (lambda: RollingShutter(-1.0), "readout -1.0"),
    "endless readout": (lambda: RollingShutter(math.inf), "readout inf"),
    "all frames dropped": (lambda: DropFrames([False, False]), "keeps no frame"),
    "no share": (lambda: DropFrames.random(0.0, 5, generator()), "keep 0.0"),
    "other frames": (lambda: DropFrames([True] * 5).forward(VIDEO), "4 frames.*expects 5"),
    "other kept frames": (
        lambda: DropFrames([True, False] * 2).adjoint(VIDEO),
        "measurement has 4 frames.*2 of 4.*expects 2",
    ),
    "no exposure": (lambda: ExposureBracket(()), r"windows \(\)"),
    "even exposure": (lambda: ExposureBracket((1, 4)), "4 is not an odd number"),
    "no colour filter": (lambda: bayer(4, 4, "rgbx"), "'rgbx'.*'rggb'"),
    "no steps": (lambda: BlockCosine(()), r"steps \(\)"),
    "step of nothing": (lambda: BlockCosine((1.0, 0.0)), "positive numbers"),
    "blocks that do not fit": (lambda: BlockCosine().forward(VIDEO), "height 6.*8"),
    "rounding to nothing": (
        lambda: dithered(VIDEO, BlockCosine(), 0.0, generator=generator()),
        "step 0.0",
    ),
    "codes of one axis": (lambda: Snapshot(torch.ones(3)), r"\(3,\)"),
    "codes of another size": (
        lambda: Snapshot(torch.ones(2, 6, 9)).forward(VIDEO),
        r"\(6, 9\).*width 8",
    ),
    "frames that do not divide": (
        lambda: Snapshot(torch.ones(3, 6, 8)).forward(VIDEO),
        "4 frames.*a multiple of 3.*frames=4",
    ),
    "exposures of another video": (
        lambda: Snapshot(torch.ones(3, 6, 8), frames=7).adjoint(VIDEO),
        "4 frames.*7 frames, 3 per exposure, give 3",
    ),
    "offsets that are not numbers": (lambda: Shift([(math.nan, 0)]), "finite numbers"),
    "offsets of other frames": (lambda: Shift([(0, 0)]).forward(VIDEO), "4 frames.*for 1"),
    "several pictures": (lambda: Repeat(3).forward(VIDEO), "4 frames.*one picture"),
    "other repetitions": (lambda: Repeat(3).adjoint(VIDEO), "4 frames.*expects 3"),
    "unknown task": (lambda: task_named("bayr"), "'bayr'.*did you mean 'bayer'"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_name_the_value_and_the_way_out(case):
    action, message = ERRORS[case]
    with pytest.raises(InputError, match=message):
        action()


def test_a_shift_out_of_a_zero_border_sees_nothing_and_gives_nothing_back():
    A, x = Shift([(9.5, 0.0)], "zero"), noise(1, 1, 4, 4)
    assert not A.forward(x).any()
    assert not A.adjoint(x).any()


def test_random_offsets_begin_with_none_and_stay_within_their_reach():
    offsets = torch.tensor(Shift.random(4.0, 200, generator()).offsets)
    assert offsets[0].tolist() == [0.0, 0.0]
    assert 3.5 < offsets.abs().max() <= 4.0
    assert offsets.min() < -3.5


def test_the_task_loses_as_many_frames_as_it_says():
    kept = MORE_TASKS["drop"](5000, 8, 8, generator()).kept
    assert sum(kept) / len(kept) == pytest.approx(0.6, abs=0.03)


@pytest.mark.parametrize(("height", "width"), [(1, 9), (9, 1)])
def test_a_radial_blur_of_one_row_has_its_centre_in_the_middle(height, width):
    weights = VaryingBlur.radial(height, width).weights.flatten(1)
    assert weights[0, 4] == 1


@pytest.mark.parametrize("step", [float("inf"), float("nan")])
def test_a_step_that_is_no_number_is_refused(step):
    with pytest.raises(InputError, match="rounds nothing"):
        dithered(torch.zeros(1, 1, 8, 8), BlockCosine(), step, generator=generator())


def test_a_short_last_exposure_is_lifted_to_its_frames():
    operator = Snapshot.random(3, 4, 4, generator(), frames=7)
    measurement = operator.forward(torch.ones(7, 1, 4, 4))
    assert lift(operator, measurement).shape == (7, 1, 4, 4)
