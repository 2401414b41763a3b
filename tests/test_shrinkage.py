"""Shrinkage along the motion: its transform, what it takes off, and the finish of a method."""

import itertools
import math

import pytest
import torch
from attrs import evolve, field, frozen
from dense import generator, noise, relative_error

from visionxl import (
    GaussianPrior,
    InverseProblem,
    MotionShrinkage,
    restore,
    simulate,
    trajectory,
    vision_tv,
    vision_xl,
)
from visionxl.errors import InputError
from visionxl.operators import (
    AveragePool,
    Gamma,
    GaussianBlur,
    Identity,
    Mask,
    Scale,
    TemporalAverage,
    lift,
)
from visionxl.protocols import Correction
from visionxl.solvers import (
    ByWindow,
    ConstantSpread,
    Linearized,
    NoiseAware,
    SpaceTimeTV,
    Unchanged,
    gauss_newton,
    hosted,
    shrinkage,
)
from visionxl.solvers.determined import determined_share
from visionxl.solvers.shrinkage import LEAST, PATCH, STRIDE, TIMES, cosines, shrunk
from visionxl.solvers.trajectories import Trajectories

PRIOR = GaussianPrior.natural(8, 8)
LEVEL = PRIOR.schedule.level(0.1)
HALF = Mask((torch.arange(8) % 2 == 0).expand(8, 8))


def texture(height, width, seed=0):
    """Three colours with detail at many sizes, in [-1, 1]."""
    rough = noise(1, 3, height, width, seed=seed, dtype=torch.float32)
    made = sum(s * GaussianBlur(s).forward(rough) for s in (1.5, 3.0, 6.0))
    return (made / made.abs().max()).squeeze(0)


def passing(frames=6, height=48, width=64, step=2):
    """A texture that passes by the camera."""
    wide = texture(height, width + step * frames)
    return torch.stack([wide[..., step * t : step * t + width] for t in range(frames)])


def off(video, truth):
    return (video - truth).square().mean().sqrt().item()


# The transform


@pytest.mark.parametrize("size", [1, 3, 5, 8])
def test_cosines_are_orthonormal_and_begin_with_the_mean(size):
    matrix = cosines(size)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(size, dtype=torch.float64))
    torch.testing.assert_close(matrix[0], torch.full((size,), size**-0.5, dtype=torch.float64))
    k = torch.arange(1, size)
    crossings = (matrix[1:, 1:] * matrix[1:, :-1] < 0).sum(1)
    assert torch.equal(crossings, k)  # each one more than the one before


@pytest.mark.parametrize("shape", [(4, 3, 9, 14), (1, 1, 5, 20), (2, 4, 8, 8), (3, 3, 40, 33)])
def test_nothing_is_taken_off_for_no_error(shape):
    video = noise(*shape, dtype=torch.float32)
    assert relative_error(shrunk(video, 1e-12), video) < 1e-5


def test_it_is_what_the_definition_says(monkeypatch):
    """Patch by patch, coefficient by coefficient, of a video that stands still."""
    video, error = 0.3 * noise(7, 3, 11, 14), 0.2
    threshold, line, colour = LEAST * error, cosines(PATCH), cosines(3)
    expected = torch.empty_like(video)
    for t in range(7):
        first = [0, 0, 0, 1, 2, 2, 2][t]  # five frames, in their middle the frame but near an end
        around = list(range(first, first + TIMES))
        total, weights = torch.zeros(3, 11, 14), torch.zeros(11, 14)
        for i, j in itertools.product(range(0, 4, STRIDE), range(0, 7, STRIDE)):
            here = (slice(i, i + PATCH), slice(j, j + PATCH))
            patch = video[around][:, :, *here]
            basis = (cosines(5), colour, line, line)
            found = torch.einsum("tchw,at,bc,dh,ew->abde", patch, *basis)
            keep = found.abs() > threshold
            keep[0, :, 0, 0] = True
            back = torch.einsum("abde,at,bc,dh,ew->tchw", found * keep, *basis)
            weight = 1 / keep.sum()
            total[:, *here] += weight * back[t - first]
            weights[here] += weight
        expected[t] = total / weights
    assert Trajectories.of(video).ahead.abs().max() == 0  # too small to search
    for together in (10**6, 1):
        monkeypatch.setattr(shrinkage, "PATCHES_AT_ONCE", together)
        torch.testing.assert_close(shrunk(video, error), expected, rtol=0, atol=1e-6)


