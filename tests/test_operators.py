"""Every operator: its exact adjoint, the formula it states, factors, lift, errors."""

import operator
from functools import reduce
from typing import get_args

import numpy as np
import pytest
import torch
from dense import dense, generator, noise, relative_error
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.nn.functional import avg_pool2d, interpolate

from visionxl import simulate
from visionxl.errors import InputError
from visionxl.operators import (
    TASKS,
    AveragePool,
    BicubicDownsample,
    BlockCosine,
    Blur,
    Boundary,
    Composition,
    DropFrames,
    ExposureBracket,
    Factors,
    Gamma,
    GaussianBlur,
    Grayscale,
    Identity,
    Mask,
    MotionBlur,
    RollingShutter,
    Scale,
    Shift,
    Snapshot,
    Stack,
    TemporalAverage,
    TemporalSubsample,
    VaryingBlur,
    bayer,
    check_adjoint,
    estimate_norm,
    factors_of,
    interlaced,
    lift,
    normal,
    task_named,
)
from visionxl.operators.blur import gaussian_taps, motion_kernel
from visionxl.operators.composition import find_parts, replace_part
from visionxl.operators.filtering import correlate_separable, correlate_separable_adjoint
from visionxl.operators.pointwise import LUMA

BOUNDARIES = get_args(Boundary)
NUMPY_MODE = {"circular": "wrap", "reflect": "reflect", "replicate": "edge", "zero": "constant"}
ODD = st.sampled_from([1, 3, 5, 9])

# (draw, shape of the video, a factor of its height and width, boundary) -> operator
FAMILIES = {
    "Identity": lambda draw, shape, factor, border: Identity(),
    "Scale": lambda draw, shape, factor, border: Scale(draw(st.floats(0.1, 3))),
    "Grayscale": lambda draw, shape, factor, border: Grayscale(
        draw(st.sampled_from([LUMA, (1 / 3,) * 3, (0.6, 0.5, -0.1)]))
    ),
    "GaussianBlur": lambda draw, shape, factor, border: GaussianBlur(
        draw(st.floats(0.2, 1.2)), border
    ),
    "Blur": lambda draw, shape, factor, border: Blur(noise(draw(ODD), draw(ODD)), border),
    "MotionBlur": lambda draw, shape, factor, border: MotionBlur(
        draw(st.floats(0.5, 9)), draw(st.floats(-180, 180)), border
    ),
    "TemporalAverage": lambda draw, shape, factor, border: TemporalAverage(draw(ODD), border),
    "TemporalSubsample": lambda draw, shape, factor, border: TemporalSubsample(
        draw(st.integers(1, 8)), frames=shape[0]
    ),
    "AveragePool": lambda draw, shape, factor, border: AveragePool(factor),
    "BicubicDownsample": lambda draw, shape, factor, border: BicubicDownsample(factor),
    "Mask": lambda draw, shape, factor, border: Mask(noise(*shape[2:]) > 0),
    "FrameMask": lambda draw, shape, factor, border: Mask(noise(shape[0], 1, *shape[2:]) > 0),
    "Bayer": lambda draw, shape, factor, border: bayer(*shape[2:]),
    "Interlaced": lambda draw, shape, factor, border: interlaced(shape[0], *shape[2:]),
    "DropFrames": lambda draw, shape, factor, border: DropFrames.random(
        draw(st.floats(0.1, 1)), shape[0], generator()
    ),
    "ExposureBracket": lambda draw, shape, factor, border: ExposureBracket(
        draw(st.lists(ODD, min_size=1, max_size=3)), border
    ),
    "BlockCosine": lambda draw, shape, factor, border: BlockCosine(
        draw(st.lists(st.floats(0.5, 3), min_size=factor, max_size=factor))
    ),
    "RollingShutter": lambda draw, shape, factor, border: RollingShutter(
        draw(st.floats(0, 8)), border
    ),
    "VaryingBlur": lambda draw, shape, factor, border: VaryingBlur.radial(
        *shape[2:], sigmas=(0.3, 0.6, 1.2), boundary=border
    ),
    "Snapshot": lambda draw, shape, factor, border: Snapshot(
        noise(draw(st.integers(1, 4)), *shape[2:]).abs(), frames=shape[0]
    ),
    "Shift": lambda draw, shape, factor, border: Shift(
        (draw(st.floats(0.1, 2)) * noise(shape[0], 2)).tolist(), border
    ),
    "Stack": lambda draw, shape, factor, border: Stack(
        [GaussianBlur(0.5, border), AveragePool(factor), TemporalAverage(3)], shape
    ),
}
FACTORED_COMPOSITIONS = [
    "AveragePool @ GaussianBlur @ TemporalAverage",
    "TemporalSubsample @ TemporalAverage @ Grayscale",
    "Mask @ Scale @ TemporalAverage",
    "Grayscale @ TemporalSubsample @ Mask",
    "BicubicDownsample @ Identity",
    "Bayer @ TemporalAverage",
    "Interlaced @ Mask",
    "BlockCosine @ DropFrames @ ExposureBracket",
]
OTHER_COMPOSITIONS = [
    "AveragePool @ MotionBlur",
    "Mask @ GaussianBlur",
    "GaussianBlur @ Mask",
    "Blur @ TemporalAverage",
    "TemporalAverage @ FrameMask",
    "Stack @ TemporalAverage",
    "Grayscale @ Bayer",
    "AveragePool @ Shift",
    "Snapshot @ TemporalAverage",
    "Mask @ RollingShutter @ VaryingBlur",
]
WITHOUT_FACTORS = [
    "Blur",
    "MotionBlur",
    "RollingShutter",
    "Shift",
    "Snapshot",
    "Stack",
    "VaryingBlur",
]
PARTLY_BLIND = ["Mask", "FrameMask", "Bayer", "Interlaced", "Blur", "Shift", "RollingShutter"]
WITH_FACTORS = [name for name in FAMILIES if name not in WITHOUT_FACTORS]
SEEING_ALL = [name for name in FAMILIES if name not in PARTLY_BLIND]


