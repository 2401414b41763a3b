"""The loop, its parts and its starts, with a prior that needs no weights; and its contract."""

import math
import weakref
from itertools import pairwise

import pytest
import torch
from attrs import evolve, field, frozen
from dense import generator, noise, relative_error
from hypothesis import given
from hypothesis import strategies as st

from visionxl import (
    BatchConsistentInversion,
    CorrectedInversion,
    EncodedBackProjection,
    GaussianPrior,
    InverseProblem,
    Noise,
    NoiseAware,
    PlainCG,
    PseudoBatchInversion,
    restore,
    simulate,
    trajectory,
    vision_tv,
    vision_xl,
)
from visionxl.errors import InputError
from visionxl.init import ddim_invert
from visionxl.operators import (
    AveragePool,
    Blur,
    GaussianBlur,
    Identity,
    Mask,
    Stack,
    TemporalAverage,
)
from visionxl.priors.flow import FlowSchedule
from visionxl.protocols import NoiseLevel
from visionxl.solvers import (
    FrameByFrame,
    Guided,
    Sampler,
    ScheduledLowPass,
    SharedNoise,
    Unchanged,
    leading_times,
    trailing_times,
)

PRIOR = GaussianPrior.natural(8, 8)
TRUTH = PRIOR.sample(5, 1, generator())
PROBLEMS = {
    "factored": simulate(TRUTH, AveragePool(2) @ TemporalAverage(3), 0.05, generator=generator(1)),
    "by CG": simulate(TRUTH, Blur([[0.2, 0.5, 0.3]]), 0.05, generator=generator(1)),
}
PROBLEM = PROBLEMS["factored"]
LEVELS = [PRIOR.schedule.level(t) for t in leading_times(25, 0.3)]


def restored(problem=PROBLEM, sampler=None, seed=0, **options):
    return restore(problem, PRIOR, sampler or vision_xl(), generator=generator(seed), **options)


# The loop


@pytest.mark.parametrize("problem", list(PROBLEMS.values()), ids=list(PROBLEMS))
def test_the_same_seed_gives_the_same_bits_and_another_seed_others(problem):
    first, again, other = (restored(problem, seed=seed).video for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("problem", list(PROBLEMS.values()), ids=list(PROBLEMS))
@pytest.mark.parametrize("initializer", [BatchConsistentInversion(), PseudoBatchInversion()])
@pytest.mark.parametrize("frames_at_once", [4, 100])
def test_the_number_of_frames_at_once_changes_nothing(problem, initializer, frames_at_once):
    sampler = vision_xl(initializer=initializer)
    expected = restored(problem, sampler).video
    found = restored(problem, sampler, frames_at_once=frames_at_once).video
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("problem", list(PROBLEMS.values()), ids=list(PROBLEMS))
@pytest.mark.parametrize("consistency", [NoiseAware(), PlainCG(10)], ids=repr)
def test_the_restoration_explains_the_measurement_to_its_noise(problem, consistency):
    found = restored(problem, vision_xl(consistency=consistency))
    assert found.video.shape == TRUTH.shape
    assert found.video.dtype == problem.measurement.dtype
    assert found.trace[-1].data_residual < 1.2 * problem.noise_std


def test_the_trace_has_a_record_of_finite_figures_for_every_step():
    trace = restored(PROBLEMS["by CG"]).trace
    assert [r.index for r in trace] == list(range(8))
    assert [r.time for r in trace] == list(leading_times(25, 0.3))
    for record in trace:
        figures = (record.data_residual, record.seconds, record.peak_bytes, *record.residuals)
        assert all(math.isfinite(figure) and figure >= 0 for figure in figures)
        assert record.iterations == len(record.residuals) - 1 > 0
        assert record.stopped == "converged"


def test_the_data_residual_is_the_root_mean_square_of_what_is_not_explained():
    found = restored()
    difference = PROBLEM.operator.forward(found.video) - PROBLEM.measurement
    assert found.trace[-1].data_residual == pytest.approx(difference.square().mean().sqrt().item())


class Trainable(torch.nn.Module):
    """A prior with weights that have gradients, as a module of PyTorch has them."""

    schedule = PRIOR.schedule

    def __init__(self):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.ones(()))

    def encode(self, video):
        return self.gain * PRIOR.encode(video)

    def decode(self, latent):
        return self.gain * PRIOR.decode(latent)

    def denoise(self, latent, level):
        return PRIOR.denoise(self.gain * latent, level)


