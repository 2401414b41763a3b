"""Following a motion: its linear map, its bounds, and finding it."""

import math

import pytest
import torch
from dense import generator, noise

from visionxl.operators import GaussianBlur
from visionxl.solvers.directions import Directions, differences
from visionxl.solvers.motion import (
    CROWDED,
    PAYS,
    Motion,
    arrival_bytes,
    optical_flow,
    places_of,
    sampled,
)
from visionxl.solvers.total_variation import NORM_MOVED, add_adjoint, add_carried
from visionxl.solvers.trajectories import Trajectories

WEIGHTS = {"nothing": 0.0, "less than a pixel": 0.4, "far": 3.0, "out of the frame": 40.0}


def flow_of(size, shape=(3, 2, 12, 13), seed=0):
    return size * noise(*shape, seed=seed)


def texture(height, width, seed=0):
    """Three colours with detail at many sizes, in [-1, 1]."""
    rough = noise(1, 3, height, width, seed=seed, dtype=torch.float32)
    made = sum(s * GaussianBlur(s).forward(rough) for s in (1.5, 3.0, 6.0))
    return (made / made.abs().max()).squeeze(0)


@pytest.mark.parametrize("size", WEIGHTS.values(), ids=WEIGHTS)
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_the_way_back_is_the_adjoint_of_the_way_ahead(size, dtype, limit):
    motion = Motion.along(flow_of(size).to(dtype))
    x, q = noise(3, 2, 12, 13, seed=1, dtype=dtype), noise(3, 2, 12, 13, seed=2, dtype=dtype)
    ahead = torch.stack([motion.ahead(t, x[t]) for t in range(3)])
    left, right = (ahead * q).sum().item(), (x * motion.back(0, q)).sum().item()
    assert abs(left - right) <= limit * ahead.norm().item() * q.norm().item()
    later = motion.back(1, q[1:])
    torch.testing.assert_close(later, motion.back(0, q)[1:])
    quick = motion.prepared(PAYS)
    assert len(quick.arrivals) == 3
    left, right = (ahead * q).sum().item(), (x * quick.back(0, q)).sum().item()
    assert abs(left - right) <= limit * ahead.norm().item() * q.norm().item()
    for first in range(3):
        torch.testing.assert_close(quick.back(first, q[first:]), motion.back(first, q[first:]))


def test_the_adjoint_is_prepared_where_it_pays_and_fits(monkeypatch):
    motion, q = Motion.along(flow_of(1.0)), noise(3, 2, 12, 13)
    assert motion.prepared(PAYS - 1) is motion
    monkeypatch.setattr("visionxl.solvers.motion.SORTED", 2 * 12 * 13 + 1)
    assert motion.prepared(PAYS) is motion  # too few to be worth it
    assert arrival_bytes(4, 12 * 13) == 0
    monkeypatch.setattr("visionxl.solvers.motion.FEWEST", 2)
    partly = motion.prepared(PAYS)
    assert len(partly.arrivals) == 2
    taken = sum(t.nbytes for a in partly.arrivals for t in (a.sources, a.weights.float(), a.ends))
    assert taken == arrival_bytes(4, 12 * 13) + 2 * 4
    torch.testing.assert_close(partly.back(0, q), motion.back(0, q))
    torch.testing.assert_close(partly.back(0, q[:2]), motion.back(0, q[:2]))


@pytest.mark.parametrize("size", WEIGHTS.values(), ids=WEIGHTS)
def test_differences_along_a_motion_have_their_adjoint_and_their_bound(size):
    motion = Motion.along(flow_of(size))
    video = 0.3 * noise(4, 2, 12, 13, seed=3)
    directions = Directions.of(video, 1.0, 1.0, motion)
    directions.planes[:] = torch.tensor([1.0, 1, 0, 1]).view(1, 4, 1, 1)  # T = 1

    def forward(x):
        pairs = zip(x, [*x[1:], None], strict=True)
        out = x.new_empty(3, *x.shape[1:])
        return torch.stack(
            [differences(a, b, out, t, motion).clone() for t, (a, b) in enumerate(pairs)]
        )

    def adjoint(q):
        x = torch.zeros_like(video)
        for t, frame in enumerate(x):
            here = q[t].clone()
            here[0].mul_(motion.seen[t] if t < 3 else 0)
            here[1, :, -1] = 0
            here[2, ..., -1] = 0
            add_adjoint(frame, here, 1.0)
        add_carried(x, q, directions, 1.0)
        return x

    q = noise(4, 3, 2, 12, 13, seed=4)
    left, right = (forward(video) * q).sum().item(), (video * adjoint(q)).sum().item()
    assert left == pytest.approx(right, rel=1e-9)
    x = noise(4, 2, 12, 13, seed=5)
    for _ in range(200):  # the power method
        x = adjoint(forward(x / x.norm()))
    assert 7 < x.norm().item() < NORM_MOVED


@pytest.mark.parametrize("height", [16, 24, 37, 288])
def test_a_frame_is_sampled_by_parts_as_it_is_whole(height):
    picture, flow = noise(3, height, 34), flow_of(3.0, (2, height, 34))
    places = places_of(flow)
    whole = torch.nn.functional.grid_sample(
        picture[None], places[None], mode="bicubic", padding_mode="border", align_corners=False
    )
    assert torch.equal(sampled(picture, places), whole[0])