def draw_case(draw, name, border, min_frames=1):
    """An operator called ``name`` (with ``@`` for compositions), and a video shape it takes."""
    factor = draw(st.integers(1, 4))
    height, width = (factor * draw(st.integers(1, 5)) for _ in range(2))
    channels = 3 if "Grayscale" in name or "Bayer" in name else draw(st.integers(1, 3))
    shape = (draw(st.integers(min_frames, 6)), channels, height, width)
    parts = [FAMILIES[part](draw, shape, factor, border) for part in name.split(" @ ")]
    return reduce(operator.matmul, parts), shape


def dot(left, right):
    return torch.dot(left.flatten().double(), right.flatten().double()).item()


@pytest.mark.parametrize("border", BOUNDARIES)
@pytest.mark.parametrize("name", [*FAMILIES, *FACTORED_COMPOSITIONS, *OTHER_COMPOSITIONS])
@settings(max_examples=10)
@given(data=st.data())
def test_the_inner_products_with_forward_and_adjoint_agree(name, border, data):
    A, shape = draw_case(data.draw, name, border)
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
        x = noise(*shape, seed=1, dtype=dtype)
        Ax = A.forward(x)
        y = noise(*Ax.shape, seed=2, dtype=dtype)
        ATy = A.adjoint(y)
        assert ATy.shape == x.shape
        assert Ax.dtype == ATy.dtype == dtype
        apart = abs(dot(Ax, y) - dot(x, ATy))
        assert apart <= tolerance * (Ax.norm() * y.norm() + 1e-30).item()


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("shape", [(3, 3, 8, 12), (9, 1, 16, 8)])
def test_the_tasks_have_exact_adjoints(name, shape):
    A = task_named(name)(shape[0], *shape[2:], generator())
    assert check_adjoint(A, shape) < 1e-14
    assert check_adjoint(A, shape, dtype=torch.float32) < 1e-6


