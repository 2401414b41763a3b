"""Windows of a long clip: what they are, and that they give what the whole gives."""

import math
from itertools import pairwise

import pytest
import torch
from attrs import evolve, frozen
from dense import generator, noise, relative_error

from visionxl import (
    CorrectedInversion,
    DampedCG,
    GaussianPrior,
    InputError,
    Noise,
    NoiseAware,
    NotFiniteError,
    PseudoBatchInversion,
    restore,
    simulate,
    vision_tv,
    vision_xl,
)
from visionxl.checkpoints import CheckpointFolder, StatesOnDisk
from visionxl.init import BatchConsistentInversion
from visionxl.memory import peak_bytes_of
from visionxl.operators import (
    AveragePool,
    Composition,
    GaussianBlur,
    Mask,
    RollingShutter,
    Scale,
    Shift,
    TemporalAverage,
    TemporalSubsample,
    VaryingBlur,
    check_adjoint,
    interlaced,
)
from visionxl.operators.cutting import KeepFrames, operator_at
from visionxl.operators.factors import factors_of
from visionxl.operators.lifting import lift
from visionxl.operators.reach import Reach, reach_of
from visionxl.solvers import SharedNoise, daps, dds, hosted, latent_dps, svi
from visionxl.solvers.decomposition import decompose, svd_of
from visionxl.solvers.long import restore_windows, simulate_long
from visionxl.solvers.windows import LongProblem, windows_of

PRIOR = GaussianPrior.natural(8, 8, std=0.3)
FRAMES = 41
TRUTH = PRIOR.sample(FRAMES, 2, generator())


def problem_of(operator, noise_std=0.1):
    return simulate(TRUTH, operator, noise_std, generator=generator(1))


def in_windows(problem, sampler, core=8, context=8, seed=0, prior=PRIOR, **options):
    long = LongProblem.of(problem.operator, problem.measurement, problem.noise_std, core, context)
    return list(restore_windows(long, prior, sampler, generator=generator(seed), **options))


def joined(pieces):
    return torch.cat([piece.video for piece in pieces])


# Cutting


@pytest.mark.parametrize("boundary", ["circular", "reflect", "replicate", "zero"])
@pytest.mark.parametrize("frames", [20, 41, 200])
def test_cores_cover_the_clip_once_and_measured_frames_see_no_others(boundary, frames):
    operator = GaussianBlur(1.0) @ TemporalAverage(5, boundary)
    windows = windows_of(operator, frames, 8, 6)
    covered = [t for w in windows for t in range(w.first, w.stop)]
    assert covered == list(range(frames))
    for w in windows:
        assert w.begin <= w.first < w.stop <= w.end
        first, stop = w.measured
        assert w.begin <= first <= w.first
        assert w.stop <= stop <= w.end
        if len(windows) > 1 and boundary == "circular":
            assert (first, stop) == (w.begin + 2, w.end - 2)
        elif len(windows) > 1:
            assert first == (0 if w.begin == 0 else w.begin + 2)
            assert stop == (frames if w.end == frames else w.end - 2)


@pytest.mark.parametrize("boundary", ["circular", "reflect", "replicate", "zero"])
def test_a_window_is_an_exact_problem_of_its_own(boundary):
    operator = AveragePool(2) @ TemporalAverage(5, boundary)
    clip = noise(FRAMES, 1, 8, 8)
    measurement = operator.forward(clip)
    for window in windows_of(operator, FRAMES, 8, 6):
        problem = window.problem(operator, measurement, 0.1)
        own = clip[sorted(t % FRAMES for t in range(window.begin, window.end))]
        torch.testing.assert_close(problem.operator.forward(own), problem.measurement)


OF_EACH_FRAME = {
    "mask": Mask(noise(FRAMES, 1, 8, 8) > 0),
    "mask of colours": Mask(noise(FRAMES, 2, 8, 8) > 0),
    "interlaced": interlaced(FRAMES, 8, 8),
    "shift": Shift.random(2.0, FRAMES, generator()),
}


@pytest.mark.parametrize("name", OF_EACH_FRAME)
@pytest.mark.parametrize("boundary", ["circular", "reflect"])
def test_a_window_has_what_an_operator_is_for_its_frames(name, boundary):
    operator = OF_EACH_FRAME[name] @ TemporalAverage(3, boundary)
    clip = noise(FRAMES, 2, 8, 8)
    measurement = operator.forward(clip)
    for window in windows_of(operator, FRAMES, 8, 6):
        problem = window.problem(operator, measurement, 0.1)
        torch.testing.assert_close(problem.operator.forward(window.cut(clip)), problem.measurement)


