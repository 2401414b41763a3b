"""Values of a wrong kind are told where they are given; of any right kind they do."""

import inspect

import numpy as np
import pytest
import torch
from attrs import evolve, frozen
from diffusers import DDIMScheduler

from visionxl import (
    Correction,
    DiffusersPrior,
    GaussianPrior,
    InputError,
    InverseProblem,
    Padded,
    PocketPrior,
    fit_to,
    restore,
    simulate,
    trajectory,
    vision_tv,
    vision_xl,
)
from visionxl.measurements import estimate_noise
from visionxl.operators import (
    AveragePool,
    BlockCosine,
    Blur,
    Clip,
    DropFrames,
    ExposureBracket,
    Factors,
    GaussianBlur,
    Mask,
    MotionBlur,
    Reach,
    Scale,
    Shift,
    Snapshot,
    Stack,
    TemporalAverage,
    VaryingBlur,
    check_adjoint,
    dithered,
    lift,
)
from visionxl.planning import MemoryPlan
from visionxl.priors import AutoencoderCodec, DiscreteSchedule
from visionxl.report.page import render
from visionxl.solvers import PlainCG, diffpir, estimate_kernel, leading_times
from visionxl.solvers.answers import check_decoded
from visionxl.solvers.long import restore_windows, simulate_long
from visionxl.solvers.windows import LongProblem, windows_of
from visionxl.testing import check_consistency
from visionxl.video import DEMO_CLIP, read_clip


def plain(function):
    """Without the checks of types that the tests switch on, as users have it."""
    bare, owner = inspect.unwrap(function), getattr(function, "__self__", None)
    return bare if owner is None else bare.__get__(owner)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_everything_runs_in_another_default_dtype():
    clip = torch.rand(3, 3, 32, 48, generator=seeded()) * 2 - 1
    problem = simulate(clip, AveragePool(4), 0.02, generator=seeded())
    expected = restore(problem, PocketPrior.load(), vision_tv(), generator=seeded(1)).video
    torch.set_default_dtype(torch.float64)
    try:
        found = restore(problem, PocketPrior.load(), vision_tv(), generator=seeded(1)).video
        assert read_clip(DEMO_CLIP, 1).video.dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(found, expected)


OPERATOR = AveragePool(4)
CLIP = torch.zeros(2, 3, 16, 16)
PROBLEM = InverseProblem(OPERATOR, OPERATOR.forward(CLIP), 0.1)
PRIOR = GaussianPrior.natural(16, 16)
EDGE = (torch.arange(16) > 8).float()
SCHEDULER = DDIMScheduler()


class Mean:
    def forward(self, video):
        return video.mean()

    def adjoint(self, measurement):
        return measurement


def oracle(prediction):
    codec = AutoencoderCodec(PocketPrior.load().codec.vae)
    schedule = DiscreteSchedule.stable_diffusion()
    return plain(DiffusersPrior)(torch.nn.Identity(), codec, schedule, prediction)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: InverseProblem(OPERATOR, CLIP.numpy()), "torch.from_numpy"),
        (lambda: InverseProblem(OPERATOR, read_clip(DEMO_CLIP, 1)), "clip.video for a clip"),
        (lambda: InverseProblem(CLIP, OPERATOR), "the operator first"),
        (lambda: simulate(CLIP[:0], OPERATOR, generator=seeded()), "has no values"),
        (lambda: simulate(CLIP / 0, OPERATOR, generator=seeded()), "not finite"),
        (lambda: plain(estimate_noise)(CLIP.to(torch.uint8)), "uint8"),
        (lambda: evolve(vision_xl(), times=3), "times 3"),
        (lambda: evolve(vision_xl(), times=["a"]), r"times \['a'\]"),
        (lambda: plain(leading_times)(10.5), "count 10.5"),
        (lambda: plain(fit_to)(CLIP, "16", 16), "height '16'"),
        (lambda: plain(fit_to)(CLIP, 16, True), "width True"),
        (lambda: InverseProblem(OPERATOR, CLIP, np.array([0.1, 0.2])), "noise_std"),
        (lambda: simulate(CLIP, Mean(), 0.1, generator=seeded()), "returned a single number"),
        (lambda: DropFrames(torch.zeros(2, 2)), "one flag a frame"),
        (lambda: oracle(None), "prediction_type None is unknown"),
        (lambda: plain(trajectory)(PROBLEM, PRIOR, "x", generator=seeded()), "sampler str"),
        (
            lambda: plain(trajectory)(PROBLEM, GaussianPrior, vision_xl(), generator=seeded()),
            "prior GaussianPrior",
        ),
        (lambda: DiffusersPrior.assemble(torch.nn.Identity(), None, DDIMScheduler()), "no network"),
    ],
)
def test_a_wrong_value_is_told_where_it_is_given(make, told):
    with pytest.raises(InputError, match=told):
        make()