class Plain:
    """A user's own operator, which inherits nothing: the first frame alone, doubled."""

    def forward(self, video):
        return 2 * video[:1]

    def adjoint(self, measurement):
        return torch.cat([2 * measurement, torch.zeros_like(measurement)])

    def __repr__(self):
        return "Plain()"


class LostFactor(Plain):
    def adjoint(self, measurement):
        return super().adjoint(measurement) / 2


class LostFrame(Plain):
    def adjoint(self, measurement):
        return 2 * measurement


def test_check_adjoint_tells_a_right_adjoint_from_a_wrong_one():
    assert check_adjoint(Plain(), (2, 1, 4, 4)) < 1e-14
    assert check_adjoint(LostFactor(), (2, 1, 4, 4)) > 1e-3


class InPlace:
    """A symmetric one, whose inner products agree."""

    def forward(self, video):
        return video.mul_(0.5)

    adjoint = forward


class NoTensor:
    def forward(self, video):
        return video.numpy()

    def adjoint(self, measurement):
        return measurement


@pytest.mark.parametrize(
    ("operator", "kind", "words"),
    [
        (NoTensor, InputError, r"operator NoTensor is a class: give a value of it"),
        (InPlace(), InputError, "forward of InPlace changes its argument: make it return a new"),
        (NoTensor(), TypeError, "forward of NoTensor returned ndarray"),
    ],
)
def test_check_adjoint_names_what_it_cannot_use(operator, kind, words):
    with pytest.raises(kind, match=words):
        check_adjoint(operator, (2, 3, 4, 5))


def test_check_adjoint_names_the_wrong_shape():
    with pytest.raises(ValueError, match=r"returned \(1, 1, 4, 4\).*\(2, 1, 4, 4\)"):
        check_adjoint(LostFrame(), (2, 1, 4, 4))


# Forward, against independent implementations