@pytest.mark.parametrize("name", OF_EACH_FRAME)
def test_windows_of_operators_of_each_frame_are_exact(name):
    problem = problem_of(OF_EACH_FRAME[name])
    sampler = vision_xl(count=10, consistency=DampedCG(iterations=200, tolerance=1e-13))
    whole = restore(problem, PRIOR, sampler, generator=generator()).video
    found = joined(in_windows(problem, sampler, context=2))
    torch.testing.assert_close(found, whole, atol=1e-9, rtol=0)


def test_what_is_the_same_for_all_frames_stays_itself():
    still = Mask.random(0.5, 8, 8, generator())
    assert operator_at(still, [3, 1], 4) is still
    operator = interlaced(4, 2, 1) @ still
    assert operator_at(operator, [3, 1], 4).inner is still
    kept = operator_at(operator, [3, 0], 4).outer.mask.flatten()
    assert kept.tolist() == [False, True, True, False]


@pytest.mark.parametrize("count", [FRAMES - 1, FRAMES + 1])
@pytest.mark.parametrize("name", OF_EACH_FRAME)
def test_an_operator_for_another_number_of_frames_is_refused(name, count):
    measurement = noise(count, 2, 8, 8)
    window = windows_of(OF_EACH_FRAME[name], count, 8, 6)[0]
    with pytest.raises(InputError, match=rf"\b{count}\b.*\b{FRAMES}\b|\b{FRAMES}\b.*\b{count}\b"):
        window.problem(OF_EACH_FRAME[name], measurement, 0.1)


def test_a_composition_of_operators_without_a_base_class_is_cut():
    operator = Composition(Telling(), Telling())
    assert isinstance(operator_at(operator, [0, 1], 4), Composition)
    assert joined(in_windows(problem_of(operator), vision_xl(count=10))).shape == TRUTH.shape


def test_a_blur_that_varies_by_frame_as_well_is_not_cut():
    moving = VaryingBlur((Shift.random(1.0, FRAMES, generator()),), torch.ones(1, 8, 8))
    with pytest.raises(InputError, match="restore the clip as a whole"):
        reach_of(moving)


@pytest.mark.parametrize("boundary", ["circular", "reflect", "replicate", "zero"])
@pytest.mark.parametrize("readout", [0.0, 1.0, 2.5])
def test_a_rolling_shutter_sees_as_far_as_it_is_read(readout, boundary):
    operator = RollingShutter(readout, boundary)
    far, clip = math.ceil(readout), noise(FRAMES, 1, 8, 8)
    assert reach_of(operator) == Reach(far, circular=boundary == "circular" and readout > 0)
    measurement = operator.forward(clip)
    for window in windows_of(operator, FRAMES, 8, 6):
        problem = window.problem(operator, measurement, 0.1)
        torch.testing.assert_close(problem.operator.forward(window.cut(clip)), problem.measurement)


def test_keep_frames_is_exact_and_has_factors():
    keep = KeepFrames(2, 6, 9)
    assert check_adjoint(keep, (9, 2, 4, 4)) < 1e-14
    video = noise(9, 2, 4, 4)
    factors = factors_of(keep @ TemporalAverage(3), (9, 2, 4, 4))
    expected = torch.einsum("ts,schw->tchw", factors.axes[0], video)
    torch.testing.assert_close((keep @ TemporalAverage(3)).forward(video), expected)
    lifted = lift(keep, keep.forward(video))
    assert torch.equal(lifted[2:6], video[2:6])
    assert torch.equal(lifted[0], video[2])
    assert torch.equal(lifted[8], video[5])


@pytest.mark.parametrize(
    ("operator", "reach"),
    [
        (GaussianBlur(1.0), Reach()),
        (Mask.random(0.5, 8, 8, generator()), Reach()),
        (TemporalAverage(7), Reach(3, circular=True)),
        (TemporalAverage(7, "reflect"), Reach(3, circular=False)),
        (AveragePool(2) @ TemporalAverage(5) @ TemporalAverage(3), Reach(3, circular=True)),
        (TemporalAverage(1), Reach(0, circular=False)),
        (VaryingBlur.radial(8, 8), Reach()),
        (interlaced(4, 8, 8) @ TemporalAverage(3), Reach(1, circular=True)),
    ],
)
def test_operators_tell_how_far_they_see(operator, reach):
    assert reach_of(operator) == reach


