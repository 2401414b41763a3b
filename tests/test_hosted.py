"""Videos in host memory, computed by pieces: the same answers, without a whole video at once."""

from dataclasses import dataclass
from functools import partial

import pytest
import torch
from attrs import evolve
from dense import generator

from visionxl import (
    ClosedForm,
    Correction,
    GaussianPrior,
    InputError,
    InverseProblem,
    NoiseAware,
    PlainCG,
    SpaceTimeTV,
    restore,
    simulate,
    vision_tv,
    vision_xl,
)
from visionxl.metrics import psnr
from visionxl.operators import (
    AveragePool,
    DropFrames,
    GaussianBlur,
    Mask,
    MotionBlur,
    RollingShutter,
    Shift,
    TemporalAverage,
    VaryingBlur,
    interlaced,
)
from visionxl.operators.cutting import operator_at
from visionxl.operators.reach import Reach, reach_of
from visionxl.solvers import ByWindow, hosted
from visionxl.solvers.hosted_closed_form import HostedClosedForm, _placed
from visionxl.solvers.hosted_operator import HostedOperator
from visionxl.solvers.hosting import HostedLowPass, frames_together, keeps_modes
from visionxl.solvers.long import restore_windows
from visionxl.solvers.modes import Modes
from visionxl.solvers.motion import optical_flow
from visionxl.solvers.parts import ScheduledLowPass
from visionxl.solvers.placing import WindowSize
from visionxl.solvers.windows import LongProblem, windows_of
from visionxl.video import DEMO_CLIP, read_clip

PRIOR = GaussianPrior.natural(16, 16)
FRAMES = 40
WIDE = GaussianPrior.natural(16, 16 + FRAMES).sample(1, 3, generator())[0]
TRUTH = torch.stack([WIDE[..., t : t + 16] for t in range(FRAMES)])  # a camera that pans
ROUNDING = 3e-6
LEVEL = PRIOR.schedule.level(0.2)
AVERAGES = [TemporalAverage(7, boundary=boundary) for boundary in ("circular", "reflect")]
OPERATORS = {
    "blur": GaussianBlur(2.0),
    "circular average": GaussianBlur(2.0) @ AVERAGES[0],
    "reflected average": GaussianBlur(2.0) @ AVERAGES[1],
    "pooling": AveragePool(4) @ AVERAGES[0],
    "mask": Mask.random(0.5, 16, 16, generator()) @ AVERAGES[1],
    "mask of each colour": Mask(torch.rand(1, 3, 16, 16, generator=generator()).round()),
    "mask of each frame": interlaced(FRAMES, 16, 16) @ AVERAGES[0],
    "mask of any frame": Mask(torch.rand(FRAMES, 1, 16, 16, generator=generator()).round()),
    "shifts": AveragePool(4) @ Shift.random(2.0, FRAMES, generator()),
    "rolling": RollingShutter(2.5),
    "varying": VaryingBlur.radial(16, 16, (0.5, 1.5)),
}
each_operator = pytest.mark.parametrize("operator", OPERATORS.values(), ids=list(OPERATORS))
FACTORED = [*list(OPERATORS)[:6], "mask of any frame"]


def problem_of(operator, noise=0.05) -> InverseProblem:
    return simulate(TRUTH, operator, noise, generator=generator(1))


class Longest:
    """An operator that notes the most frames it was asked for."""

    def __init__(self, operator):
        self.operator, self.most = operator, 0

    def forward(self, video):
        self.most = max(self.most, len(video))
        return self.operator.forward(video)

    def adjoint(self, measurement):
        self.most = max(self.most, len(measurement))
        return self.operator.adjoint(measurement)

    def reach(self):
        return reach_of(self.operator)


@each_operator
@pytest.mark.parametrize("frames", [1, 3, 23, FRAMES])
def test_an_operator_by_pieces_is_the_operator(operator, frames):
    video, operator = TRUTH[:frames], operator_at(operator, range(frames), FRAMES)
    by_pieces, measured = HostedOperator(operator, "cpu"), operator.forward(video)
    torch.testing.assert_close(by_pieces.forward(video), measured)
    torch.testing.assert_close(by_pieces.adjoint(measured), operator.adjoint(measured))