def correlate(video, kernel, border):
    """Correlation over all four axes in numpy, straight from the definition."""
    reach = [(size // 2, size // 2) for size in kernel.shape]
    padded = np.pad(video, reach, mode=NUMPY_MODE[border])
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape)
    return np.einsum("fchwabij,abij->fchw", windows, kernel)


SIZES = st.tuples(st.integers(1, 6), st.integers(1, 2), st.integers(1, 9), st.integers(1, 9))


@pytest.mark.parametrize("border", BOUNDARIES)
@settings(max_examples=15)
@given(shape=SIZES, sigma=st.floats(0.2, 1.5))
def test_gaussian_blur_correlates_with_a_gaussian(border, shape, sigma):
    x = noise(*shape)
    k = np.arange(-np.ceil(10 * sigma), np.ceil(10 * sigma) + 1)
    taps = np.exp(-0.5 * (k / sigma) ** 2)
    expected = correlate(x.numpy(), np.outer(taps, taps)[None, None] / taps.sum() ** 2, border)
    np.testing.assert_allclose(GaussianBlur(sigma, border).forward(x), expected, atol=1e-12)


@pytest.mark.parametrize("border", BOUNDARIES)
@settings(max_examples=15)
@given(shape=SIZES, height=ODD, width=ODD)
def test_blur_correlates_with_its_kernel(border, shape, height, width):
    x, kernel = noise(*shape), noise(height, width, seed=1)
    expected = correlate(x.numpy(), kernel.numpy()[None, None], border)
    np.testing.assert_allclose(Blur(kernel, border).forward(x), expected, atol=1e-12)


@pytest.mark.parametrize("border", BOUNDARIES)
@settings(max_examples=15)
@given(shape=SIZES, window=st.sampled_from([1, 3, 7, 15]))
def test_temporal_average_is_the_mean_over_its_window(border, shape, window):
    x = noise(*shape)
    expected = correlate(x.numpy(), np.full((window, 1, 1, 1), 1 / window), border)
    np.testing.assert_allclose(TemporalAverage(window, border).forward(x), expected, atol=1e-13)


@pytest.mark.parametrize("border", BOUNDARIES)
@settings(max_examples=15)
@given(shape=SIZES, count=ODD)
def test_a_separable_correlation_takes_taps_that_are_not_symmetric(border, shape, count):
    x, taps = noise(*shape), noise(count, seed=1)
    expected = correlate(x.numpy(), np.outer(taps, taps)[None, None], border)
    found = correlate_separable(x, taps.tolist(), border)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    y = noise(*shape, seed=2)
    back = correlate_separable_adjoint(y, taps.tolist(), border)
    torch.testing.assert_close((found * y).sum(), (x * back).sum())


def test_the_papers_blur_has_61_taps_that_sum_to_one():
    taps = gaussian_taps(3.0)
    assert len(taps) == 61
    assert sum(taps) == pytest.approx(1, abs=1e-15)
    assert taps[31] / taps[30] == pytest.approx(np.exp(-1 / 18))


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_average_pool_is_torchs(factor):
    x = noise(2, 3, 12, 24)
    torch.testing.assert_close(AveragePool(factor).forward(x), avg_pool2d(x, factor))


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 8])
@pytest.mark.parametrize(("height", "width"), [(24, 48), (72, 24)])
def test_bicubic_downsample_is_pillows(factor, height, width):
    x = noise(1, 1, height, width, dtype=torch.float32)
    image = Image.fromarray(x[0, 0].numpy())
    expected = image.resize((width // factor, height // factor), Image.Resampling.BICUBIC)
    small = BicubicDownsample(factor).forward(x)
    np.testing.assert_allclose(small[0, 0], np.asarray(expected), atol=1e-5)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_bicubic_downsample_is_torchs_antialiased_bicubic_away_from_the_border(factor):
    x = noise(2, 3, 12 * factor, 12 * factor)
    expected = interpolate(x, scale_factor=1 / factor, mode="bicubic", antialias=True)
    inner = (..., slice(2, -2), slice(2, -2))
    torch.testing.assert_close(BicubicDownsample(factor).forward(x)[inner], expected[inner])


@pytest.mark.parametrize("length", [0.5, 1.0, 3.0, 6.5, 9.0])
@pytest.mark.parametrize("angle", [0.0, 30.0, 90.0, 135.0, -60.0, 720.5])
def test_motion_kernels_sum_to_one_and_are_symmetric(length, angle):
    kernel = motion_kernel(length, angle)
    assert kernel.sum().item() == pytest.approx(1)
    assert (kernel >= 0).all()
    torch.testing.assert_close(kernel, kernel.flip(0, 1))


@pytest.mark.parametrize(("angle", "along", "across"), [(0.0, -1, -2), (90.0, -2, -1)])
def test_motion_along_an_axis_blurs_that_axis_alone(angle, along, across):
    x = noise(1, 1, 9, 11)
    blurred = MotionBlur(5.0, angle).forward(x)
    stripes = x.mean(along, keepdim=True).expand_as(x)
    torch.testing.assert_close(MotionBlur(5.0, angle).forward(stripes), stripes)
    assert (blurred - x).norm() > 0.5 * x.norm()
    other = x.mean(across, keepdim=True).expand_as(x)
    assert (MotionBlur(5.0, angle).forward(other) - other).norm() > 0.5 * other.norm()


def test_motion_is_counter_clockwise_from_the_horizontal():
    kernel = motion_kernel(8.0, 45.0)
    assert kernel[0, -1] == 0  # the line ends inside the corner
    assert kernel[2, -3] > 0.05
    assert kernel[2, 2] == 0


def test_temporal_subsample_keeps_every_nth_frame_from_the_first():
    x = noise(7, 1, 2, 2)
    assert torch.equal(TemporalSubsample(3, frames=7).forward(x), x[[0, 3, 6]])
    assert torch.equal(TemporalSubsample(2).forward(x[:6]), x[[0, 2, 4]])


def test_grayscale_is_the_luma_of_bt_601():
    x = noise(2, 3, 4, 4)
    expected = 0.299 * x[:, :1] + 0.587 * x[:, 1:2] + 0.114 * x[:, 2:]
    torch.testing.assert_close(Grayscale().forward(x), expected)


def test_scale_multiplies():
    x = noise(2, 3, 4, 4)
    assert torch.equal(Scale(-0.25).forward(x), -0.25 * x)


def test_a_box_mask_hides_its_rows_and_columns_alone():
    seen = Mask.box(1, 2, 3, 5, 4, 6).forward(torch.ones(1, 1, 4, 6))[0, 0]
    expected = torch.ones(4, 6)
    expected[1:3, 2:5] = 0
    assert torch.equal(seen, expected)


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9, 1.0])
def test_a_random_mask_keeps_its_share_and_is_reproducible(keep):
    first, again, other = (Mask.random(keep, 100, 120, generator(s)).mask for s in (0, 0, 1))
    assert first.float().mean().item() == pytest.approx(keep, abs=0.02)
    assert torch.equal(first, again)
    assert keep == 1 or not torch.equal(first, other)