def test_other_devices_have_as_many_coefficients():
    """There it is a product of matrices, which no convolution's rounding enters."""
    basis, volume = torch.eye(PATCH**2), noise(5, 3, 20, 26, dtype=torch.float32)
    here = shrinkage._coefficients(volume, basis)
    there = shrinkage._coefficients(volume.to("meta"), basis.to("meta"))
    assert there.shape == here.shape == (5, 3, PATCH**2, 5 * 7)


def test_along_the_motion_noise_goes_and_detail_stays():
    truth = passing()
    noisy = truth + 0.05 * noise(*truth.shape, seed=1, dtype=torch.float32)
    found = shrunk(noisy, 0.05)
    still = torch.stack([shrunk(frame.unsqueeze(0), 0.05)[0] for frame in noisy])
    assert off(found, truth) < 0.4 * off(noisy, truth)
    assert off(found, truth) < 0.8 * off(still, truth)  # a frame alone tells less


def test_frames_around_are_moved_to_where_the_frame_is():
    video = passing(frames=7)
    paths = Trajectories.of(video)
    for t in range(7):
        first, stop = max(t - 2, 0), min(t + 4, 7)
        around = paths.around(video, t, first, stop)
        assert around.shape == (stop - first, *video.shape[1:])
        assert torch.equal(around[t - first], video[t])
        inner = (slice(None), slice(None), slice(8, -8), slice(12, -12))
        assert off(around[inner], video[t : t + 1][inner]) < 0.1 * off(
            video[first:stop][inner], video[t : t + 1][inner]
        )
    alone = Trajectories.of(video[:1]).around(video[:1], 0, 0, 1)
    assert torch.equal(alone, video[:1])


def test_a_clip_of_few_frames_takes_them_all():
    truth = passing(frames=3)
    noisy = truth + 0.05 * noise(*truth.shape, seed=1, dtype=torch.float32)
    found = [off(shrunk(noisy[:frames], 0.05)[:1], truth[:1]) for frames in (1, 2, 3)]
    assert found[0] > found[1] > found[2]


# The consistency


def test_a_measurement_is_restored_better_by_its_turns():
    truth = passing()
    mask = Mask.random(0.5, 48, 64, generator(2)) @ TemporalAverage(3)
    problem = simulate(truth, mask, 0.01, generator=generator(3))
    estimate = SpaceTimeTV().correct(torch.zeros_like(truth), problem, LEVEL).video
    found = MotionShrinkage().correct(estimate, problem, LEVEL)
    assert off(found.video, truth) < 0.9 * off(estimate, truth)
    assert (found.iterations, found.residuals) == (6, ())
    once = MotionShrinkage(turns=1).correct(estimate, problem, LEVEL)
    assert off(found.video, truth) < off(once.video, truth) < off(estimate, truth)


@pytest.mark.parametrize(("noise_std", "share"), [(0.01, 0.7), (0.05, 0.45)])
def test_where_all_is_measured_the_noise_does_not_come_back(noise_std, share):
    """What was shrunk is better than the measurement there, and counts at least as much."""
    truth = passing()
    problem = simulate(truth, Identity(), noise_std, generator=generator(3))
    found = MotionShrinkage().correct(problem.measurement, problem, LEVEL).video
    assert off(found, truth) < share * noise_std


def test_without_noise_it_changes_nothing():
    truth = passing(frames=3)
    problem = simulate(truth, AveragePool(2), 0.0, generator=generator(1))
    found = MotionShrinkage().correct(truth, problem, LEVEL)
    assert torch.equal(found.video, truth)
    assert (found.iterations, found.stopped) == (0, "no noise")


def test_little_noise_changes_little_of_what_is_measured():
    truth = passing(frames=3)
    changes = []
    for noise_std in (1e-4, 3e-4, 3e-3):
        problem = simulate(truth, Identity(), noise_std, generator=generator(1))
        changes.append(off(MotionShrinkage().correct(truth, problem, LEVEL).video, truth))
    assert changes[0] == 0  # as good as none
    assert 0 < changes[1] < 10 * 3e-4
    assert changes[1] < changes[2] < 10 * 3e-3