def test_whole_pixels_are_moved_exactly():
    frame = noise(2, 6, 7)
    flow = torch.zeros(1, 2, 6, 7).double()
    flow[:, 0], flow[:, 1] = 2.0, -1.0  # two columns on, one row back
    motion = Motion.along(flow)
    expected = frame[:, :-1, 2:]
    torch.testing.assert_close(motion.ahead(0, frame)[:, 1:, :-2], expected)
    seen = torch.ones(6, 7).double()
    seen[0], seen[:, -2:] = 0, 0
    torch.testing.assert_close(motion.seen[0], seen)


def test_a_pixel_that_leaves_by_a_part_counts_for_the_rest():
    flow = torch.zeros(1, 2, 5, 6).double()
    flow[:, 0], flow[:, 1] = -0.25, 1e-3  # a quarter of a column back, hardly down
    expected = torch.ones(5, 6).double()
    expected[:, 0] = 0.75
    expected[-1] *= 1 - 1e-3
    torch.testing.assert_close(Motion.along(flow).seen[0], expected)


def test_half_a_pixel_of_a_wave_is_nearly_exact():
    x = torch.arange(40).double()
    wave = torch.sin(2 * math.pi * x / 10).expand(1, 9, 40)
    flow = torch.zeros(1, 2, 9, 40).double()
    flow[:, 0] = 0.5
    moved = Motion.along(flow).ahead(0, wave)[..., 5:-5]
    expected = torch.sin(2 * math.pi * (x + 0.5) / 10).expand(1, 9, 40)[..., 5:-5]
    assert (moved - expected).abs().max() < 0.03


def test_where_many_pixels_meet_they_count_less():
    flow = torch.zeros(1, 2, 9, 30).double()
    flow[:, 0] = torch.linspace(10, -10, 30)  # towards the middle, three to one
    motion = Motion.along(flow)
    middle = motion.seen[0, 4, 12:18]
    assert middle.max() < 1
    assert middle.min() > CROWDED / 5
    spread = Motion.along(-0.3 * flow)  # apart
    assert spread.seen[0, 4, 12:18].min() == 1


@pytest.mark.parametrize("move", [(0, 0), (1, 0), (-2, 3), (4, -1)], ids=str)
def test_it_finds_a_camera_that_moves(move):
    picture = texture(96, 112)
    frames = [picture.roll((t * move[0], t * move[1]), (-2, -1)) for t in range(3)]
    flow = optical_flow(torch.stack(frames)[..., 16:-16, 16:-16])
    assert flow.shape == (2, 2, 64, 80)
    expected = torch.tensor([move[1], move[0]]).view(1, 2, 1, 1).float()
    error = (flow - expected).square().sum(1).sqrt()[:, 8:-8, 8:-8]
    assert error.median() < 0.1
    assert error.quantile(0.95) < 0.5


def test_a_fine_search_sees_motions_that_only_fine_detail_shows():
    height, width = 96, 112
    spot = torch.zeros(1, 3, height, width)
    spot[..., 40:56, 40:56] = 1
    fine = GaussianBlur(0.6).forward(noise(1, 3, height, width, dtype=torch.float32))
    picture = fine - GaussianBlur(1.5).forward(fine)  # nothing of it is left at half the size
    ahead = torch.where(spot > 0, picture.roll(1, -1), picture)
    video = torch.cat([picture, ahead])
    errors = [(optical_flow(video, f)[0, 0, 43:52, 43:52] - 1).abs().mean() for f in (False, True)]
    assert errors[1] < 0.5 * errors[0]
    found = Trajectories.of(video, fine=True)
    torch.testing.assert_close(found.ahead, optical_flow(video, fine=True), rtol=0, atol=1e-4)
    motion = Motion.of(video, fine=True)
    assert motion is not None
    torch.testing.assert_close(motion.places, places_of(optical_flow(video, fine=True)))


def test_dark_and_bright_videos_move_alike():
    picture = texture(64, 80)
    frames = torch.stack([picture, picture.roll(1, -1)])
    dark = optical_flow(0.05 * frames - 0.9)
    assert (dark - optical_flow(frames)).abs().max() < 0.05


def test_no_other_frame_changes_what_is_found_between_two():
    picture = texture(64, 80)
    frames = torch.stack([picture, picture.roll(1, -1), 3 * picture.roll(5, -1) + 1])
    assert torch.equal(optical_flow(frames)[:1], optical_flow(frames[:2]))


def test_there_is_none_in_one_frame_or_small_ones():
    rough = noise(3, 3, 40, 48, seed=1)
    assert Motion.of(rough[:1]) is None
    assert Motion.of(rough[..., :31, :]) is None
    assert Motion.of(rough[..., :31]) is None
    assert Motion.of(rough) is not None


def test_it_keeps_the_type_and_leaves_the_threads_alone():
    import cv2

    threads = cv2.getNumThreads()
    video = torch.rand(2, 3, 40, 48, generator=generator(0), dtype=torch.float64)
    motion = Motion.of(video)
    assert motion is not None
    assert motion.places.dtype == motion.seen.dtype == torch.float64
    assert cv2.getNumThreads() == threads


def test_a_few_pixels_far_beyond_the_others_do_not_hide_a_motion():
    picture = texture(96, 112)
    frames = torch.stack([picture.roll(2 * t, -1) for t in range(2)])[..., 16:-16, 16:-16]
    frames[..., 3, 3] = 1000.0
    frames[..., 60, 70] = -1000.0
    error = (optical_flow(frames)[0] - torch.tensor([2.0, 0.0]).view(2, 1, 1))[:, 8:-8, 8:-8]
    assert error.square().sum(0).sqrt().median() < 0.1