@frozen
class OfTheUser:
    def forward(self, video):
        return 0.5 * (video + video.roll(1, 0))

    def adjoint(self, measurement):
        return 0.5 * (measurement + measurement.roll(-1, 0))


@frozen
class Telling(OfTheUser):
    def reach(self):
        return Reach(1, circular=True)


@pytest.mark.parametrize(
    "operator",
    [TemporalSubsample(2, frames=41), OfTheUser(), TemporalAverage(3) @ TemporalAverage(3, "zero")],
    ids=repr,
)
def test_operators_that_cannot_be_cut_are_refused(operator):
    with pytest.raises(InputError, match="restore the clip as a whole"):
        windows_of(operator, FRAMES, 8, 6)


def test_an_operator_of_the_user_that_tells_its_reach_is_cut():
    problem = problem_of(Telling())
    assert joined(in_windows(problem, vision_xl(count=10))).shape == TRUTH.shape


@frozen
class EveryFifth:
    """A gain for every fifth frame, that of its place in what it is given."""

    def forward(self, video):
        return video * self._gain(len(video)).to(video)

    def adjoint(self, measurement):
        return self.forward(measurement)

    def reach(self):
        return Reach()

    def _gain(self, frames):
        return torch.where(torch.arange(frames) % 5 == 0, 2.0, 1.0).view(-1, 1, 1, 1)


def test_blurs_that_differ_from_frame_to_frame_are_not_mixed_in_windows():
    mask = Mask(torch.ones(FRAMES, 1, 8, 8))
    mixed = VaryingBlur((mask @ GaussianBlur(1.0),), torch.ones(1, 8, 8))
    with pytest.raises(InputError, match="cannot be cut into windows"):
        reach_of(mixed)


def test_an_operator_that_differs_from_frame_to_frame_and_does_not_tell_is_refused():
    problem = problem_of(EveryFifth())
    with pytest.raises(InputError, match=r"EveryFifth.*at\(frames, count\)"):
        in_windows(problem, vision_xl(count=10))


@pytest.mark.parametrize(
    ("core", "context", "told"), [(0, 8, "core 0 is not a whole number"), (8, 1, "reach is 3")]
)
def test_a_context_shorter_than_the_reach_is_refused(core, context, told):
    with pytest.raises(InputError, match=told):
        windows_of(TemporalAverage(7), FRAMES, core, context)


# Restoring


STARTS = {
    "one frame": vision_xl(count=10),
    "every frame": vision_xl(count=10, initializer=PseudoBatchInversion()),
    "corrected": vision_xl(count=10, initializer=CorrectedInversion(NoiseAware())),
    "noise": vision_xl(count=10, initializer=Noise(), start=1.0),
    "svi": svi(count=10),
}


@pytest.mark.parametrize("sampler", STARTS.values(), ids=list(STARTS))
def test_without_time_windows_are_exact(sampler):
    problem = problem_of(AveragePool(2))
    whole = restore(problem, PRIOR, sampler, generator=generator()).video
    tolerance = 1e-4 if sampler is STARTS["svi"] else 1e-12  # plain CG stops for all frames at once
    torch.testing.assert_close(
        joined(in_windows(problem, sampler, context=2)), whole, atol=tolerance, rtol=0
    )


@pytest.mark.parametrize("boundary", ["circular", "reflect"])
def test_with_time_the_difference_falls_with_the_context(boundary):
    problem = problem_of(AveragePool(2) @ TemporalAverage(3, boundary))
    whole = restore(problem, PRIOR, vision_xl(count=10), generator=generator()).video
    errors = [
        relative_error(joined(in_windows(problem, vision_xl(count=10), context=c)), whole)
        for c in (2, 6, 14)
    ]
    assert errors[2] < 0.1 * errors[1] < 0.1 * errors[0]
    assert errors[2] < 1e-3