@pytest.mark.parametrize("method", [vision_xl, vision_tv])
def test_a_prior_with_trainable_weights_is_used_without_gradients(method):
    expected = restored(sampler=method(count=7)).video
    found = restore(PROBLEM, Trainable(), method(count=7), generator=generator()).video
    assert not found.requires_grad
    torch.testing.assert_close(found, expected)


class Remembering:
    """A prior that counts how many of the loop's videos are alive when it is called."""

    schedule = PRIOR.schedule

    def __init__(self):
        self.videos, self.alive = [], []

    def encode(self, video):
        self.videos.append(weakref.ref(video))
        return PRIOR.encode(video)

    def decode(self, latent):
        video = PRIOR.decode(latent)
        self.videos.append(weakref.ref(video))
        return video

    def denoise(self, latent, level):
        self.alive.append(sum(video() is not None for video in self.videos))
        return PRIOR.denoise(latent, level)


def test_no_video_of_a_step_is_kept_for_the_next():
    prior, corrected = Remembering(), []

    def observe(step):
        corrected.append(weakref.ref(step.corrected))
        prior.videos.append(corrected[-1])

    sampler = vision_xl(initializer=Noise())
    found = restore(PROBLEM, prior, sampler, generator=generator(), observe=observe)
    assert len(prior.alive) == 8 * len(TRUTH)
    assert not any(prior.alive)
    assert corrected[-1]() is found.video


class Total:
    """The sum of a video: a measurement that is one number."""

    def forward(self, video):
        return video.sum()

    def adjoint(self, measurement):
        return measurement.expand(TRUTH.shape)


def test_the_measurement_may_be_a_single_number():
    problem = InverseProblem(Total(), TRUTH.sum(), 0.05)
    found = restored(problem)
    assert found.trace[-1].data_residual < 0.1
    assert found.trace[0].data_residual == pytest.approx(
        abs(found.video.sum() - TRUTH.sum()).item(), abs=0.1
    )


def test_a_lack_of_memory_in_the_first_step_is_told_as_such():
    class Full(AveragePool):
        calls = 0

        def forward(self, video):
            Full.calls += 1
            if Full.calls == 2:  # after that of the first checks
                raise torch.OutOfMemoryError("out of memory")
            return super().forward(video)

    sampler = vision_xl(initializer=Noise())
    with pytest.raises(torch.OutOfMemoryError):
        restored(InverseProblem(Full(2), AveragePool(2).forward(TRUTH), 0.05), sampler)


def test_every_step_is_observed_and_the_last_corrected_estimate_is_the_result():
    steps = []
    found = restored(observe=steps.append)
    assert tuple(step.record for step in steps) == found.trace
    assert torch.equal(steps[-1].corrected, found.video)
    for step in steps:
        expected = NoiseAware().correct(step.decoded, PROBLEM, step.level)
        assert torch.equal(step.corrected, expected.video)


def test_the_trajectory_may_be_left_early():
    steps = trajectory(PROBLEM, PRIOR, vision_xl(), generator=generator())
    assert [next(steps).record.index for _ in range(2)] == [0, 1]
    steps.close()


def test_evolve_swaps_one_part_and_leaves_the_others():
    sampler = vision_xl()
    other = evolve(sampler, consistency=PlainCG(3))
    assert other.consistency == PlainCG(3)
    assert evolve(other, consistency=NoiseAware()) == sampler
    assert all(r.iterations == 3 for r in restored(sampler=other).trace)


@pytest.mark.parametrize("times", [(), (0.1, 0.2), (0.2, 0.2), (0.1, 0.0), (1.1, 0.5)])
def test_times_that_do_not_fall_are_refused(times):
    with pytest.raises(InputError, match="falling"):
        evolve(vision_xl(), times=times)