def test_a_stack_is_its_parts_one_after_another():
    x = noise(2, 1, 4, 4)
    parts = [AveragePool(2), Scale(3.0)]
    stack = Stack(parts, x.shape)
    measured = stack.forward(x)
    assert measured.shape == (2 * 4 + 2 * 16,)
    for part, piece in zip(parts, stack.split(measured), strict=True):
        assert torch.equal(piece, part.forward(x))


# Factors


def apply(factors, video):
    for axis, matrix in enumerate(factors.axes):
        if matrix is not None:
            video = torch.tensordot(matrix, video, dims=([1], [axis])).movedim(0, axis)
    return video if factors.mask is None else video * factors.mask


@pytest.mark.parametrize("border", BOUNDARIES)
@pytest.mark.parametrize("name", [*WITH_FACTORS, *FACTORED_COMPOSITIONS])
@settings(max_examples=8)
@given(data=st.data())
def test_the_factors_applied_are_forward(name, border, data):
    A, shape = draw_case(data.draw, name, border)
    factors, x = factors_of(A, shape), noise(*shape)
    assert factors is not None
    torch.testing.assert_close(apply(factors, x), A.forward(x))
    assert factors.measured(shape) == tuple(A.forward(x).shape)


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("shape", [(3, 3, 8, 12), (9, 1, 16, 8)])
def test_every_task_has_factors_that_are_forward(name, shape):
    A, x = task_named(name)(shape[0], *shape[2:], generator()), noise(*shape)
    torch.testing.assert_close(apply(factors_of(A, shape), x), A.forward(x))


@pytest.mark.parametrize("name", [*WITHOUT_FACTORS, *OTHER_COMPOSITIONS])
@settings(max_examples=5)
@given(data=st.data())
def test_what_does_not_factor_says_so(name, data):
    A, shape = draw_case(data.draw, name, "reflect", min_frames=2)
    assert factors_of(A, shape) is None


@pytest.mark.parametrize("op", [Plain(), Plain() @ Identity(), Identity() @ Plain()], ids=repr)
def test_a_users_operator_has_no_factors(op):
    assert factors_of(op, (2, 1, 4, 4)) is None


# Lift, normal, norm


@pytest.mark.parametrize("border", BOUNDARIES)
@pytest.mark.parametrize("name", SEEING_ALL)
@settings(max_examples=6)
@given(data=st.data(), value=st.floats(-1, 1))
def test_a_constant_video_is_lifted_to_itself(name, border, data, value):
    A, shape = draw_case(data.draw, name, border)
    video = torch.full(shape, value, dtype=torch.float64)
    torch.testing.assert_close(lift(A, A.forward(video)), video)


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("shape", [(3, 3, 8, 12), (9, 1, 16, 8)])
def test_the_tasks_lift_a_constant_to_itself_where_it_was_seen(name, shape):
    A = task_named(name)(shape[0], *shape[2:], generator())
    video = torch.full(shape, 0.7, dtype=torch.float64)
    seen = A.outer if name.endswith("+") else A
    expected = video * seen.mask if isinstance(seen, Mask) else video
    torch.testing.assert_close(lift(A, A.forward(video)), expected)


def test_a_pooling_is_lifted_to_its_nearest_neighbours():
    y = noise(2, 3, 3, 5)
    torch.testing.assert_close(lift(AveragePool(4), y), interpolate(y, scale_factor=4.0))