def test_a_clip_of_one_window_is_restored_as_a_whole():
    problem = problem_of(AveragePool(2) @ TemporalAverage(3))
    (piece,) = in_windows(problem, vision_xl(count=10), core=40, context=3)
    whole = restore(problem, PRIOR, vision_xl(count=10), generator=generator())
    assert torch.equal(piece.video, whole.video)
    assert len(piece.trace) == len(whole.trace)


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("boundary", ["circular", "reflect"])
@pytest.mark.parametrize("after", [0, 3, 5, 6, 11, 12, 15])
def test_a_call_that_is_cut_off_goes_on_where_it_was(boundary, after):
    """Six windows make three steps each."""
    problem = problem_of(AveragePool(2) @ TemporalAverage(3, boundary))
    sampler = vision_xl(count=10, initializer=PseudoBatchInversion())
    whole = in_windows(problem, sampler)
    states, made = {}, []

    def observe(index, step):
        made.append((step.record.index, index))
        if len(made) == after + 1:
            raise StoppedError

    with pytest.raises(StoppedError):
        in_windows(problem, sampler, states=states, observe=observe)
    assert {step for step, _ in states} <= {made[-1][0] - 1, made[-1][0], made[-1][0] + 1}
    again = in_windows(problem, sampler, states=states, observe=observe)
    # What is finished in the last step is the caller's: it is made again.
    every = [(step, index) for step in range(3) for index in range(6)]
    assert made[after + 1 :] == every[min(after + 1, 12) :]
    for piece, expected in zip(again, whole, strict=True):
        assert torch.equal(piece.video, expected.video)
        assert [record.index for record in piece.trace] == [0, 1, 2]


def test_a_damaged_state_and_one_of_another_run_are_told_and_made_again(tmp_path):
    problem, sampler = problem_of(AveragePool(2) @ TemporalAverage(3)), vision_xl(count=10)
    folder = CheckpointFolder(tmp_path, run="a")
    whole = joined(in_windows(problem, sampler, states=StatesOnDisk(folder)))
    (tmp_path / "step-0002-00003.safetensors").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"step-0002-00003 is damaged, or of another run: made"):
        again = joined(in_windows(problem, sampler, states=StatesOnDisk(folder)))
    assert torch.equal(again, whole)
    told = []
    other = StatesOnDisk(CheckpointFolder(tmp_path, run="b"), told.append)
    assert torch.equal(joined(in_windows(problem, sampler, states=other)), whole)
    assert "step-0002-00000 is damaged, or of another run" in told[0]


def test_a_state_that_is_lost_is_made_again_from_those_of_the_step_before():
    problem = problem_of(AveragePool(2) @ TemporalAverage(3))
    sampler, states, made = vision_xl(count=10), {}, []
    whole = in_windows(problem, sampler, states=states)
    del states[2, 3]
    again = in_windows(
        problem, sampler, states=states, observe=lambda i, s: made.append((s.record.index, i))
    )
    assert made == [(1, 3), *((2, index) for index in range(6))]
    assert torch.equal(joined(again), joined(whole))


class InPlaceNoise(SharedNoise):
    """Uses what it is given as its own."""

    def __call__(self, clean, noise, level, generator):
        assert (clean.flatten(1).abs().amax(1) > 0).all()  # every frame was encoded
        latent = super().__call__(clean, noise, level, generator)
        clean.zero_()
        noise.zero_()
        level.latent.zero_()
        level.denoised.zero_()
        return latent


def test_what_a_renoise_or_an_observer_overwrites_reaches_no_other_window():
    problem = problem_of(AveragePool(2) @ TemporalAverage(3))
    expected = joined(in_windows(problem, vision_xl(count=10)))

    def observe(index, step):
        step.decoded.zero_()
        if step.following is not None:
            step.corrected.zero_()

    sampler = vision_xl(count=10, renoise=InPlaceNoise())
    assert torch.equal(joined(in_windows(problem, sampler, observe=observe)), expected)


@frozen(eq=False)
class BatchesTell:
    """A prior whose results depend a little on the frames that it is called with, as a GPU's do."""

    @property
    def schedule(self):
        return PRIOR.schedule

    def encode(self, video):
        return PRIOR.encode(video) * (1 + 1e-3 * len(video))

    def decode(self, latent):
        return PRIOR.decode(latent) + 1e-3 * latent.mean()

    def denoise(self, latent, level):
        denoised = PRIOR.denoise(latent, level)
        return evolve(denoised, clean=denoised.clean + 1e-3 * latent.mean())