@pytest.mark.parametrize(
    ("run", "options", "told"),
    [
        (restore, {"observe": 3}, "observe 3"),
        (trajectory, {"state": 3}, "state int is no State"),
        (trajectory, {"inner": 3}, "inner int is no LatentPrior"),
        (trajectory, {"frames_at_once": 0}, "frames_at_once"),
    ],
)
def test_what_watches_a_run_is_looked_at_before_it_begins(run, options, told):
    with pytest.raises(InputError, match=told):
        plain(run)(PROBLEM, PRIOR, vision_xl(), generator=seeded(), **options)


def test_numbers_of_any_kind_are_pythons_own():
    times = np.linspace(0.3, 0.01, 4, dtype=np.float32)
    for given in (times, torch.from_numpy(times), list(times)):
        assert evolve(vision_xl(), times=given).times == tuple(map(float, times))
    for given in (np.float32(0.5), torch.tensor(0.5)):
        assert type(InverseProblem(OPERATOR, CLIP, given).noise_std) is float


def test_a_state_of_another_method_is_refused():
    steps = list(trajectory(PROBLEM, PRIOR, vision_xl(count=12), generator=seeded()))
    with pytest.raises(InputError, match="state is at time"):
        restore(PROBLEM, PRIOR, vision_xl(), generator=seeded(), state=steps[0].following)


@frozen
class InPlace:
    def correct(self, estimate, problem, level):
        return Correction(estimate.mul_(0.9))


def test_an_estimate_that_was_changed_in_place_is_told():
    with pytest.raises(InputError, match=r"InPlace.*estimate.clone\(\)"):
        restore(PROBLEM, PRIOR, vision_xl(consistency=InPlace()), generator=seeded())


def test_a_low_pass_that_writes_into_its_video_is_told():
    method = vision_xl(low_pass=lambda video, level: video.mul_(0.9))
    with pytest.raises(InputError, match=r"low-pass changed its video in place.*video.clone\(\)"):
        restore(PROBLEM, PRIOR, method, generator=seeded())


def test_values_are_shown_in_a_line():
    step = next(trajectory(PROBLEM, PRIOR, vision_xl(), generator=seeded()))
    found = restore(PROBLEM, PRIOR, vision_xl(), generator=seeded())
    denoised = PRIOR.denoise(CLIP, step.level)
    for value in (step, step.following, found, denoised, read_clip(DEMO_CLIP, 2)):
        assert "tensor" not in repr(value)
        assert len(repr(value)) < 700


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Stack(OPERATOR, (2, 3, 16, 16)), "operators .*expected several, in a tuple"),
        (lambda: Stack((OPERATOR,), (3, 16, 16)), r"shape \(3, 16, 16\): expected \(frames"),
        (lambda: VaryingBlur(GaussianBlur(1.0), torch.ones(1, 16, 16)), "blurs .*in a tuple"),
        (lambda: BlockCosine(8), "steps 8: expected positive numbers"),
        (lambda: DropFrames(5), "kept 5: expected one flag a frame"),
        (lambda: Shift([1, 2]), r"offsets \[1, 2\]: expected a pair of numbers"),
        (lambda: Factors((torch.eye(3),)), r"axes \(Tensor\): expected a tuple of four"),
        (lambda: check_adjoint(Fourier(), (2, 3, 8, 8)), "forward of Fourier.*complex numbers"),
        (
            lambda: plain(dithered)(CLIP.byte(), OPERATOR, 0.1, generator=seeded()),
            "video is torch.uint8",
        ),
        (
            lambda: plain(dithered)(CLIP, OPERATOR, "0.1", generator=seeded()),
            "step '0.1' rounds nothing",
        ),
        (
            lambda: plain(dithered)(CLIP, OPERATOR, 0.1, generator=None),
            "generator None is no torch",
        ),
        (lambda: plain(lift)(CLIP, OPERATOR), "operator is a tensor: give lift an operator first"),
        (lambda: plain(lift)(OPERATOR, None), "measurement None: expected a tensor"),
        (lambda: plain(windows_of)(OPERATOR, 9, 4.0), "core 4.0 is not a whole number from 1"),
        (lambda: plain(windows_of)(OPERATOR, 20.5, 4), "frames 20.5 is not a whole number"),
        (lambda: InverseProblem(OPERATOR, CLIP.byte()), "uint8: expected.*127.5 - 1"),
        (lambda: plain(windows_of)(OPERATOR, 9, 4, 1.5), "context 1.5 is not a whole number"),
        (
            lambda: plain(restore_windows)(PROBLEM, PRIOR, vision_xl(), generator=seeded()),
            "problem InverseProblem is no LongProblem.*LongProblem.of",
        ),
        (lambda: in_windows(indices=2), "indices 2: expected several"),
        (lambda: in_windows(states=[1]), r"states \[1\]: expected a mapping, such as \{\}"),
        (lambda: in_windows(states={0: 1}), r"states has 0: expected \(step, window\)"),
        (lambda: in_windows(states={(0, 9): 1}), r"states has \(0, 9\): .* and 1 windows"),
        (lambda: in_windows(states={(0, 0): 1}), r"states\[\(0, 0\)\] is int: .* WindowState"),
        (lambda: in_windows(observe=3), "observe 3 is no function"),
        (lambda: in_windows(place="cuda"), "place 'cuda' is no function"),
        (lambda: in_windows(inner="quick"), "inner str is no LatentPrior"),
        (lambda: in_windows(indices=[0.5]), "indices has 0.5: there are the windows 0 to 0"),
        (lambda: long_of(CLIP, "deblur"), "operator 'deblur' is a name"),
        (lambda: long_of(CLIP, AveragePool), r"operator AveragePool is a class"),
        (lambda: long_of(CLIP + torch.nan, OPERATOR), "768 values that are not finite"),
        (lambda: long_of(CLIP, OPERATOR, 0), "generator 0 is no torch.Generator"),
    ],
)
def test_parts_of_a_wrong_kind_are_told(make, told, monkeypatch):
    with pytest.raises(InputError, match=told):
        make()