@pytest.mark.parametrize("value", [0.5, 2.0, -1.0])
def test_a_mask_of_factors_is_of_0_and_1(value):
    """The exact solution takes it for its own square."""
    mask = torch.ones(1, 1, 4, 6)
    mask[0, 0, 1, 2] = value
    with pytest.raises(InputError, match=f"value {value:g}: expected 0 and 1"):
        Factors(mask=mask)


def test_a_varying_blur_keeps_its_own_weights():
    weights = torch.ones(1, 8, 12)
    blur = VaryingBlur((GaussianBlur(1.0),), weights)
    video = torch.ones(2, 3, 8, 12)
    before = blur.forward(video)
    weights.zero_()
    assert torch.equal(blur.forward(video), before)


def test_parts_that_are_no_blurs_are_told():
    weights, video = torch.ones(1, 8, 12), torch.ones(2, 3, 8, 12)
    with pytest.raises(InputError, match="3 is no blur"):
        VaryingBlur((3,), weights)
    with pytest.raises(InputError, match="expected a blur, which keeps its size"):
        VaryingBlur((AveragePool(2),), weights).forward(video)
    with pytest.raises(InputError, match="codes of shape"):
        Snapshot(torch.zeros(0, 8, 12))
    assert ExposureBracket(5).windows == (5,)


def test_an_adjoint_is_examined_in_inference_mode_too():
    with torch.inference_mode():
        assert check_adjoint(GaussianBlur(1.0), (2, 3, 8, 12)) < 1e-14


def test_a_mask_is_lifted_to_its_known_pixels():
    A, x = Mask.random(0.5, 6, 8, generator()), noise(2, 3, 6, 8)
    assert torch.equal(lift(A, A.forward(x)), x * A.mask)


def test_a_subsampling_holds_its_frames():
    y = noise(3, 1, 2, 2)
    assert torch.equal(lift(TemporalSubsample(2, frames=5), y), y[[0, 0, 1, 1, 2]])


@pytest.mark.parametrize("op", [GaussianBlur(1.0), AveragePool(2) @ TemporalAverage(3)], ids=repr)
def test_normal_is_the_gram_matrix(op):
    shape, x = (2, 1, 4, 4), noise(2, 1, 4, 4)
    matrix = dense(op.forward, shape)
    torch.testing.assert_close(normal(op, x).flatten(), matrix.T @ matrix @ x.flatten())


@pytest.mark.parametrize(
    "op",
    [
        GaussianBlur(1.0, "replicate"),
        Scale(-3.0),
        Blur([[1.0, 2.0, -1.0]], "circular"),
        BicubicDownsample(2) @ TemporalAverage(3),
        Stack([AveragePool(2), Scale(2.0)], (3, 1, 4, 6)),
    ],
    ids=repr,
)
def test_the_estimated_norm_is_the_largest_singular_value(op):
    shape = (3, 1, 4, 6)
    expected = np.linalg.norm(dense(op.forward, shape), 2)
    found = estimate_norm(op, shape, generator=generator(), iterations=200, dtype=torch.float64)
    assert expected * (1 - 1e-3) <= found <= expected * (1 + 1e-9)


def test_the_estimated_norm_of_nothing_is_zero():
    assert estimate_norm(Mask(torch.zeros(4, 4)), (1, 1, 4, 4), generator=generator()) == 0


@pytest.mark.parametrize("kernel", [[[0.7, -0.1, -0.6]], [[0.1, 0.2, -0.3]], [[-1.0, 2.0, -1.0]]])
def test_of_a_kernel_that_sums_to_0_nothing_is_lifted(kernel):
    blur = Blur(kernel)
    x = torch.rand(1, 1, 8, 8, generator=generator())
    assert torch.equal(lift(blur, blur.forward(x)), torch.zeros_like(x))