@pytest.mark.parametrize("boundary", ["circular", "reflect"])
@pytest.mark.parametrize("after", [2, 7, 10])
def test_a_call_that_goes_on_makes_the_same_batches(boundary, after):
    problem = problem_of(AveragePool(2) @ TemporalAverage(3, boundary))
    sampler = vision_xl(count=10, initializer=PseudoBatchInversion())
    options = {"prior": BatchesTell(), "frames_at_once": 3}
    states, made = {}, []

    def observe(index, step):
        made.append(index)
        if len(made) == after:
            raise StoppedError

    with pytest.raises(StoppedError):
        in_windows(problem, sampler, states=states, observe=observe, **options)
    again = in_windows(problem, sampler, states=states, **options)
    assert torch.equal(joined(again), joined(in_windows(problem, sampler, **options)))
    some = in_windows(problem, sampler, states=states, indices=[3], **options)
    assert torch.equal(some[0].video, again[3].video)


@frozen
class TooMany:
    """A start with a frame more, or fewer, than there are."""

    more: int

    def start(self, problem, prior, levels, generator):
        frames = len(lift(problem.operator, problem.measurement))
        return torch.zeros(frames + self.more, 2, 8, 8, dtype=torch.float64)


@pytest.mark.parametrize("more", [-1, 1])
def test_a_start_of_another_number_of_frames_is_told_by_its_name(more):
    with pytest.raises(InputError, match=r"initializer TooMany.*make it return as many"):
        in_windows(problem_of(AveragePool(2)), vision_xl(count=10, initializer=TooMany(more)))


def test_states_of_other_windows_or_steps_are_refused():
    problem, states = problem_of(AveragePool(2)), {}
    in_windows(problem, vision_xl(count=10), states=states, core=16)
    del states[2, 2]
    with pytest.raises(InputError, match="states has 16 frames for window 0, and its core 8"):
        in_windows(problem, vision_xl(count=10), states=dict(states), indices=[0, 1, 2])
    shorter = evolve(vision_xl(count=10), times=vision_xl(count=10).times[:2])
    with pytest.raises(InputError, match=r"states has \(2, 0\): expected .* of 2 steps and 3"):
        in_windows(problem, shorter, states=states, core=16)


def test_windows_that_do_not_cover_a_clip_are_refused():
    problem = problem_of(AveragePool(2))
    windows = windows_of(problem.operator, FRAMES, 8, 8)
    long = LongProblem(problem.operator, problem.measurement, 0.1, windows[1:])
    with pytest.raises(InputError, match=r"windows have the cores .*make them with windows_of"):
        list(restore_windows(long, PRIOR, vision_xl(count=10), generator=generator()))
    with pytest.raises(InputError, match="does not measure a clip's first or last frames"):
        LongProblem.of(KeepFrames(2, 30, FRAMES) @ problem.operator, problem.measurement, 0.1)


@pytest.mark.parametrize("boundary", ["circular", "reflect"])
def test_only_the_windows_that_are_wanted_make_the_last_step(boundary):
    problem = problem_of(AveragePool(2) @ TemporalAverage(3, boundary))
    whole, made = in_windows(problem, vision_xl(count=10)), []
    some = in_windows(
        problem,
        vision_xl(count=10),
        indices=[4, 1],
        observe=lambda i, s: made.append((s.record.index, i)),
    )
    assert [piece.index for piece in some] == [1, 4]
    assert made[12:] == [(2, 1), (2, 4)]
    for piece in some:
        assert torch.equal(piece.video, whole[piece.index].video)


@frozen(eq=False)
class Counting:
    """How many frames each network has seen."""

    seen: dict

    @property
    def schedule(self):
        return PRIOR.schedule

    def _seen(self, stage, frames):
        self.seen[stage] = self.seen.get(stage, 0) + len(frames)

    def encode(self, video):
        self._seen("encode", video)
        return PRIOR.encode(video)

    def decode(self, latent):
        self._seen("decode", latent)
        return PRIOR.decode(latent)

    def denoise(self, latent, level):
        self._seen("denoise", latent)
        return PRIOR.denoise(latent, level)