# The pseudo-batch


@frozen(eq=False)
class Spy:
    """A prior that notes how many frames each call hands to it."""

    prior: GaussianPrior = PRIOR
    calls: dict[str, list[int]] = field(factory=lambda: {"encode": [], "decode": [], "denoise": []})

    @property
    def schedule(self):
        return self.prior.schedule

    def encode(self, video):
        self.calls["encode"].append(len(video))
        return self.prior.encode(video)

    def decode(self, latent):
        self.calls["decode"].append(len(latent))
        return self.prior.decode(latent)

    def denoise(self, latent, level):
        self.calls["denoise"].append(len(latent))
        return self.prior.denoise(latent, level)


@pytest.mark.parametrize("frames_at_once", [1, 2, 3, 5, 100])
@pytest.mark.parametrize(
    "initializer",
    [BatchConsistentInversion(), PseudoBatchInversion(), Noise(), EncodedBackProjection()],
    ids=repr,
)
def test_the_prior_never_sees_more_frames_than_allowed(frames_at_once, initializer):
    spy = Spy()
    sampler = vision_xl(initializer=initializer)
    restore(PROBLEM, spy, sampler, generator=generator(), frames_at_once=frames_at_once)
    assert max(max(calls) for calls in spy.calls.values()) <= frames_at_once
    assert sum(spy.calls["decode"]) == len(sampler.times) * len(TRUTH)


@given(frames=st.integers(1, 7), frames_at_once=st.integers(1, 9))
def test_chunks_of_frames_are_put_together_in_order(frames, frames_at_once):
    latent = noise(frames, 1, 8, 8)
    chunked = FrameByFrame(PRIOR, frames_at_once).denoise(latent, LEVELS[0])
    whole = PRIOR.denoise(latent, LEVELS[0])
    torch.testing.assert_close(chunked.clean, whole.clean)
    torch.testing.assert_close(chunked.noise, whole.noise)


def test_no_frames_at_once_is_refused():
    with pytest.raises(InputError, match="frames_at_once 0"):
        restored(frames_at_once=0)


# Parts of a step

CLEAN, EPS = noise(4, 2, 8, 8, seed=1), noise(4, 2, 8, 8, seed=2)
LEVEL = NoiseLevel(0.2, 0.8, 0.6)


@pytest.mark.parametrize("eta", [0.2, 0.7, 1.0])
def test_one_draw_of_noise_is_shared_by_all_frames(eta):
    first, other = (SharedNoise(eta)(CLEAN, EPS, LEVEL, generator(seed)) for seed in (0, 1))
    assert not torch.allclose(first, other)
    torch.testing.assert_close(first[1:] - first[0], other[1:] - other[0])


def test_without_fresh_noise_renoising_is_ddim():
    found = SharedNoise(0.0)(CLEAN, EPS, LEVEL, generator())
    torch.testing.assert_close(found, 0.8 * CLEAN + 0.6 * EPS)


@pytest.mark.parametrize("eta", [0.0, 0.2, 0.7, 1.0])
@pytest.mark.parametrize("signal", [0.1, 0.8, 0.99])
def test_renoising_keeps_unit_variance(eta, signal):
    clean, eps = noise(1, 4, 200, 200, seed=1), noise(1, 4, 200, 200, seed=2)
    level = NoiseLevel(0.2, signal, math.sqrt(1 - signal**2))
    found = SharedNoise(eta)(clean, eps, level, generator(3))
    assert found.std().item() == pytest.approx(1, abs=0.01)


def test_the_papers_times_are_eight():
    expected = (0.281, 0.241, 0.201, 0.161, 0.121, 0.081, 0.041, 0.001)
    assert leading_times(25, 0.3) == vision_xl().times == expected


def test_the_times_of_few_step_models_are_those_they_are_distilled_for():
    assert trailing_times(4) == (0.999, 0.749, 0.499, 0.249)
    assert trailing_times(8) == (0.999, 0.874, 0.749, 0.624, 0.499, 0.374, 0.249, 0.124)
    assert trailing_times(4, 0.5) == (0.499, 0.249)
    assert trailing_times(1000) == tuple(t / 1000 for t in range(999, 0, -1))
    with pytest.raises(InputError, match=r"the earliest is 0\.249"):
        trailing_times(4, 0.1)