def test_a_long_video_is_never_whole_on_the_device():
    noting = Longest(OPERATORS["circular average"])
    by_pieces = HostedOperator(noting, "cpu")
    by_pieces.adjoint(by_pieces.forward(TRUTH))
    assert noting.most < FRAMES


@pytest.mark.parametrize("name", FACTORED)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_closed_form_by_pieces_is_the_closed_form(name, layout):
    problem, estimate = problem_of(OPERATORS[name]), 0.9 * TRUTH
    expected = ClosedForm().correct(estimate, problem, LEVEL).video
    given = estimate.contiguous(memory_format=layout)
    hosted_form = HostedClosedForm(NoiseAware(), "cpu")
    found = hosted_form.correct(given, problem, LEVEL).video
    torch.testing.assert_close(found, expected, atol=ROUNDING, rtol=0)
    torch.testing.assert_close(given, estimate)  # it has not been written into


def test_where_the_estimate_is_nearly_free_float32_solves_as_float64_does():
    """Its many weak modes are measured, too: without those it would be 3e-4 away."""
    operator = GaussianBlur(3.0)
    clip = read_clip(DEMO_CLIP, frames=3).video
    problem = simulate(clip, operator, 0.01, generator=generator(1))
    level = PRIOR.schedule.level(0.9)
    estimate = clip + 0.1 * torch.randn(clip.shape, generator=generator(2))
    double = evolve(problem, measurement=problem.measurement.double())
    expected = ClosedForm().correct(estimate.double(), double, level).video
    for consistency in (ClosedForm(), HostedClosedForm(NoiseAware(), "cpu")):
        found = consistency.correct(estimate, problem, level).video.double()
        assert (found - expected).norm() < 1e-5 * expected.norm()


def test_the_low_pass_by_pieces_is_the_low_pass():
    low_pass = ScheduledLowPass(4.0)
    expected = low_pass(TRUTH, LEVEL)
    assert not torch.equal(expected, TRUTH)
    torch.testing.assert_close(HostedLowPass(low_pass, "cpu")(TRUTH, LEVEL), expected)


@pytest.mark.parametrize("boundary", AVERAGES, ids=["circular", "reflect"])
def test_a_window_cuts_its_frames_in_the_order_of_its_places(boundary):
    numbers = torch.arange(FRAMES, dtype=torch.float32).view(-1, 1, 1, 1)
    for window in windows_of(boundary, FRAMES, core=7, context=5):
        cut = window.cut(numbers)
        assert len(cut) == window.size
        for frame in range(window.first, window.stop):
            assert cut[window.place(frame)].item() == frame
        assert window.core(cut).flatten().tolist() == list(range(window.first, window.stop))


@pytest.mark.parametrize("name", ["circular average", "reflected average"])
def test_total_variation_by_windows_differs_little_and_one_window_not_at_all(name):
    problem, estimate = problem_of(OPERATORS[name], 0.02), 0.9 * TRUTH
    consistency = SpaceTimeTV(iterations=30)
    expected = consistency.correct(estimate, problem, LEVEL).video
    far, near, whole = (
        ByWindow(consistency, "cpu", core=8, context=context).correct(estimate, problem, LEVEL)
        for context in (3, 12, FRAMES)
    )
    assert torch.equal(whole.video, expected)
    assert psnr(near.video, expected) > 42
    assert psnr(near.video, expected) > psnr(far.video, expected) + 1


@pytest.mark.filterwarnings("ignore:the result does not explain its measurement")
@each_operator
def test_a_hosted_run_is_the_run(operator):
    problem, sampler = problem_of(operator), vision_xl(count=10)
    expected = restore(problem, PRIOR, sampler, generator=generator(2))
    found = restore(*spread(hosted(problem, sampler, "cpu")), generator=generator(2))
    torch.testing.assert_close(found.video, expected.video, atol=ROUNDING, rtol=0)
    for ours, theirs in zip(found.trace, expected.trace, strict=True):
        assert ours.data_residual == pytest.approx(theirs.data_residual, rel=1e-4)


def test_a_composition_without_factors_is_solved_by_iteration_there_too():
    """It could have them, so only asking tells."""
    problem = problem_of(MotionBlur(3.0, 30.0) @ AVERAGES[0])
    sampler = vision_xl(count=7)
    expected = restore(problem, PRIOR, sampler, generator=generator(2)).video
    found = restore(*spread(hosted(problem, sampler, "cpu")), generator=generator(2)).video
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


