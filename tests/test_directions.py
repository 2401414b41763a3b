"""The structure tensor's directions: against an eigendecomposition, and of known videos."""

import math

import pytest
import torch
from command_line import moving_scene
from dense import generator, gradient, noise

from visionxl.solvers.directions import Directions, differences, inverse_root

FLOOR = 0.02
WHERE = (1, 5, 6)  # away from the borders
ENTRIES = {(0, 0): 0, (0, 1): 1, (0, 2): 2, (1, 1): 3, (1, 2): 4, (2, 2): 5}


def matrices(planes):
    """Six planes of entries (6, height, width) as (height, width, 3, 3)."""
    rows = [[planes[ENTRIES[min(i, j), max(i, j)]] for j in range(3)] for i in range(3)]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def entries(square):
    """The other way round."""
    return torch.stack([square[..., i, j] for i, j in ENTRIES])


def with_eigenvalues(*values):
    """Symmetric matrices in random bases."""
    basis = torch.linalg.qr(noise(8, 9, 3, 3)).Q
    return basis @ torch.diag(torch.tensor(values).double()) @ basis.mT


def gram(rank, size=1.0):
    """Random ones of a rank."""
    half = size * noise(20, 30, 3, rank, seed=rank)
    return half @ half.mT


TENSORS = {
    "random": gram(3),
    "large": gram(5, size=10.0),
    "rank 1": gram(1),
    "rank 2": gram(2),
    "nothing": gram(1, size=0.0),
    "all equal": with_eigenvalues(0.3, 0.3, 0.3),
    "two high": with_eigenvalues(0.7, 0.7, 0.1),
    "two low": with_eigenvalues(0.7, 0.1, 0.1),
    "two nearly equal": with_eigenvalues(0.7, 0.1 + 1e-9, 0.1),
    "all nearly equal": with_eigenvalues(0.3 + 1e-8, 0.3 + 1e-9, 0.3),
    "diagonal": torch.diag(torch.tensor([0.2, 0.9, 0.0]).double()).expand(4, 5, 3, 3),
}


# The root


@pytest.mark.parametrize("floor", [0.01, 0.1])
@pytest.mark.parametrize("name", TENSORS)
def test_the_inverse_root_is_that_of_the_eigendecomposition(name, floor):
    tensor = TENSORS[name]
    planes, least = inverse_root(entries(tensor), floor)
    values, vectors = torch.linalg.eigh(tensor + floor**2 * torch.eye(3).double())
    expected = (vectors * values.rsqrt().unsqueeze(-2)) @ vectors.mT
    torch.testing.assert_close(floor * matrices(planes), floor * expected, rtol=0, atol=1e-8)
    torch.testing.assert_close(least, values[..., 0], rtol=1e-6, atol=0)


# Known videos


def directions_of(video, floor=FLOOR, reach=1.0):
    return Directions.of(video, floor, reach)


def size_along(video, *direction):
    """``floor |T m|`` in the middle: 1 where nothing changes that way."""
    t, row, column = WHERE
    unit = torch.tensor(direction).double()
    square = matrices(directions_of(video).planes[t])[row, column]
    return FLOOR * (square @ unit).norm().item() / unit.norm().item()


def test_nothing_may_change_in_a_flat_video():
    found = directions_of(torch.full((3, 2, 4, 5), 0.7).double())
    for t in range(3):
        expected = torch.eye(3).double().expand(4, 5, 3, 3) / FLOOR
        torch.testing.assert_close(matrices(found.planes[t]), expected)
    torch.testing.assert_close(found.least, torch.full((3, 4, 5), FLOOR**2).double())
    assert found.usual == 0


EDGES = {"time": (0, 2), "height": (2, 6), "width": (3, 7)}  # axis, first place behind it
UNITS = {"time": (1, 0, 0), "height": (0, 1, 0), "width": (0, 0, 1)}


@pytest.mark.parametrize("axis", EDGES)
def test_a_video_may_change_across_an_edge_and_not_along_it(axis):
    video = torch.zeros(4, 3, 12, 13).double()
    dim, place = EDGES[axis]
    video.narrow(dim, place, video.shape[dim] - place).fill_(0.5)
    for other, unit in UNITS.items():
        size = size_along(video, *unit)
        assert size < 0.1 if other == axis else size == pytest.approx(1, abs=1e-6)


def test_the_size_across_a_slope_is_its_own():
    slope = 0.05
    video = slope * torch.arange(40).double().expand(3, 3, 40, 40)
    found = matrices(directions_of(video).planes[1])[20, 20]
    across = 1 / math.sqrt(3 * slope**2 + FLOOR**2)  # three colours
    torch.testing.assert_close(found, torch.diag(torch.tensor([1 / FLOOR] * 2 + [across]).double()))


def shifted(picture, axis, pixels):
    """4 frames of 12x13, each showing the picture ``pixels`` further on along an axis."""
    frames = [picture.roll(t * pixels, axis) for t in range(4)]
    return torch.stack(frames)[..., 4:16, 4:17]