@given(count=st.integers(1, 1000), start=st.floats(0.01, 1))
def test_times_fall_evenly_from_the_start_to_the_first(count, start):
    times, whole = leading_times(count, start), leading_times(count, 1.0)
    assert len(whole) == count
    assert whole[-len(times) :] == times
    assert times[-1] == 0.001
    assert times[0] <= start + 0.0005
    # Whole numbers of training times, so neighbours lie within one of an even distance.
    assert all(abs(1000 * (a - b) - 1000 / count) < 1 + 1e-9 for a, b in pairwise(times))


@pytest.mark.parametrize(
    ("count", "start", "message"),
    [(0, 0.3, "count 0"), (1001, 0.3, "count 1001"), (25, 0.0, "start")],
)
def test_times_that_cannot_be_are_refused(count, start, message):
    with pytest.raises(InputError, match=message):
        leading_times(count, start)


@pytest.mark.parametrize("level", LEVELS[:7])
@pytest.mark.parametrize("strength", [math.sqrt(2), 0.8])
def test_the_low_pass_is_a_gaussian_blur_of_the_scheduled_width(level, strength):
    expected = GaussianBlur(strength * level.noise, "reflect").forward(TRUTH)
    torch.testing.assert_close(ScheduledLowPass(strength)(TRUTH, level), expected)


def test_the_low_pass_leaves_a_video_alone_where_there_is_little_noise():
    assert torch.equal(ScheduledLowPass()(TRUTH, LEVELS[-1]), TRUTH)
    assert torch.equal(ScheduledLowPass(0.0)(TRUTH, LEVELS[0]), TRUTH)
    assert not torch.equal(ScheduledLowPass()(TRUTH, LEVELS[0]), TRUTH)


# Starts


@pytest.mark.parametrize("start", [0.3, 1.0])
def test_ddim_denoising_leads_back_from_its_inversion_the_closer_the_more_levels(start):
    def error(count):
        levels = [PRIOR.schedule.level(t) for t in leading_times(count, start)]
        latent = ddim_invert(TRUTH, PRIOR, levels)
        for level, following in pairwise(levels):
            denoised = PRIOR.denoise(latent, level)
            latent = following.signal * denoised.clean + following.noise * denoised.noise
        return relative_error(latent, TRUTH)

    coarse, fine = error(25), error(250)
    assert coarse < 0.2
    assert fine < 0.025
    assert fine < coarse / 5


def test_inversion_to_one_level_mixes_in_the_noise_that_is_found_there():
    levels = [PRIOR.schedule.level(0.5)]
    problem = InverseProblem(Identity(), TRUTH)
    at_once = CorrectedInversion(Unchanged(), at_once=True)
    by_levels, once = (
        initializer.start(problem, PRIOR, levels, generator())
        for initializer in (PseudoBatchInversion(), at_once)
    )
    assert torch.equal(by_levels, once)
    assert relative_error(once, levels[0].signal * TRUTH) > 0.1  # clean ones have none


INITIALIZERS = [
    BatchConsistentInversion(),
    PseudoBatchInversion(),
    Noise(),
    Noise(shared=False),
    EncodedBackProjection(),
]


def start(initializer, seed=0, problem=PROBLEM):
    return initializer.start(problem, PRIOR, LEVELS, generator(seed))