class Clipped:
    """An operator that is not linear, and sees one frame at a time."""

    def forward(self, video):
        return video.clamp(-0.5, 0.5)

    def linearize(self, video):
        return Mask(video.abs() < 0.5)

    def lift(self, measurement):
        return measurement

    def reach(self):
        return Reach()


def test_a_hosted_method_is_not_tied_to_the_problem_it_was_made_for():
    masks = [Mask.random(0.5, 16, 16, generator(seed)) for seed in (5, 6)]
    first, second = (problem_of(mask, 0.0) for mask in masks)
    method = hosted(first, vision_xl(count=7), "cpu")[1]
    there = hosted(second, vision_xl(count=7), "cpu")[0]
    found = restore(there, PRIOR, method, generator=generator(2))
    expected = restore(second, PRIOR, vision_xl(count=7), generator=generator(2))
    torch.testing.assert_close(found.video, expected.video, atol=ROUNDING, rtol=0)


@dataclass
class WithoutHash:
    """An operator as one writes it: equal by value, so without a hash; and without factors."""

    blur: GaussianBlur

    def forward(self, video):
        return self.blur.forward(video)

    def adjoint(self, measurement):
        return self.blur.adjoint(measurement)

    def reach(self):
        return Reach()


def test_an_operator_without_hash_and_factors_is_hosted():
    problem = problem_of(WithoutHash(GaussianBlur(2.0)))
    found = restore(*spread(hosted(problem, vision_xl(count=7), "cpu")), generator=generator(2))
    expected = restore(problem, PRIOR, vision_xl(count=7), generator=generator(2))
    torch.testing.assert_close(found.video, expected.video, atol=1e-4, rtol=0)


def test_an_operator_that_is_not_linear_is_left_alone():
    problem = InverseProblem(Clipped(), TRUTH.clamp(-0.5, 0.5), 0.05)
    sampler = vision_xl()
    assert hosted(problem, sampler, "cpu") == (problem, sampler)


@pytest.mark.parametrize(("window", "frames"), [(7, 25), (31, 41)])
def test_the_frames_that_are_together_on_the_device(window, frames):
    """A window's context is as wide as the operator sees."""
    operator = GaussianBlur(1.0) @ TemporalAverage(window)
    assert frames_together(vision_tv(), operator) == frames
    counted = Widest()
    windowed = ByWindow(counted, "cpu")
    problem = InverseProblem(operator, torch.zeros(90, 3, 4, 4), 0.05)
    windowed.correct(torch.zeros(90, 3, 4, 4), problem, LEVEL)
    assert counted.most == frames


def test_larger_windows_are_kept_where_they_are_asked_for():
    problem, sampler = problem_of(OPERATORS["circular average"]), vision_tv(count=7)
    consistency = hosted(problem, sampler, "cpu", core=FRAMES)[1].consistency
    estimate = 0.9 * TRUTH
    expected = sampler.consistency.correct(estimate, problem, LEVEL).video
    assert torch.equal(consistency.correct(estimate, problem, LEVEL).video, expected)
    smaller = hosted(problem, sampler, "cpu")[1].consistency
    assert not torch.equal(smaller.correct(estimate, problem, LEVEL).video, expected)


def test_only_the_closed_form_keeps_modes_on_the_device():
    assert keeps_modes(vision_xl())
    assert not keeps_modes(vision_tv())


class Cramped:
    """A consistency for which memory runs out with more than some frames."""

    def __init__(self, most):
        self.most, self.asked = most, []

    def correct(self, estimate, problem, level):
        self.asked.append(len(estimate))
        if len(estimate) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return Correction(2 * estimate, 0, (), "")


def test_windows_get_smaller_where_memory_runs_out():
    problem = problem_of(OPERATORS["blur"])
    cramped = Cramped(30)
    with pytest.warns(UserWarning, match="ran out with windows of 40 frames: went on with 20"):
        found = ByWindow(cramped, "cpu", core=FRAMES).correct(TRUTH, problem, LEVEL)
    assert cramped.asked == [FRAMES, 27, 27]
    assert torch.equal(found.video, 2 * TRUTH)
    told = []
    told_size = WindowSize(FRAMES, told.append)
    ByWindow(Cramped(30), "cpu", told_size).correct(TRUTH, problem, LEVEL)
    assert told == [f"memory ran out with windows of {FRAMES} frames: went on with 20"]
    assert told_size.core == 20
    smallest = Cramped(3)
    with pytest.raises(torch.OutOfMemoryError):
        ByWindow(smallest, "cpu").correct(TRUTH, problem, LEVEL)
    assert smallest.asked == [18]