def first_frames(frames):
    return plain(read_clip)(DEMO_CLIP, frames)


def examined(shape):
    plain(check_consistency)(PlainCG(2), OPERATOR, shape)


MAKERS = {
    Blur: {"kernel": [[0.25, 0.5, 0.25]]},
    Clip: {"low": -1.0, "high": 1.0},
    DropFrames: {"kept": [True, False]},
    DropFrames.random: {"keep": 0.5, "frames": 3, "generator": seeded()},
    Factors: {"axes": (None,) * 4},
    GaussianBlur: {"sigma": 1.0},
    GaussianPrior: {"spectrum": torch.ones(8, 8), "mean": 0.0},
    Mask: {"mask": torch.ones(8, 8)},
    Mask.random: {"keep": 0.5, "height": 8, "width": 8, "generator": seeded()},
    MemoryPlan: {"frames_at_once": 1, "offload": False, "attention": "fused"},
    MotionBlur: {"length": 5.0, "angle": 30.0},
    Reach: {"frames": 1, "circular": False},
    Scale: {"gain": 2.0},
    Shift.random: {"reach": 2.0, "frames": 3, "generator": seeded()},
    Snapshot: {"codes": torch.ones(2, 8, 8)},
    Snapshot.random: {"length": 2, "height": 8, "width": 8, "generator": seeded()},
    VaryingBlur: {"blurs": (GaussianBlur(1.0),), "weights": torch.ones(1, 8, 8)},
    check_adjoint: {"operator": OPERATOR, "shape": (2, 3, 8, 8)},
    diffpir: {"zeta": 0.5},
    examined: {"shape": (2, 3, 8, 8)},
    first_frames: {"frames": 2},
    fit_to: {"video": CLIP, "height": 8, "width": 8},
}
"""What makes values, with arguments that do."""

WRONG = ("x", float("nan"), object(), ["a"], dict, torch.zeros(5))


@pytest.mark.parametrize("wrong", WRONG, ids=["str", "nan", "object", "list", "class", "tensor"])
@pytest.mark.parametrize(
    ("make", "argument"),
    [(make, name) for make, given in MAKERS.items() for name in given],
    ids=lambda part: getattr(part, "__qualname__", part),
)
def test_what_cannot_be_used_is_refused_by_its_name(make, argument, wrong):
    with pytest.raises(InputError, match=rf"\b{argument}\b"):
        plain(make)(**{**MAKERS[make], argument: wrong})


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__qualname__)
def test_and_what_can_be_is_taken(make):
    plain(make)(**MAKERS[make])


class Fourier:
    """An operator that answers in complex numbers."""

    def forward(self, video):
        return torch.fft.fft2(video)

    def adjoint(self, measurement):
        return torch.fft.ifft2(measurement.real).real


def in_windows(**options):
    long = LongProblem.of(OPERATOR, PROBLEM.measurement, 0.1)
    return plain(restore_windows)(long, PRIOR, vision_xl(), generator=seeded(), **options)