@pytest.mark.parametrize("boundary", ["circular", "reflect"])
@pytest.mark.parametrize("initializer", [PseudoBatchInversion(), CorrectedInversion(NoiseAware())])
def test_the_networks_see_every_frame_once_a_step(initializer, boundary):
    problem = problem_of(AveragePool(2) @ TemporalAverage(3, boundary))
    sampler = vision_xl(count=10, initializer=initializer)
    counted = []
    for core in (FRAMES, 8):
        prior = Counting({})
        in_windows(problem, sampler, core=core, prior=prior)
        counted.append(prior.seen)
    whole, windows = counted
    assert whole["decode"] == 3 * FRAMES
    # Where time goes round, the frames on both sides of the cut are seen from either end.
    twice = 3 * 2 * 4 if boundary == "circular" else 0
    assert windows["encode"] == whole["encode"]
    assert windows["decode"] == whole["decode"] + twice
    assert windows["denoise"] == whole["denoise"] + twice


@frozen(eq=False)
class BrokenOnce:
    """A prior whose stage answers NaN the ``call``-th time it runs."""

    stage: str
    call: int
    calls: list

    @property
    def schedule(self):
        return PRIOR.schedule

    def spoiled(self, stage, answer):
        self.calls.append(stage)
        return answer * math.nan if self.calls.count(self.stage) == self.call else answer

    def encode(self, video):
        return self.spoiled("encode", PRIOR.encode(video))

    def decode(self, latent):
        return self.spoiled("decode", PRIOR.decode(latent))

    def denoise(self, latent, level):
        return PRIOR.denoise(latent, level)


@pytest.mark.parametrize(
    ("stage", "boundary", "call", "told"),
    [
        ("decode", "reflect", 6, "window 0, step 0, frame 5"),
        ("decode", "reflect", 20, "window 1, step 0, frame 19"),
        ("decode", "reflect", 41 + 20, "window 1, step 1, frame 19"),
        ("decode", "circular", 1, "window 0, step 0, frame 37"),
        ("decode", "circular", 4 + 12 + 5, "window 1, step 0, frame 16"),
        ("decode", "circular", 4 + 41 + 3, "window 4, step 0, frame 2"),
        ("encode", "circular", 1 + 8 + 5, "window 1, step 0, frame 12"),
        ("encode", "reflect", 1 + 41 + 41, "window 5, step 1, frame 40"),
    ],
)
def test_what_is_no_number_in_a_window_is_told_by_the_frame_of_the_clip(
    stage, boundary, call, told
):
    problem = problem_of(AveragePool(2) @ TemporalAverage(3, boundary))
    broken = BrokenOnce(stage, call, [])
    told = rf"{stage} answered NaN or infinity \({told}, float64"
    with pytest.raises(NotFiniteError, match=told):
        in_windows(problem, vision_xl(count=10), prior=broken)


@pytest.mark.parametrize("frame", [0, 21, -1])
def test_what_is_no_number_in_the_common_start_is_told_by_its_stage_and_frame(frame):
    problem = problem_of(AveragePool(2) @ TemporalAverage(3))
    sampler = vision_xl(initializer=BatchConsistentInversion(frame))
    told = rf"encode answered NaN or infinity \(window \d, frame {frame % FRAMES}, float64"
    with pytest.raises(NotFiniteError, match=told):
        in_windows(problem, sampler, prior=BrokenOnce("encode", 1, []))
    told = rf"encode answered NaN or infinity \(frame {frame % FRAMES}, float64"
    with pytest.raises(NotFiniteError, match=told):
        restore(problem, BrokenOnce("encode", 1, []), sampler, generator=generator())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"indices": [0, 6]}, "indices has 6: there are the windows 0 to 5"),
    ],
)
def test_a_window_that_is_not_there_is_refused_at_once(options, told):
    problem = problem_of(AveragePool(2))
    long = LongProblem.of(problem.operator, problem.measurement, 0.1, 8, 8)
    with pytest.raises(InputError, match=told):
        restore_windows(long, PRIOR, vision_xl(count=10), generator=generator(), **options)


def test_windows_of_another_clip_are_refused():
    problem = problem_of(AveragePool(2))
    for windows, frames in ((windows_of(AveragePool(2), 40, 8, 8), 40), ((), 0)):
        with pytest.raises(InputError, match=f"windows are for {frames} frames and the meas.* 41"):
            LongProblem(problem.operator, problem.measurement, 0.1, windows)
    with pytest.raises(InputError, match="noise_std -1"):
        LongProblem.of(problem.operator, problem.measurement, -1.0)