class Widest:
    """A consistency that notes the most frames it was asked for."""

    most = 0

    def correct(self, estimate, problem, level):
        self.most = max(self.most, len(estimate))
        return Correction(estimate, 0, (), "")


def test_a_hosted_run_with_total_variation_is_as_near_to_the_truth():
    problem, sampler = problem_of(OPERATORS["circular average"]), vision_tv(count=7)
    expected = restore(problem, PRIOR, sampler, generator=generator(2)).video
    found = restore(*spread(hosted(problem, sampler, "cpu")), generator=generator(2)).video
    assert psnr(found, TRUTH) > psnr(expected, TRUTH) - 0.3
    assert psnr(found, expected) > psnr(expected, TRUTH) + 6


def spread(pair):
    problem, sampler = pair
    return problem, PRIOR, sampler


def test_what_has_no_such_form_stays_as_it_is():
    sampler = vision_xl(consistency=PlainCG(3))
    problem, method = hosted(problem_of(OPERATORS["blur"]), sampler, "cpu")
    assert method.consistency == sampler.consistency
    assert isinstance(problem.operator, HostedOperator)
    dropped = DropFrames([True, False, True, True])
    unknown = simulate(TRUTH[:4], dropped, 0.05, generator=generator(1))
    assert hosted(unknown, sampler, "cpu") == (unknown, sampler)


# --- windows of a long clip, each of them hosted


def outer_windows(operator):
    """Windows of 24 frames of a clip of 40, those that go round its ends last."""
    windows = windows_of(operator, FRAMES, core=4, context=10)
    return sorted(windows, key=lambda w: w.begin < 0 or w.end > FRAMES)


def test_a_window_that_reaches_just_beyond_an_end_goes_round_too():
    operator, video = TemporalAverage(7), torch.rand(189, 1, 2, 2)
    outer = windows_of(operator, 189, core=48, context=48)[2]
    assert (outer.begin, outer.end) == (48, 192)
    problem = outer.problem(operator, operator.forward(video), 0.0)
    with pytest.raises(InputError, match="goes round"):
        windows_of(problem.operator, outer.size, core=11, context=7)
    sampler = vision_xl()
    assert hosted(problem, sampler, "cpu") == (problem, sampler)


@pytest.mark.parametrize("average", AVERAGES, ids=["circular", "reflect"])
def test_an_operator_on_a_device_is_that_of_any_window(average):
    measurement = average.forward(TRUTH)
    for outer in outer_windows(average):
        problem, video = outer.problem(average, measurement, 0.0), outer.cut(TRUTH)
        there = HostedOperator(problem.operator, "cpu")
        torch.testing.assert_close(there.forward(video), problem.measurement)
        back = problem.operator.adjoint(problem.measurement)
        torch.testing.assert_close(there.adjoint(problem.measurement), back)


@pytest.mark.parametrize("average", AVERAGES, ids=["circular", "reflect"])
def test_a_window_is_cut_again_into_exact_problems(average):
    measurement, seen = average.forward(TRUTH), set()
    for outer in outer_windows(average):
        if outer.begin < 0 or outer.end > FRAMES:
            continue
        problem, video = outer.problem(average, measurement, 0.0), outer.cut(TRUTH)
        for inner in windows_of(problem.operator, outer.size, core=3, context=6):
            part = inner.problem(problem.operator, problem.measurement, 0.0)
            found = part.operator.forward(inner.cut(video))
            torch.testing.assert_close(found, part.measurement)
            seen |= {outer.begin + t for t in range(*inner.measured)}
    assert len(seen) > FRAMES / 2


def test_a_window_that_goes_round_is_not_cut_again():
    operator = OPERATORS["circular average"]
    outer = outer_windows(operator)[-1]
    problem = outer.problem(operator, operator.forward(TRUTH), 0.0)
    with pytest.raises(InputError, match="goes round"):
        windows_of(problem.operator, outer.size, core=3, context=6)
    sampler = vision_xl()
    assert hosted(problem, sampler, "cpu") == (problem, sampler)