def long_of(video, operator, generator=None):
    drawing = seeded() if generator is None else generator
    return list(plain(simulate_long)(video, operator, 0.1, generator=drawing))


@pytest.mark.parametrize("whole", [np.int64, np.int32])
def test_numbers_of_numpy_are_numbers_of_frames(whole):
    average = plain(TemporalAverage)(whole(7))
    assert torch.equal(average.forward(CLIP + 0.5), TemporalAverage(7).forward(CLIP + 0.5))
    assert ExposureBracket(np.array([1, 3], whole)) == ExposureBracket((1, 3))


@pytest.mark.parametrize(
    ("alphas", "told"),
    [
        (SCHEDULER.betas.tolist(), "alphas_cumprod 1000 numbers from 0.0001 to 0.02"),
        (SCHEDULER.alphas.tolist(), "from 0.9999 to 0.98"),
        (SCHEDULER.alphas_cumprod.flip(0).tolist(), "falls from about 1 to about 0"),
        ([], r"alphas_cumprod \(\)"),
        ([0.9, float("nan"), 0.1], "and not betas or alphas"),
        (3, "alphas_cumprod 3: expected numbers"),
    ],
)
def test_a_schedule_of_other_numbers_is_told(alphas, told):
    with pytest.raises(InputError, match=told):
        plain(DiscreteSchedule)(alphas)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: plain(diffpir)(weight=0), "weight 0 is not a number above 0"),
        (lambda: plain(diffpir)(weight=-1), "weight -1 is not"),
        (lambda: Padded(PRIOR, 16, 16, 0), "multiple 0 is not a whole number from 1"),
        (lambda: AutoencoderCodec(None, -1), "frames_at_once -1 is not a whole number"),
        (lambda: plain(leading_times)(25, "0.3"), "start '0.3': expected a number from 0 to 1"),
    ],
)
def test_numbers_of_priors_and_methods_are_told(make, told):
    with pytest.raises(InputError, match=told):
        make()


def test_a_count_of_numpy_is_a_count():
    assert plain(leading_times)(np.int64(25)) == leading_times(25)


def test_a_measurement_that_memory_cannot_hold_is_no_wrong_shape():
    class Large(AveragePool):
        def forward(self, video):
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    with pytest.raises(RuntimeError, match="can't allocate"):
        check_decoded(PRIOR, None, InverseProblem(Large(4), PROBLEM.measurement), CLIP)


class Overwriting:
    """It writes over what it is given."""

    def forward(self, video):
        return video.mul_(1.0)  # nothing else changes

    def adjoint(self, measurement):
        return measurement * 1.0


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: plain(estimate_kernel)(CLIP, 7.0), "size 7.0: give an odd number"),
        (lambda: plain(estimate_kernel)(CLIP, "7"), "size '7': give an odd number"),
        (lambda: plain(estimate_kernel)(CLIP.numpy(), 7), "measurement is a ndarray"),
        (lambda: plain(estimate_kernel)(CLIP + EDGE, 7, frames=2.5), "frames 2.5: give how many"),
        (lambda: plain(estimate_noise)(CLIP, 0), "axes 0: give several whole numbers"),
        (
            lambda: plain(restore)(PROBLEM, PRIOR, vision_xl(), generator=seeded(), inner="x"),
            "inner str is no LatentPrior, as it has no decode, denoise, schedule",
        ),
        (
            lambda: plain(restore)(PROBLEM, PRIOR, vision_xl, generator=seeded()),
            "sampler vision_xl is no Sampler: give a method's value",
        ),
        (
            lambda: plain(restore)(PROBLEM, GaussianPrior, vision_xl(), generator=seeded()),
            "prior GaussianPrior is a class, not a value of it",
        ),
        (lambda: simulate(CLIP, Overwriting(), generator=seeded()), "forward changed its video in"),
        (
            lambda: restore(
                InverseProblem(Overwriting(), CLIP), PRIOR, vision_xl(), generator=seeded()
            ),
            r"forward changed its video in place.*work on video.clone\(\)",
        ),
        (lambda: render({"a": CLIP, "truth": CLIP[:1]}, 25, {}), "expected videos of one size"),
    ],
)
def test_more_that_is_no_such_value_is_told(make, told):
    with pytest.raises(InputError, match=told):
        make()


def test_a_part_that_is_empty_is_a_part():
    class Pipeline(list):
        """A low-pass of several, of which there are none."""

        def __call__(self, video, level):
            return video

    assert vision_xl(low_pass=Pipeline()).low_pass == Pipeline()