def test_a_faint_kernel_is_lifted_like_a_strong_one():
    strong, faint = (Blur([[scale * tap for tap in (0.2, 0.5, 0.3)]]) for scale in (1.0, 1e-6))
    x = torch.rand(1, 1, 8, 8, generator=generator())
    lifted = [lift(blur, blur.forward(x)) for blur in (strong, faint)]
    assert relative_error(*lifted) < 1e-6


def test_a_mask_is_its_own():
    known = torch.zeros(4, 4, dtype=torch.bool)
    mask = Mask(known)
    known[:] = True
    assert not mask.mask.any()


def test_a_seed_draws_the_same_whatever_the_default_dtype():
    zeros = torch.zeros(1, 1, 4, 4)
    makers = (
        lambda: Mask.random(0.5, 8, 8, generator()).mask,
        lambda: Snapshot.random(2, 8, 8, generator()).codes,
        lambda: torch.tensor(Shift.random(2.0, 4, generator()).offsets),
        lambda: torch.tensor(DropFrames.random(0.5, 9, generator()).kept),
        lambda: simulate(zeros, Identity(), 0.1, generator=generator()).measurement,
    )
    usual = [make() for make in makers]
    try:
        torch.set_default_dtype(torch.float64)
        for make, expected in zip(makers, usual, strict=True):
            assert torch.equal(make().to(expected), expected)
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_part_is_found_in_a_composition_that_is_not_linear():
    operator = Gamma(2.2) @ GaussianBlur(1.0) @ TemporalAverage(7)
    assert find_parts(operator, TemporalAverage) == [TemporalAverage(7)]
    changed = replace_part(operator, TemporalAverage, lambda _: TemporalAverage(3))
    assert repr(changed) == repr(Gamma(2.2) @ GaussianBlur(1.0) @ TemporalAverage(3))


def test_what_has_two_parts_of_its_own_is_not_taken_apart():
    class Mine:
        outer, inner = TemporalAverage(3), TemporalAverage(5)

    assert find_parts(Mine(), TemporalAverage) == []


# Composition


@pytest.mark.parametrize(
    "op",
    [Plain() @ GaussianBlur(1.0), GaussianBlur(1.0) @ Plain(), Plain() @ (Scale(2.0) @ Scale(3.0))],
)
def test_a_users_plain_class_composes_on_either_side(op):
    x = noise(2, 1, 4, 5)
    assert torch.equal(op.forward(x), op.outer.forward(op.inner.forward(x)))
    assert check_adjoint(op, x.shape) < 1e-14


def test_composition_is_associative_and_reads_as_written():
    A, B, C = AveragePool(2), GaussianBlur(1.0), TemporalAverage(3)
    x = noise(3, 1, 4, 6)
    assert torch.equal(((A @ B) @ C).forward(x), (A @ (B @ C)).forward(x))
    written = (
        "AveragePool(factor=2) @ GaussianBlur(sigma=1.0, boundary='reflect') @ "
        "TemporalAverage(window=3, boundary='circular')"
    )
    assert repr((A @ B) @ C) == repr(A @ (B @ C)) == written
    assert repr(Blur([[1.0, 0.0, 2.0]])) == "Blur(kernel=<1x3>, boundary='reflect')"
    assert repr(Mask.box(0, 0, 1, 2, 2, 4)) == "Mask(<2x4, 75.0% known>)"


def test_composing_with_what_is_no_operator_is_refused():
    with pytest.raises(InputError, match="inner 3 is no operator"):
        Composition(GaussianBlur(1.0), 3)


# Errors