def test_a_window_that_is_cut_again_needs_as_many_frames_without_a_measurement():
    outer = outer_windows(AVERAGES[0])[0]
    problem = outer.problem(AVERAGES[0], TRUTH, 0.0)
    with pytest.raises(InputError, match="at least 6, because the operator's reach is 3"):
        windows_of(problem.operator, outer.size, core=3, context=5)


@pytest.mark.filterwarnings("ignore:the result does not explain its measurement")
@each_operator
def test_hosted_windows_are_the_windows(operator):
    problem, sampler = problem_of(operator), vision_xl(count=7)
    long = LongProblem.of(operator, problem.measurement, problem.noise_std, core=12, context=4)
    plain, placed = (
        restore_windows(long, PRIOR, sampler, generator=generator(2), place=place)
        for place in (None, partial(hosted, device="cpu"))
    )
    for theirs, ours in zip(plain, placed, strict=True):
        torch.testing.assert_close(ours.video, theirs.video, atol=ROUNDING, rtol=0)


def test_total_variation_of_a_window_by_windows_differs_little():
    operator = OPERATORS["reflected average"]
    outer = outer_windows(operator)[4]
    assert 0 < outer.measured[0] < outer.measured[1] < FRAMES
    problem = outer.problem(operator, problem_of(operator, 0.02).measurement, 0.02)
    consistency, truth = SpaceTimeTV(iterations=30), outer.cut(TRUTH)
    expected = consistency.correct(0.9 * truth, problem, LEVEL).video
    found = ByWindow(consistency, "cpu", core=4, context=9).correct(0.9 * truth, problem, LEVEL)
    assert psnr(outer.core(found.video), outer.core(expected)) > 47


def test_the_flow_does_not_depend_on_the_number_of_threads():
    video = torch.nn.functional.interpolate(TRUTH[:4].float(), 64, mode="bicubic")
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = optical_flow(video)
        torch.set_num_threads(3)
        together = optical_flow(video)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(alone, together)


def test_a_finish_in_windows_counts_like_a_consistency():
    from attrs import evolve

    from visionxl import MotionShrinkage
    from visionxl.solvers.hosting import in_windows

    finished = evolve(vision_xl(), finish=MotionShrinkage())
    assert not in_windows(vision_xl())
    assert in_windows(finished)
    assert frames_together(finished, GaussianBlur(1.0)) == 25


def test_in_host_memory_too_the_default_ends_at_the_noise():
    problem = InverseProblem(AveragePool(2), torch.zeros(9, 3, 16, 24), 0.1)
    for part in (SpaceTimeTV(), NoiseAware()):
        method = hosted(problem, vision_xl(consistency=part), "cpu")[1]
        fits = getattr(method.consistency, "fits_noise", False)
        assert fits == isinstance(part, SpaceTimeTV)


def test_a_window_that_was_too_large_is_not_tried_again():
    problem, size = problem_of(OPERATORS["blur"]), WindowSize(FRAMES)
    cramped = Cramped(30)
    first, second = (ByWindow(cramped, "cpu", size) for _ in range(2))
    with pytest.warns(UserWarning, match="went on with 20"):
        first.correct(TRUTH, problem, LEVEL)
    second.correct(TRUTH, problem, LEVEL)
    assert cramped.asked == [FRAMES, 27, 27, 27, 27]


def test_a_device_is_given_nothing_that_grows_with_the_clip():
    operator = GaussianBlur(1.0) @ TemporalAverage(3)

    def values(frames):
        modes = Modes.of(operator, torch.zeros(frames, 3, 16, 16))
        placed = _placed(modes, "meta")
        kept = [t for svd in placed.axes[1:] if svd for t in (svd.left, svd.values, svd.right)]
        return placed.unit.numel() + sum(t.numel() for t in kept)

    assert values(5) == values(50)


def test_the_core_of_a_window_may_be_evolved():
    cramped = Cramped(FRAMES)
    wide = evolve(ByWindow(cramped, "cpu"), core=FRAMES)
    wide.correct(TRUTH, problem_of(OPERATORS["blur"]), LEVEL)
    assert cramped.asked == [FRAMES]