def test_all_windows_draw_what_the_generator_would_have_drawn_at_the_call():
    problem, chance = problem_of(AveragePool(2)), generator()
    long = LongProblem.of(problem.operator, problem.measurement, 0.1, 8, 8)
    found = restore_windows(long, PRIOR, vision_xl(count=10), generator=chance)
    torch.randn(5, generator=chance)
    expected = in_windows(problem, vision_xl(count=10))
    assert torch.equal(joined(found), joined(expected))


def test_a_sampler_whose_frames_do_not_share_their_noise_is_refused():
    problem = problem_of(AveragePool(2))
    with pytest.raises(InputError, match="shared=True"):
        in_windows(problem, dds())
    with pytest.raises(InputError, match="shared=True"):
        in_windows(problem, evolve(vision_xl(count=10), initializer=Noise(shared=False)))
    with pytest.raises(InputError, match="draws noise for each frame"):
        in_windows(problem, evolve(daps(), initializer=Noise(shared=True)))

    def own(clean, noise, level, generator):
        fresh = torch.randn(clean.shape, generator=generator).to(clean)
        return level.signal * clean + level.noise * fresh

    with pytest.raises(InputError, match=r"renoise .*give yours that attribute"):
        in_windows(problem, vision_xl(count=10, renoise=own))


def test_memory_is_that_of_a_window(tmp_path):
    def peak(frames):
        operator = AveragePool(2) @ TemporalAverage(3)
        measurement = torch.zeros(frames, 1, 4, 4)
        long = LongProblem.of(operator, measurement, 0.1, 8, 4)
        prior = GaussianPrior.natural(8, 8)
        decompose.cache_clear()  # nothing is kept from a run before
        svd_of.cache_clear()

        def run():
            states = StatesOnDisk(CheckpointFolder(tmp_path / str(frames)))
            for piece in restore_windows(
                long, prior, vision_xl(count=7), generator=generator(), states=states
            ):
                del piece

        return peak_bytes_of(run)

    assert peak(72) == pytest.approx(peak(40), rel=0.05)


def test_the_ends_of_a_circular_clip_are_no_neighbours_for_the_total_variation():
    """In a window over the ends the last frame and the first are no neighbours, as in the whole."""
    clip = torch.cat([torch.full((14, 1, 32, 32), -0.8), torch.full((14, 1, 32, 32), 0.8)])
    operator = TemporalAverage(3)
    problem = simulate(clip, operator, 0.05, generator=generator())
    prior = GaussianPrior.natural(32, 32)
    method = vision_tv(count=7)
    whole = restore(problem, prior, method, generator=generator()).video
    found = joined(in_windows(problem, method, core=7, context=7, prior=prior))
    assert (found[0] - whole[0]).abs().max() < 0.05
    assert (found[-1] - whole[-1]).abs().max() < 0.05


def test_the_frames_around_a_core_follow_one_another_in_a_window():
    for window in windows_of(TemporalAverage(3), 40, 7, 9):
        inside = sorted(t % 40 for t in range(window.begin, window.end))
        places = [window.place(t) for t in range(window.begin, window.end)]
        assert [inside[place] for place in places] == [
            t % 40 for t in range(window.begin, window.end)
        ]
        near = [window.place(t) for t in range(window.first - 4, window.stop + 4)]
        assert {(b - a) % window.size for a, b in pairwise(near)} == {1}


@pytest.mark.parametrize(
    ("first", "stop", "expected"),
    [
        (2, 5, [2, 2, 2, 3, 4, 4, 4, 4]),
        (0, 5, [0, 1, 2, 3, 4, 4, 4, 4]),
        (6, 10, [0, 1, 1, 1, 6, 6, 6, 7]),
    ],
)
def test_frames_kept_over_the_end_are_exact_and_lifted_to_the_nearest(first, stop, expected):
    keep = KeepFrames(first, stop, 8)
    assert check_adjoint(keep, (8, 3, 2, 2)) < 1e-14
    video = torch.arange(8.0).view(8, 1, 1, 1)
    assert lift(keep, keep.forward(video)).flatten().tolist() == expected
    factors = factors_of(keep, (8, 1, 1, 1))
    assert torch.equal(factors.axes[0].float() @ video.flatten(), keep.forward(video).flatten())