VIDEO = torch.zeros(4, 3, 6, 8)
ERRORS = {
    "even window": (lambda: TemporalAverage(4), "window 4.*take 3 or 5"),
    "no window": (lambda: TemporalAverage(0), "window 0"),
    "unknown boundary": (lambda: GaussianBlur(1.0, "reflct"), "'reflct'.*did you mean 'reflect'"),
    "unknown boundary in time": (lambda: TemporalAverage(3, "wrap"), "'wrap'"),
    "no sigma": (lambda: GaussianBlur(0.0), "sigma 0.0"),
    "negative sigma": (lambda: GaussianBlur(-1.0), "sigma -1.0"),
    "sigma that is not a number": (lambda: GaussianBlur(float("nan")), "sigma nan"),
    "sigma that is a word": (lambda: GaussianBlur("wide"), "sigma 'wide' is not a number above 0"),
    "negative length": (lambda: MotionBlur(-2.0), "length -2.0"),
    "even kernel": (lambda: Blur(torch.ones(3, 4)), r"kernel of shape \(3, 4\)"),
    "kernel with NaN": (lambda: Blur([[float("nan")]]), "kernel has values that are not finite"),
    "no factor": (lambda: AveragePool(0), "factor 0"),
    "pool that does not divide": (
        lambda: AveragePool(4).forward(VIDEO),
        "height 6.*factor 4.*4.*8",
    ),
    "bicubic that does not divide": (lambda: BicubicDownsample(3).forward(VIDEO), "width 8.*6.*9"),
    "mask of another size": (
        lambda: Mask(torch.ones(6, 9)).forward(VIDEO),
        r"\(6, 9\).*\(4, 3, 6, 8\).*height 6 and width 8",
    ),
    "mask of other frames": (
        lambda: Mask(torch.ones(3, 1, 6, 8)).forward(VIDEO),
        r"\(3, 1, 6, 8\)",
    ),
    "grey mask": (lambda: Mask(torch.full((6, 8), 0.5)), "expected only 0 and 1"),
    "mask of integers": (lambda: Mask(torch.full((6, 8), 255)), "expected only 0 and 1"),
    "mask of one axis": (lambda: Mask(torch.ones(6)), r"\(6,\)"),
    "mask of three axes": (lambda: Mask(torch.ones(3, 6, 8)), r"\(3, 6, 8\).*\(frames, 1 or"),
    "no pixel kept": (lambda: Mask.random(0.0, 6, 8, generator()), "keep 0.0"),
    "too many kept": (lambda: Mask.random(1.5, 6, 8, generator()), "keep 1.5"),
    "box beyond the frame": (lambda: Mask.box(0, 0, 7, 8, 6, 8), "rows 0:7.*6x8"),
    "no gain": (lambda: Scale(0.0), "gain 0.0"),
    "gray of one channel": (lambda: Grayscale().forward(VIDEO[:, :1]), "1 channels.*expects 3"),
    "frames that do not divide": (
        lambda: TemporalSubsample(3).forward(VIDEO),
        r"4 frames.*TemporalSubsample\(3, frames=4\)",
    ),
    "other frames than promised": (
        lambda: TemporalSubsample(2, frames=5).forward(VIDEO),
        "4 frames.*expects 5",
    ),
    "measurement of other frames": (
        lambda: TemporalSubsample(2, frames=5).adjoint(VIDEO),
        "4 frames.*5 frames one in 2 makes 3",
    ),
    "no frames to subsample": (lambda: TemporalSubsample(2, frames=0), "frames 0 is not a whole"),
    "part of a frame": (lambda: Snapshot(torch.ones(2, 6, 8), frames=4.5), "frames 4.5 is not"),
    "stack of another video": (
        lambda: Stack([Identity()], (1, 1, 2, 2)).forward(VIDEO),
        r"\(4, 3, 6, 8\).*\(1, 1, 2, 2\)",
    ),
    "stack of another measurement": (
        lambda: Stack([Identity()], (1, 1, 2, 2)).adjoint(torch.zeros(5)),
        r"\(5,\).*4 values",
    ),
    "stack of nothing": (lambda: Stack([], (1, 1, 2, 2)), r"operators \(\)"),
    "unknown task": (lambda: task_named("deblr"), "'deblr'.*did you mean 'deblur'"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_name_the_value_and_the_way_out(case):
    action, message = ERRORS[case]
    with pytest.raises(InputError, match=message):
        action()


def test_a_measurement_of_a_stack_that_is_no_vector_is_refused():
    stack = Stack([Identity(), Identity()], (1, 1, 2, 2))
    with pytest.raises(InputError, match="expects a vector of 8 values"):
        stack.adjoint(torch.zeros(8, 1))