@pytest.mark.parametrize("initializer", INITIALIZERS, ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_start_has_a_latent_for_every_frame_and_is_reproducible(initializer, dtype):
    problem = InverseProblem(PROBLEM.operator, PROBLEM.measurement.to(dtype), 0.05)
    latent = start(initializer, problem=problem)
    assert latent.shape == TRUTH.shape
    assert latent.dtype == dtype
    assert torch.equal(latent, start(initializer, problem=problem))


@pytest.mark.parametrize(
    ("initializer", "alike"),
    list(zip(INITIALIZERS, [True, False, True, False, False], strict=True)),
    ids=repr,
)
def test_frames_start_alike_only_where_it_is_said(initializer, alike):
    latent = start(initializer)
    assert torch.equal(latent[0], latent[1]) is alike


@pytest.mark.parametrize("frame", [0, 2, 4, -1])
def test_batch_consistent_inversion_replicates_the_inversion_of_its_frame(frame):
    every = start(PseudoBatchInversion())
    found = start(BatchConsistentInversion(frame))
    torch.testing.assert_close(found, every[frame].expand_as(found))


@pytest.mark.parametrize("frame", [5, -6])
def test_a_frame_that_is_not_there_is_refused(frame):
    with pytest.raises(InputError, match=f"frame {frame}.*5 frames"):
        start(BatchConsistentInversion(frame))


def test_the_encoded_back_projection_is_noised_alike_in_every_frame():
    first, other = (start(EncodedBackProjection(), seed) for seed in (0, 1))
    difference = first - other
    torch.testing.assert_close(difference, difference[:1].expand_as(difference))
    assert difference.std() > 0.5 * LEVELS[0].noise


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (LEVELS[0], 1.0),
        (NoiseLevel(1.0, 1.0, 7.0), math.sqrt(50)),
        (NoiseLevel(0.4, 0.6, 0.4), math.sqrt(0.52)),
    ],
    ids=["variance preserved", "variance exploding", "a flow"],
)
def test_a_start_from_noise_has_the_variance_of_latents_at_its_level(level, expected, shared):
    problem = InverseProblem(AveragePool(2), torch.zeros(8, 1, 32, 32))
    prior = GaussianPrior.natural(64, 64)
    latent = Noise(shared).start(problem, prior, [level], generator())
    assert latent.std().item() == pytest.approx(expected, rel=0.05)


# What users' own parts may and may not do


class Exposures:
    """A user's plain operator: every second frame. ``forward`` returns a view."""

    def forward(self, video):
        return video[::2]

    def adjoint(self, measurement):
        video = measurement.new_zeros(2 * len(measurement), *measurement.shape[1:])
        video[::2] = measurement
        return video

    def __repr__(self):
        return "Exposures()"


class CopiedExposures(Exposures):
    def forward(self, video):
        return video[::2].clone()


def test_an_operator_may_return_a_view_of_its_argument():
    measurement = noise(3, 1, 8, 8)
    view, copy = (
        restored(InverseProblem(operator, measurement.clone(), 0.05))
        for operator in (Exposures(), CopiedExposures())
    )
    assert torch.equal(view.video, copy.video)
    assert view.trace[-1].data_residual == copy.trace[-1].data_residual


class HalfPrecision(Exposures):
    def forward(self, video):
        return super().forward(video).half()


class WrongAdjointPrecision(Exposures):
    def adjoint(self, measurement):
        return super().adjoint(measurement).float()


class LosesFrames(Exposures):
    def forward(self, video):
        return video[::3]


class LosesAnAxis(Exposures):
    def adjoint(self, measurement):
        return super().adjoint(measurement)[0]


class ReturnsNumpy(Exposures):
    def forward(self, video):
        return video[::2].numpy()


class WithoutAdjoint:
    def forward(self, video):
        return video

    def __repr__(self):
        return "WithoutAdjoint()"


@pytest.mark.parametrize(
    ("operator", "message"),
    [
        (
            HalfPrecision(),
            r"forward returned dtype torch.float16.*torch.float64.*keep its argument",
        ),
        (WrongAdjointPrecision(), r"adjoint returned dtype torch.float32.*keep its argument"),
        (
            LosesFrames(),
            r"measurement has shape \(3, 1, 8, 8\).*\(6, 1, 8, 8\).*\(2, 1, 8, 8\).*fix",
        ),
        (LosesAnAxis(), r"adjoint returned shape \(1, 8, 8\).*4 dimensions"),
        (ReturnsNumpy(), "forward returned ndarray; make it return a tensor"),
        (WithoutAdjoint(), r"needs the methods forward\(video\) and adjoint\(measurement\)"),
        ("a blur", "'a blur' is no forward operator"),
    ],
)
def test_an_operator_that_breaks_its_contract_is_refused_with_the_way_out(operator, message):
    with pytest.raises(InputError, match=message):
        restored(InverseProblem(operator, noise(3, 1, 8, 8), 0.05))


