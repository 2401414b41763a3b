"""The structure tensor's directions: against an eigendecomposition, and of known videos."""

import math

import pytest
import torch
from command_line import moving_scene
from dense import gradient, noise

from visionxl.solvers.directions import LEFT, Directions, differences, inverse_root
from visionxl.solvers.motion import Motion

FLOOR = 0.02
WHERE = (1, 5, 6)  # away from the borders


def matrices(planes):
    """Three planes hh, hw and ww as (height, width, 2, 2)."""
    hh, hw, ww = planes
    return torch.stack([torch.stack([hh, hw], -1), torch.stack([hw, ww], -1)], -2)


def entries(square):
    """The other way round."""
    return square[..., 0, 0], square[..., 0, 1], square[..., 1, 1]


def with_eigenvalues(*values):
    """Symmetric matrices in random bases."""
    basis = torch.linalg.qr(noise(8, 9, 2, 2)).Q
    return basis @ torch.diag(torch.tensor(values).double()) @ basis.mT


def gram(rank, size=1.0):
    """Random ones of a rank."""
    half = size * noise(20, 30, 2, rank, seed=rank)
    return half @ half.mT


TENSORS = {
    "random": gram(2),
    "large": gram(5, size=10.0),
    "rank 1": gram(1),
    "nothing": gram(1, size=0.0),
    "equal": with_eigenvalues(0.3, 0.3),
    "nearly equal": with_eigenvalues(0.3 + 1e-9, 0.3),
    "far apart": with_eigenvalues(0.7, 1e-6),
    "diagonal": torch.diag(torch.tensor([0.2, 0.9]).double()).expand(4, 5, 2, 2),
}


# The root


@pytest.mark.parametrize("floor", [0.01, 0.1])
@pytest.mark.parametrize("name", TENSORS)
def test_the_inverse_root_is_that_of_the_eigendecomposition(name, floor):
    tensor = TENSORS[name]
    planes, least = inverse_root(*entries(tensor), floor)
    values, vectors = torch.linalg.eigh(tensor + floor**2 * torch.eye(2).double())
    expected = (vectors * values.rsqrt().unsqueeze(-2)) @ vectors.mT
    torch.testing.assert_close(floor * matrices(planes), floor * expected, rtol=0, atol=1e-8)
    torch.testing.assert_close(least, values[..., 0], rtol=1e-6, atol=0)


# Known videos


def directions_of(video, floor=FLOOR, reach=1.0, motion=None):
    return Directions.of(video, floor, reach, motion)


def size_along(video, time, *place, motion=None):
    """``floor |T m|`` in the middle: 1 where nothing changes that way."""
    t, row, column = WHERE
    planes = directions_of(video, motion=motion).planes[t]
    unit = torch.tensor(place).double()
    in_frame = matrices(planes[1:])[row, column] @ unit
    size = math.hypot(time * planes[0, row, column].item(), in_frame.norm().item())
    return FLOOR * size / math.hypot(time, *place)


def test_nothing_may_change_in_a_flat_video():
    found = directions_of(torch.full((3, 2, 4, 5), 0.7).double())
    one, none = torch.full((4, 5), 1 / FLOOR).double(), torch.zeros(4, 5).double()
    for t in range(3):
        torch.testing.assert_close(found.planes[t], torch.stack([one, one, none, one]))
    torch.testing.assert_close(found.least, torch.full((3, 4, 5), FLOOR**2).double())


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
    found = matrices(directions_of(video).planes[1, 1:])[20, 20]
    across = 1 / math.sqrt(3 * slope**2 + FLOOR**2)  # three colours
    torch.testing.assert_close(found, torch.diag(torch.tensor([1 / FLOOR, across]).double()))


def test_the_size_in_time_is_what_is_left_of_its_own():
    slope = 0.05
    video = slope * torch.arange(4).double().view(-1, 1, 1, 1).expand(-1, 3, 5, 6)
    found = directions_of(video).planes[1, 0]
    expected = 1 / math.sqrt(3 * (LEFT * slope) ** 2 + FLOOR**2)
    torch.testing.assert_close(found, torch.full_like(found, expected))


@pytest.mark.parametrize("axis", [-2, -1])
def test_what_moves_may_not_change_along_its_motion(axis):
    picture = 0.5 * noise(3, 20, 21)
    video = torch.stack([picture.roll(t, axis) for t in range(4)])[..., 4:16, 4:17]
    flow = torch.zeros(3, 2, 12, 13).double()
    flow[:, 0 if axis == -1 else 1] = 1.0
    followed = size_along(video, 1, 0, 0, motion=Motion.along(flow))
    assert followed == pytest.approx(1, abs=1e-3)
    assert size_along(video, 1, 0, 0) < 0.2


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
    far = [directions_of(video, reach=reach).planes[0, 3, 4, 4].item() for reach in (0.5, 2.0, 4.0)]
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
    assert found.planes.shape == (frames, 4, height, width)
    assert found.least.shape == (frames, height, width)
    assert found.planes.dtype == found.least.dtype == dtype
    in_frame = [torch.linalg.matrix_norm(matrices(p[1:]), ord=2) for p in found.planes]
    norms = torch.maximum(torch.stack(in_frame), found.planes[:, 0])
    torch.testing.assert_close(found.least * norms.square(), torch.ones_like(norms))
    assert torch.equal(video, before)


def test_float32_is_near_float64():
    video = moving_scene(3, 16, 24) + 0.02 * noise(3, 3, 16, 24, dtype=torch.float32)
    single, double = (directions_of(v, floor=0.01, reach=2.0) for v in (video, video.double()))
    torch.testing.assert_close(
        0.01 * single.planes.double(), 0.01 * double.planes, rtol=0, atol=2e-4
    )


def test_turning_is_a_symmetric_matrix_at_each_pixel():
    found = directions_of(0.2 * noise(3, 2, 6, 7))
    p, q = noise(3, 2, 6, 7, seed=1), noise(3, 2, 6, 7, seed=2)
    for t in range(3):
        turned_p, turned_q = (found.applied(t, x, torch.full_like(x, math.nan)) for x in (p, q))
        in_frame = torch.einsum("hwij,jchw->ichw", matrices(found.planes[t, 1:]), p[1:])
        expected = torch.cat([(found.planes[t, 0] * p[0]).unsqueeze(0), in_frame])
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