@pytest.mark.parametrize("boundary", ["circular", "reflect"])
def test_a_window_that_ends_with_the_clip_is_exact_too(boundary):
    """The context of one ends with the last frame, and that of another begins with the first."""
    operator = AveragePool(2) @ TemporalAverage(5, boundary)
    clip = noise(32, 1, 8, 8)
    measurement = operator.forward(clip)
    windows = windows_of(operator, 32, 8, 8)
    assert any(w.end == 32 for w in windows)
    assert any(w.begin == 0 for w in windows)
    for window in windows:
        problem = window.problem(operator, measurement, 0.1)
        found = problem.operator.forward(window.cut(clip))
        torch.testing.assert_close(found, problem.measurement)


def test_a_start_from_a_frame_counted_from_the_end_is_that_of_the_whole_clip():
    problem = problem_of(AveragePool(2))
    sampler = vision_xl(count=10, initializer=BatchConsistentInversion(-3))
    whole = restore(problem, PRIOR, sampler, generator=generator()).video
    found = joined(in_windows(problem, sampler, context=2))
    torch.testing.assert_close(found, whole, atol=1e-12, rtol=0)


def test_a_common_start_is_made_with_the_prior_as_it_is():
    problem = problem_of(TemporalAverage(3, "replicate"))
    plain = evolve(
        vision_xl(count=10, initializer=BatchConsistentInversion()), renoise=SharedNoise(0.0)
    )
    starts = []
    for method in (plain, evolve(plain, condition=latent_dps().condition)):
        states, seen = {}, []
        in_windows(
            problem,
            method,
            states=states,
            observe=lambda *_, s=seen, t=states: s.append(
                t[0, 1].state.latent if (0, 1) in t else None
            ),
        )
        starts.append(seen[0])
    assert torch.equal(*starts)


def test_the_refusal_of_a_difference_does_not_hang_on_the_measurements_unit():
    problem = problem_of(Scale(1e-5) @ EveryFifth())
    with pytest.raises(InputError, match=r"at\(frames, count\)"):
        in_windows(problem, vision_xl(count=10))


def test_one_mask_of_every_colour_stays_itself():
    colours = Mask(noise(1, 2, 8, 8) > 0)
    assert operator_at(colours, [3, 1], 4) is colours


@pytest.mark.parametrize(("first", "stop"), [(0, 5), (-1, 2), (2, 2), (4, 5)])
def test_frames_that_cannot_be_kept_are_refused(first, stop):
    with pytest.raises(InputError, match="of 4: expected 0 <= first < frames"):
        KeepFrames(first, stop, 4)


class Fading:
    """Each frame a little darker than the one before it, and no method at() that says so."""

    def __init__(self, share):
        self.share = share

    def forward(self, video):
        frames = torch.arange(len(video), dtype=video.dtype).view(-1, 1, 1, 1)
        return video * (1 - self.share) ** frames

    adjoint = forward

    def reach(self):
        return Reach()


def test_what_changes_in_time_is_refused_however_slowly():
    for share in (0.1, 5e-4):
        with pytest.raises(InputError, match=r"differently at another time.*at\(frames, count\)"):
            in_windows(problem_of(Fading(share)), vision_xl(count=10))
    assert in_windows(problem_of(Fading(0.0)), vision_xl(count=10))


class Late(Fading):
    """The clip's end is darker, which its first frames do not show."""

    def forward(self, video):
        frames = torch.arange(len(video), dtype=video.dtype).view(-1, 1, 1, 1)
        return torch.where(frames < len(video) - 5, video, (1 - self.share) * video)

    adjoint = forward


class Shortsighted:
    """The mean of a frame and the one two before it, which says that it sees one."""

    def forward(self, video):
        return (video + video.roll(2, 0)) / 2

    def adjoint(self, measurement):
        return (measurement + measurement.roll(-2, 0)) / 2

    def reach(self):
        return Reach(1, circular=True)


@pytest.mark.parametrize(
    "operator", [Fading(0.1), Late(0.5), Shortsighted()], ids=lambda o: type(o).__name__
)
def test_pieces_that_are_not_the_operator_are_refused_wherever_a_clip_is_cut(operator):
    told = r"not measure some frames as it .*reach\(\) gives fewer.*lacks at\(.*or that is wrong"
    problem = problem_of(operator)
    with pytest.raises(InputError, match=told):
        in_windows(problem, vision_xl(count=10))
    with pytest.raises(InputError, match=told):
        list(simulate_long(torch.zeros(FRAMES, 3, 8, 8) + 0.5, operator, generator=generator()))
    with pytest.raises(InputError, match=told):
        hosted(problem, vision_xl(), "cpu")