@pytest.mark.parametrize(
    ("measurement", "message"),
    [
        (torch.full((3, 1, 8, 8), float("nan")), "192 values that are not finite"),
        (torch.full((3, 1, 8, 8), float("inf")), "192 values that are not finite"),
        (torch.zeros(3, 1, 8, 8, dtype=torch.uint8), "torch.uint8: expected.*floating point"),
        (noise(3, 1, 8, 8).numpy(), "measurement is ndarray: expected a tensor.*from_numpy"),
        (None, "measurement is NoneType: expected a tensor"),
        (torch.zeros(3, 1, 8, 8).half(), r"torch.float16, too coarse.*measurement.float\(\)"),
        (noise(3, 8, 8, 3), r"video of \(6, 8, 8, 3\): expected \(frames, channels"),
        (torch.zeros(0, 1, 8, 8), r"shape \(0, 1, 8, 8\) has no values"),
    ],
    ids=["NaN", "infinite", "integer", "numpy", "none", "half", "channels last", "empty"],
)
def test_a_measurement_that_cannot_be_used_is_refused_with_the_way_out(measurement, message):
    with pytest.raises(InputError, match=message):
        restored(InverseProblem(Exposures(), measurement, 0.05))


def test_what_is_not_a_number_in_a_vector_is_refused_too():
    stack = Stack((Identity(), AveragePool(2)), (3, 1, 8, 8))
    y = stack.forward(noise(3, 1, 8, 8))
    y[7] = float("nan")
    with pytest.raises(InputError, match="1 values that are not finite"):
        restored(InverseProblem(stack, y, 0.05))


def test_what_is_not_a_number_is_left_out_by_a_mask():
    """As the message on it says."""
    y = noise(3, 1, 8, 8)
    y[0, 0, 2, 3] = float("nan")
    mask = Mask(torch.isfinite(y))
    assert torch.equal(mask.forward(y), torch.nan_to_num(y))
    found = restored(InverseProblem(mask, mask.forward(y), 0.05))
    assert torch.isfinite(found.video).all()


def test_a_schedule_that_begins_with_noise_alone_says_so():
    prior = evolve(PRIOR, schedule=FlowSchedule())
    problem = InverseProblem(Exposures(), noise(3, 1, 8, 8), 0.05)
    sampler = evolve(vision_xl(), times=(1.0, 0.5))
    with pytest.raises(InputError, match=r"time 1.0 is noise alone.*0.9"):
        restore(problem, prior, sampler, generator=generator())


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ({"low_pass": None}, "low_pass None is no function.*unfiltered for none"),
        ({"renoise": SharedNoise}, "renoise SharedNoise is no function"),
        ({"condition": None}, "condition None is no function.*unconditioned for none"),
        ({"condition": Guided}, "condition Guided is no function"),
        ({"consistency": lambda *_: None}, "consistency .*has no method correct"),
        ({"initializer": NoiseAware()}, "initializer NoiseAware.*has no method start"),
    ],
)
def test_a_part_of_another_kind_is_named(parts, sentence):
    with pytest.raises(InputError, match=sentence):
        evolve(vision_xl(), **parts)


def test_a_trajectory_has_no_gradients():
    y = noise(3, 1, 8, 8).requires_grad_()
    for step in trajectory(
        InverseProblem(Exposures(), y, 0.05), PRIOR, vision_xl(), generator=generator()
    ):
        assert not step.corrected.requires_grad


def test_a_users_own_parts_need_no_inheritance():
    class Untouched:
        def correct(self, estimate, problem, level):
            return NoiseAware().correct(estimate, problem, level)

    sampler = Sampler(
        times=(0.2, 0.1),
        initializer=BatchConsistentInversion(),
        consistency=Untouched(),
        low_pass=lambda video, level: video,
        renoise=lambda clean, noise, level, generator: level.signal * clean,
    )
    assert torch.isfinite(restored(sampler=sampler).video).all()