@pytest.mark.parametrize(("axis", "motion"), [(-2, (1, -1, 0)), (-1, (1, 0, -1))])
def test_a_texture_may_not_change_along_its_motion(axis, motion):
    video = shifted(0.5 * noise(3, 20, 21), axis, -1)  # differences are forward ones: no rounding
    assert size_along(video, *motion) == pytest.approx(1, abs=1e-3)
    for unit in (*UNITS.values(), [-motion[0], *motion[1:]]):
        assert size_along(video, *unit) < 0.75
    assert size_along(video, *map(abs, motion)) < 0.1


@pytest.mark.parametrize("speed", [-2, -1, 1, 2])
@pytest.mark.parametrize("axis", [-2, -1])
def test_a_slope_may_not_change_along_its_motion(axis, speed):
    place = torch.arange(13).double() if axis == -1 else torch.arange(12).double()[:, None]
    times = torch.arange(4).double().view(-1, 1, 1, 1)
    video = (0.1 * (place - speed * times)).expand(4, 3, 12, 13)
    along, across = ((0, speed), (0, -1 / speed)) if axis == -1 else ((speed, 0), (-1 / speed, 0))
    assert size_along(video, 1, *along) == pytest.approx(1, abs=1e-3)
    assert size_along(video, 1, *across) < 0.15


def test_colours_count_together():
    video = moving_scene(3, 8, 12).double()
    found, reversed_ = (directions_of(v) for v in (video, video[:, [2, 0, 1]]))
    torch.testing.assert_close(found.planes, reversed_.planes)
    gray = video[:, :1]
    one, three = (directions_of(v) for v in (math.sqrt(3) * gray, gray.expand(-1, 3, -1, -1)))
    torch.testing.assert_close(one.planes, three.planes)


def test_a_larger_neighbourhood_sees_an_edge_from_further_away():
    video = torch.zeros(2, 1, 9, 21).double()
    video[..., 11:] = 0.5
    far = [directions_of(video, reach=reach).planes[0, 5, 4, 4].item() for reach in (0.5, 2.0, 4.0)]
    assert far[0] == pytest.approx(1 / FLOOR)
    assert far[0] > 1.5 * far[1] > 2 * far[2]


# The rest


@pytest.mark.parametrize("shape", [(3, 3, 8, 9), (1, 1, 5, 6), (2, 2, 1, 7)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_planes_belong_to_the_video(shape, dtype):
    video = 0.3 * noise(*shape, dtype=dtype)
    before = video.clone()
    found = directions_of(video)
    frames, _, height, width = shape
    assert found.planes.shape == (frames, 6, height, width)
    assert found.least.shape == (frames, height, width)
    assert found.planes.dtype == found.least.dtype == dtype
    norms = torch.stack([torch.linalg.matrix_norm(matrices(p), ord=2) for p in found.planes])
    torch.testing.assert_close(found.least * norms.square(), torch.ones_like(norms))
    assert torch.equal(video, before)


def test_float32_is_near_float64():
    video = moving_scene(3, 16, 24) + 0.02 * noise(3, 3, 16, 24, dtype=torch.float32)
    single, double = (directions_of(v, floor=0.01, reach=2.0) for v in (video, video.double()))
    torch.testing.assert_close(
        0.01 * single.planes.double(), 0.01 * double.planes, rtol=0, atol=2e-4
    )
    assert single.usual == pytest.approx(double.usual, rel=1e-5)


def test_the_usual_difference_is_a_root_mean_square():
    video = 0.3 * noise(4, 3, 40, 50)
    expected = gradient(video).square().sum((1, 2)).mean().sqrt().item()
    assert directions_of(video).usual == pytest.approx(expected, rel=0.01)
    assert directions_of(3 * video).usual == pytest.approx(3 * directions_of(video).usual)


def test_turning_is_a_symmetric_matrix_at_each_pixel():
    found = directions_of(0.2 * noise(3, 2, 6, 7))
    p, q = noise(3, 2, 6, 7, seed=1), noise(3, 2, 6, 7, seed=2)
    for t in range(3):
        turned_p, turned_q = (found.turn(t, x, torch.full_like(x, math.nan)) for x in (p, q))
        expected = torch.einsum("hwij,jchw->ichw", matrices(found.planes[t]), p)
        torch.testing.assert_close(turned_p, expected)
        assert (turned_p * q).sum().item() == pytest.approx((p * turned_q).sum().item(), rel=1e-10)


@pytest.mark.parametrize("shape", [(3, 2, 4, 5), (1, 3, 3, 4), (4, 1, 1, 6), (2, 1, 3, 1)])
def test_differences_are_forward_ones(shape):
    video, expected = noise(*shape), gradient(noise(*shape))
    for t, frame in enumerate(video):
        following = video[t + 1] if t + 1 < len(video) else None
        out = video.new_full(expected[t].shape, math.nan)
        assert torch.equal(differences(frame, following, out), expected[t])
        assert torch.equal(out, expected[t])