@pytest.mark.parametrize("wrong", [{"error": 0.0}, {"error": math.nan}, {"turns": 0}])
def test_wrong_numbers_are_named(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(InputError, match=f"{name} {value}"):
        MotionShrinkage(**wrong)


def test_a_hosted_video_is_finished_likewise():
    truth = passing(frames=5)
    problem = simulate(truth, AveragePool(2) @ TemporalAverage(3), 0.02, generator=generator(4))
    prior = GaussianPrior.natural(48, 64)
    sampler = vision_tv(count=14)
    whole = restore(problem, prior, sampler, generator=generator())
    there, parts = hosted(problem, sampler, "cpu")
    by_parts = restore(there, prior, parts, generator=generator())
    assert relative_error(by_parts.video, whole.video) < 1e-5


def test_a_video_in_windows_is_finished_nearly_likewise():
    truth = passing(frames=24)
    problem = simulate(truth, AveragePool(2) @ TemporalAverage(3), 0.02, generator=generator(4))
    estimate = SpaceTimeTV().correct(torch.zeros_like(truth), problem, LEVEL).video
    whole = MotionShrinkage().correct(estimate, problem, LEVEL).video
    windows = ByWindow(MotionShrinkage(), "cpu", core=8, context=7)
    found = windows.correct(estimate, problem, LEVEL).video
    assert off(found, whole) < 0.1 * off(whole, estimate)
    assert off(found, truth) < 1.01 * off(whole, truth)


def test_a_breakdown_is_passed_on():
    """An operator whose adjoint is none."""

    class Wrong:
        def forward(self, video):
            return video

        def adjoint(self, measurement):
            return -measurement

    problem = InverseProblem(Wrong(), 0.1 * noise(2, 1, 8, 8), 0.05)
    found = MotionShrinkage().correct(0.1 * noise(2, 1, 8, 8, seed=1), problem, LEVEL)
    assert found.stopped.startswith("breakdown")
    assert found.iterations == 1


# The finish of a method


@frozen
class Lighter:
    """A finish that can be told: everything a little lighter."""

    seen: list = field(factory=list)

    def correct(self, estimate, problem, level):
        self.seen.append(level.time)
        return Correction(estimate + 0.25, 99, residuals=(), stopped="lighter")


def test_the_finish_comes_once_and_last():
    truth = PRIOR.sample(4, 1, generator())
    problem = simulate(truth, AveragePool(2), 0.05, generator=generator(1))
    finish = Lighter()
    plain, finished = (
        list(trajectory(problem, PRIOR, evolve(vision_xl(), finish=f), generator=generator()))
        for f in (None, finish)
    )
    assert vision_xl().finish is None
    assert finish.seen == [vision_xl().times[-1]]
    for a, b in itertools.zip_longest(plain[:-1], finished[:-1]):
        assert torch.equal(a.corrected, b.corrected)
    assert torch.equal(finished[-1].corrected, plain[-1].corrected + 0.25)
    assert finished[-1].record.iterations == plain[-1].record.iterations
    assert finished[-1].record.data_residual > plain[-1].record.data_residual + 0.1


def test_the_default_ends_with_shrinkage_and_the_one_for_curves_too():
    assert vision_tv().finish == MotionShrinkage()
    assert gauss_newton().finish == Linearized(MotionShrinkage())


def test_it_works_behind_a_curve():
    """A finish is asked the linear problem there, and gains what it gains without the curve."""
    truth = passing()
    problem = simulate(truth, Gamma() @ GaussianBlur(1.0), 0.05, generator=generator(3))
    estimate = lift(problem.operator, problem.measurement)
    alone = Linearized(SpaceTimeTV(ConstantSpread(math.inf), data_iterations=10), rounds=3)
    estimate = alone.correct(estimate, problem, LEVEL).video
    found = Linearized(MotionShrinkage()).correct(estimate, problem, LEVEL)
    assert off(found.video, truth) < 0.9 * off(estimate, truth)


def test_a_finish_that_is_a_class_or_changes_the_shape_is_named():
    problem = InverseProblem(AveragePool(2), torch.zeros(2, 1, 4, 4), 0.1)
    with pytest.raises(InputError, match=r"finish MotionShrinkage is a class: add \(\)"):
        evolve(vision_xl(), finish=MotionShrinkage)

    class Half:
        def correct(self, estimate, problem, level):
            return Correction(estimate[:1], 0, residuals=(), stopped="")

    with pytest.raises(InputError, match="Half"):
        restore(problem, PRIOR, evolve(vision_xl(), finish=Half()), generator=generator())


@frozen
class Failing:
    """A finish that breaks down, with a video that is only partly corrected."""

    def correct(self, estimate, problem, level):
        return Correction(estimate, 3, residuals=(0.5,), stopped="breakdown: of the finish")


def test_a_finish_that_breaks_down_is_told():
    truth = PRIOR.sample(4, 1, generator())
    problem = simulate(truth, AveragePool(2), 0.05, generator=generator(1))
    sampler = evolve(vision_xl(), finish=Failing())
    with pytest.warns(UserWarning, match="breakdown: of the finish"):
        found = restore(problem, PRIOR, sampler, generator=generator())
    assert found.trace[-1].stopped == "breakdown: of the finish"
    assert found.trace[-1].iterations == 3


@frozen
class Darker:
    def correct(self, estimate, problem, level):
        return Correction(estimate - 1.5, 0, residuals=(), stopped="darker")


@pytest.mark.filterwarnings("ignore:.*result's values are beyond")
def test_a_finish_that_leaves_the_measurement_is_warned_of_beside_no_consistency_too():
    truth = PRIOR.sample(4, 1, generator())
    problem = simulate(truth, AveragePool(2), 0.05, generator=generator(1))
    sampler = evolve(vision_xl(consistency=Unchanged()), finish=Darker())
    with pytest.warns(UserWarning, match="does not explain its measurement"):
        restore(problem, PRIOR, sampler, generator=generator())


def test_the_error_falls_from_the_first_turn_to_a_fifth_in_the_last(monkeypatch):
    errors = []

    def told(video, error, paths):
        errors.append(error)
        return video

    monkeypatch.setattr(shrinkage, "shrunk", told)
    problem = InverseProblem(AveragePool(2), torch.zeros(2, 3, 4, 4), 0.1)
    MotionShrinkage(error=0.05, turns=3).correct(torch.zeros(2, 3, 8, 8), problem, LEVEL)
    assert errors == pytest.approx([0.05, 0.05 / 5**0.5, 0.01])


@pytest.mark.parametrize(
    ("operator", "least", "most"),
    [(Identity(), 0.01, 0.0101), (AveragePool(4), 0.049, 0.05), (HALF, 0.025, 0.04)],
    ids=["all measured", "little measured", "half measured"],
)
def test_with_little_noise_the_error_is_small_as_far_as_the_video_is_measured(
    operator, least, most, monkeypatch
):
    errors = []

    def told(video, error, paths):
        errors.append(error)
        return video

    monkeypatch.setattr(shrinkage, "shrunk", told)
    video = torch.zeros(2, 3, 8, 8)
    problem = InverseProblem(operator, operator.forward(video), 0.002)
    MotionShrinkage(error=0.05).correct(video, problem, LEVEL)
    assert least <= errors[0] <= most


def test_the_motion_is_that_of_the_estimate_in_all_turns():
    truth = passing(frames=6)
    problem = simulate(truth, GaussianBlur(1.0), 0.05, generator=generator(5))
    paths, video = Trajectories.of(problem.measurement), problem.measurement
    share = determined_share(problem.operator, video, 0.05)
    for error, spread in ((0.05, 0.05 * 2), (0.01, 0.01 * (2 - share**2))):
        cleaned = shrunk(video, error, paths)
        step = NoiseAware(ConstantSpread(spread))
        video = step.correct(cleaned, problem, LEVEL).video
    found = MotionShrinkage(turns=2).correct(problem.measurement, problem, LEVEL).video
    torch.testing.assert_close(found, video)


def test_little_noise_is_little_in_the_measurements_unit(monkeypatch):
    errors = []

    def told(video, error, paths):
        errors.append(error)
        return video

    monkeypatch.setattr(shrinkage, "shrunk", told)
    problem = InverseProblem(Scale(100.0), torch.zeros(2, 3, 8, 8), 0.2)
    MotionShrinkage(error=0.05, turns=1).correct(torch.zeros(2, 3, 8, 8), problem, LEVEL)
    assert errors == pytest.approx([5 * 0.2 / 100], rel=1e-3)


def test_a_path_goes_on_from_where_the_last_frame_has_led_it():
    place = torch.arange(20.0, dtype=torch.float64).expand(1, 6, 20) - 9.5
    away = torch.cat([0.3 * place, torch.zeros_like(place)]).expand(2, 2, 6, 20)
    found = Trajectories(away, away).around(place.expand(3, 1, 6, 20), 0, 0, 3)
    inside = (..., slice(5, 15))
    for steps in (1, 2):  # the interpolation is exact to a tenth of a pixel on a slope
        expected = 1.3**steps * place[inside]
        torch.testing.assert_close(found[steps][inside], expected, rtol=0, atol=0.1)
