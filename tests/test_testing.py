"""The contract tests: the library's own parts pass, and each law catches a part that breaks it."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from attrs import evolve, field, frozen
from dense import generator, noise
from models import double

import visionxl.testing
from visionxl import (
    Correction,
    Denoised,
    GaussianPrior,
    InputError,
    InverseProblem,
    NoiseAware,
    Padded,
    PocketPrior,
    vision_xl,
)
from visionxl.init import (
    BatchConsistentInversion,
    CorrectedInversion,
    EncodedBackProjection,
    Noise,
    PseudoBatchInversion,
)
from visionxl.operators import (
    MORE_TASKS,
    TASKS,
    AveragePool,
    Clip,
    Factors,
    FourierMagnitude,
    Gamma,
    GaussianBlur,
    Identity,
    Mask,
    OnLight,
    Reach,
    Scale,
    Shift,
    TemporalAverage,
)
from visionxl.operators.nonlinear import Diagonal
from visionxl.priors import FlowPrior, MixturePrior
from visionxl.protocols import NoiseLevel
from visionxl.sizes import cover
from visionxl.solvers import (
    ByWindow,
    ClosedForm,
    DampedCG,
    GaussNewton,
    Linearized,
    MotionShrinkage,
    NullSpace,
    PlainCG,
    SpaceTimeTV,
    Unchanged,
    conjugate_gradient,
    method_named,
)
from visionxl.solvers.cg import INDEFINITE
from visionxl.solvers.methods import METHODS
from visionxl.testing import (
    ContractError,
    check_consistency,
    check_denoising,
    check_initializer,
    check_method,
    check_operator,
    check_prior,
)
from visionxl.video import DEMO_CLIP, read_clip

SHAPE = (9, 3, 16, 24)
ALL_TASKS = TASKS | MORE_TASKS


# Ours pass.


@pytest.mark.parametrize("name", ALL_TASKS)
def test_the_operator_of_every_named_task_keeps_the_laws(name):
    check_operator(ALL_TASKS[name](9, 16, 24, generator()), SHAPE)


NONLINEAR = (
    Gamma(),
    Clip(-0.5, 0.5),
    FourierMagnitude(),
    OnLight(AveragePool(2)),
    Gamma() @ AveragePool(2),
)


@pytest.mark.parametrize("operator", NONLINEAR, ids=repr)
def test_operators_that_are_not_linear_keep_theirs(operator):
    check_operator(operator, (2, 3, 12, 16))


def test_a_shape_that_cannot_be_taken_is_refused():
    check_operator(AveragePool(4), (2, 3, 8, 12), refused=[(2, 3, 9, 12), (2, 3, 8, 13)])


def test_float32_arithmetic_has_a_tolerance_of_its_own():
    check_operator(GaussianBlur(1.0), (2, 3, 12, 16), dtype=torch.float32)


def test_priors_that_are_known_exactly_keep_the_laws():
    check_prior(GaussianPrior.natural(16, 24), (3, 3, 16, 24))
    check_prior(MixturePrior(0.3 * noise(3, 16, 24)), (3, 3, 16, 24), dtype=torch.float64)


def test_the_pocket_prior_keeps_the_laws():
    pocket = PocketPrior.load()
    check_prior(pocket, (2, 3, 32, 48))
    check_prior(Padded(pocket, 30, 45, 8), (2, 3, 30, 45))


CLIP = cover(read_clip(DEMO_CLIP, frames=2).video, 64, 96)


def test_trained_denoisers_denoise():
    check_denoising(PocketPrior.load(), CLIP)
    check_denoising(GaussianPrior.natural(64, 96), CLIP)
    check_denoising(GaussianPrior.natural(64, 96), CLIP.double())


def opposite(prior, latent, level):
    """The noise with the other sign, and the clean latents that go with it."""
    noise = -prior.denoise(latent, level).noise
    return Denoised((latent - level.noise * noise) / level.signal, noise)


def at_another_time(prior, latent, level):
    noise = prior.denoise(latent, prior.schedule.level(1 - level.time)).noise
    return Denoised((latent - level.noise * noise) / level.signal, noise)


def idle(prior, latent, level):
    return Denoised(latent / level.signal, torch.zeros_like(latent))


@pytest.mark.parametrize("wrong", [opposite, at_another_time, idle])
def test_a_denoiser_of_sound_form_that_does_not_denoise_is_caught(wrong):
    pocket = PocketPrior.load()
    prior = Own(pocket, denoise=lambda latent, level: wrong(pocket, latent, level))
    check_prior(prior, (2, 3, 32, 48), tolerance=1e-3)
    with pytest.raises(ContractError, match=r"nearer to the clean latents.*the sign of what"):
        check_denoising(prior, CLIP)


def test_a_video_without_content_does_not_test_a_denoiser():
    with pytest.raises(InputError, match="latents are constant"):
        check_denoising(GaussianPrior.natural(8, 8), torch.zeros(2, 3, 8, 8))


def test_a_flow_prior_keeps_the_laws(flow_folder):
    prior = FlowPrior.from_pretrained(flow_folder, prompt="a dog", dtype=double())
    check_prior(prior, (2, 3, 64, 96), dtype=torch.float64)


def test_a_guided_prior_says_so(flow_folder):
    prior = FlowPrior.from_pretrained(flow_folder, prompt="a dog", guidance=0.6, dtype=double())
    check_prior(prior, (2, 3, 64, 96), dtype=torch.float64, guided=True)
    with pytest.raises(ContractError, match=r"make the latents.*guided=True"):
        check_prior(prior, (2, 3, 64, 96), dtype=torch.float64)


CONSISTENCIES = (
    PlainCG(),
    DampedCG(),
    NoiseAware(),
    ClosedForm(),
    SpaceTimeTV(),
    MotionShrinkage(),
    NullSpace(),
    GaussNewton(),
    ByWindow(NoiseAware(), "cpu", core=99),
)
OPERATORS = {
    "averaged and blurred": GaussianBlur(0.8) @ TemporalAverage(3),
    "pooled": AveragePool(4),
    "masked": Mask(noise(16, 24) > 0),
}


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("consistency", CONSISTENCIES, ids=lambda c: type(c).__name__)
def test_every_consistency_keeps_the_laws(consistency, operator):
    check_consistency(consistency, OPERATORS[operator], (4, 3, 16, 24))


@pytest.mark.parametrize("operator", NONLINEAR, ids=repr)
def test_gauss_newton_keeps_them_where_nothing_is_linear(operator):
    check_consistency(GaussNewton(), operator, (2, 3, 12, 16))


def test_damped_cg_keeps_them_for_an_operator_without_factors():
    check_consistency(NoiseAware(), Shift.random(2.0, 3, generator()), (3, 3, 12, 16))


@pytest.mark.parametrize("name", ["sr4+", "snapshot", "bracket"])
@pytest.mark.parametrize(
    "initializer",
    [
        BatchConsistentInversion(),
        PseudoBatchInversion(),
        CorrectedInversion(NoiseAware()),
        CorrectedInversion(NoiseAware(), at_once=True),
        EncodedBackProjection(),
        Noise(),
        Noise(shared=False),
    ],
    ids=repr,
)
def test_every_initializer_keeps_the_laws(initializer, name):
    prior = GaussianPrior.natural(16, 24)
    check_initializer(initializer, ALL_TASKS[name](9, 16, 24, generator()), prior, SHAPE)


# Each law catches a part that breaks it.


class Own:
    """A part of somebody's, with methods that can be spoilt one at a time."""

    def __init__(self, like, **spoilt):
        for name in ("forward", "adjoint", "encode", "decode", "denoise", "schedule", "correct"):
            if hasattr(like, name):
                setattr(self, name, getattr(like, name))
        for name in ("start", "linearize", "lift", "factors"):
            if hasattr(like, name) and name not in spoilt:
                setattr(self, name, getattr(like, name))
        self.__dict__.update(spoilt)

    def __repr__(self):
        return "Own()"


def test_a_part_whose_methods_are_passed_on_is_sound():
    check_operator(Own(GaussianBlur(1.0)), (2, 3, 8, 12))
    check_operator(Own(Gamma()), (2, 3, 8, 12))
    average = Own(TemporalAverage(3, "circular"), reach=lambda: Reach(1, circular=True))
    check_operator(average, (2, 3, 8, 12))
    check_operator(Shift.random(2.0, 5, generator()) @ average, (5, 3, 8, 12))
    check_prior(Own(PRIOR), (3, 3, 8, 12))
    check_consistency(Own(NoiseAware()), Identity(), (3, 3, 8, 12))
    check_initializer(Own(Noise()), Identity(), PRIOR, (3, 3, 8, 12))


class HalfWritten:
    def forward(self, video):
        return video


class Affine:
    def forward(self, video):
        return video + 0.1

    def adjoint(self, measurement):
        return measurement


class Unhashable:
    __hash__ = None

    def forward(self, video):
        return 2 * video

    adjoint = forward

    def factors(self, shape):
        return Factors((torch.eye(shape[0], dtype=torch.float64) * 2, None, None, None))


@frozen
class Tint:
    """Two of them are equal, whatever their gains are."""

    gain: torch.Tensor = field(eq=False)

    def forward(self, video):
        return video * self.gain.to(video).view(-1, 1, 1)

    adjoint = forward

    def factors(self, shape):
        return Factors((None, torch.diag(self.gain.double()), None, None))


BLUR = GaussianBlur(1.0)
BLURRED = Gamma() @ BLUR
WEIGHTS = torch.linspace(0.1, 1.0, 12, dtype=torch.float64)  # of columns
LYING = Own(BLUR, adjoint=lambda y: y)  # an adjoint that forgets the blur
OPERATORS_THAT_BREAK_A_LAW = {
    "half written": (HalfWritten(), r"names: forward, adjoint.*HalfWritten lacks adjoint\."),
    "no tensor": (Own(BLUR, forward=lambda x: x.numpy()), r"forward returns a tensor.*ndarray"),
    "a name that is none": (Own(BLUR, forward=lambda x: x.pixel), r"mend the name"),
    "complex numbers": (Own(BLUR, forward=torch.fft.fft2), r"complex128.*view_as_real"),
    "another dtype": (
        Own(BLUR, forward=lambda x: x * torch.ones(1, dtype=torch.float64)),
        r"argument's dtype.*float64 on cpu for torch.float32",
    ),
    "adjoint of another dtype": (
        Own(BLUR, adjoint=lambda y: BLUR.adjoint(y).float()),
        r"adjoint returns a tensor of its argument's dtype",
    ),
    "not finite": (Own(BLUR, forward=lambda x: x / 0), r"finite numbers"),
    "in place": (Own(BLUR, forward=lambda x: x.mul_(2)), r"forward leaves its arguments alone"),
    "adjoint in place": (Own(Scale(2.0), adjoint=lambda y: y.mul_(2)), r"adjoint leaves its arg"),
    "chance": (
        Own(BLUR, forward=lambda x: x * torch.rand(1).to(x)),
        r"forward gives the same answer.*draw random numbers only",
    ),
    "another shape": (
        Own(AveragePool(2), adjoint=lambda y: y),
        r"adjoint returns a video of the shape.*\(2, 3, 4, 6\) where \(2, 3, 8, 12\)",
    ),
    "a constant": (Affine(), r"forward is linear.*put a constant into the measurement"),
    "clipping": (Own(Identity(), forward=lambda x: x.clamp(-1, 1)), r"forward is linear"),
    "a lying adjoint": (LYING, r"adjoint is the transpose.*borders included"),
    "an adjoint with rounded weights": (
        Own(
            Identity(),
            forward=lambda x: x * WEIGHTS.to(x),
            adjoint=lambda y: y * WEIGHTS.float().to(y),
        ),
        r"adjoint is the transpose.*weights unrounded.*borders included",
    ),
    "an adjoint with one rounded weight": (
        Own(Identity(), forward=lambda x: 0.4 * x, adjoint=lambda y: 0.40001 * y),
        r"multiply adjoint by 0.9999750006",
    ),
    "a scaled adjoint": (
        Own(AveragePool(2), adjoint=lambda y: 4 * AveragePool(2).adjoint(y)),
        r"adjoint is the transpose.*first is 0.25 times the second.*multiply adjoint by 0.25,",
    ),
    "a border forgotten": (
        Own(GaussianBlur(1.0, "reflect"), adjoint=GaussianBlur(1.0, "zero").adjoint),
        r"adjoint is the transpose",
    ),
    "lift": (Own(BLUR, lift=lambda y: y[..., 1:]), r"lift returns a video of the shape"),
    "factors": (
        Own(BLUR, factors=GaussianBlur(1.1).factors),
        r"factors are those of forward",
    ),
    "a reach that is a number": (Own(BLUR, reach=lambda: 1), r"as a Reach.*returned 1"),
    "a reach too short": (
        Own(TemporalAverage(5, "zero"), reach=lambda: Reach(1)),
        r"at most 1 frames on each side.*changes by a share",
    ),
    "a reach that does not go round": (
        Own(TemporalAverage(3, "circular"), reach=lambda: Reach(1)),
        r"at most 1 frames.*circular=True where",
    ),
    "no hash": (Unhashable(), r"has a hash.*attrs.frozen"),
    "equal and not alike": (
        Tint(torch.tensor([1.0, 0.5, 2.0])),
        r"equal measure alike.*gain is left out of the comparison",
    ),
    "a wrong derivative": (
        Own(Gamma(), linearize=Gamma(0.5).linearize),
        r"linearize is the derivative",
    ),
    "a derivative that is none": (
        Own(Gamma(), linearize=lambda x: x),
        r"linearize returns a linear operator.*Tensor",
    ),
    "a Jacobian with a lying adjoint": (
        Own(BLURRED, linearize=lambda x: Own(BLURRED.linearize(x), adjoint=lambda y: y)),
        r"adjoint is the transpose",
    ),
    "a lift that is no video": (
        Own(Gamma(), lift=lambda y: y[0]),
        r"lift returns a video of the shape that was measured",
    ),
}


@pytest.mark.parametrize("case", OPERATORS_THAT_BREAK_A_LAW)
def test_an_operator_that_breaks_a_law_is_caught(case):
    operator, sentence = OPERATORS_THAT_BREAK_A_LAW[case]
    with pytest.raises(ContractError, match=sentence):
        check_operator(operator, (2, 3, 8, 12))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("operator", [Clip(high=0.2), Gamma()], ids=repr)
def test_a_kink_in_the_curve_is_no_broken_law(operator, seed):
    check_operator(operator, (8, 3, 64, 96), seed=seed)


class Ramp:
    """Each frame brighter than the one before it; for some frames it says something else."""

    def __init__(self, at):
        self.at = at

    def forward(self, video):
        return video * torch.arange(1, 1 + len(video)).to(video).view(-1, 1, 1, 1)

    adjoint = forward

    def reach(self):
        return Reach(2)


def test_what_an_operator_is_for_some_frames_is_held_against_the_laws():
    def lying(frames, count):
        gains = torch.tensor([1.0 + frame for frame in frames]).view(-1, 1, 1, 1)
        return Own(
            BLUR, forward=lambda x: x * gains.to(x), adjoint=lambda y: y, reach=lambda: Reach()
        )

    with pytest.raises(ContractError, match="adjoint is the transpose"):
        check_operator(Ramp(lying), (8, 3, 8, 12))
    with pytest.raises(ContractError, match="at most 2 frames on each side"):
        check_operator(Ramp(lambda frames, count: Scale(2.0)), (6, 3, 8, 12))
    with pytest.raises(InputError, match=r"\(5, 3, 8, 12\): expected 6 frames or more"):
        check_operator(Ramp(lambda frames, count: Scale(2.0)), (5, 3, 8, 12))


@pytest.mark.parametrize(
    ("operator", "sentence"),
    [
        (Own(AveragePool(4), forward=lambda x: x.view(2, 3, 2, 4, 3, 4).mean((3, 5))), "Runtime"),
        (Identity(), r"it took \(2, 3, 9, 12\)"),
    ],
)
def test_a_shape_that_is_not_refused_in_words_is_caught(operator, sentence):
    with pytest.raises(ContractError, match=rf"refuses a shape.*{sentence}"):
        check_operator(operator, (2, 3, 8, 12), refused=[(2, 3, 9, 12)])


def test_conjugate_gradients_that_break_down_speak_of_the_adjoint():
    negative = Own(BLUR, adjoint=lambda y: -BLUR.adjoint(y))
    y = noise(2, 3, 8, 12)
    result = conjugate_gradient(
        lambda x: negative.adjoint(negative.forward(x)), y, torch.zeros_like(y)
    )
    assert result.stopped == INDEFINITE
    assert re.search(r"adjoint may not be the transpose.*visionxl\.testing", result.stopped)
    with pytest.raises(ContractError, match="multiply adjoint by -1,"):
        check_operator(negative, (2, 3, 8, 12))


PRIOR = GaussianPrior.natural(8, 12)


def denoised(change):
    def denoise(latent, level):
        found = PRIOR.denoise(latent, level)
        return change(found.clean, found.noise)

    return denoise


class Schedule:
    def __init__(self, level):
        self.level = level


PRIORS_THAT_BREAK_A_LAW = {
    "half written": (HalfWritten(), r"HalfWritten lacks schedule, encode, decode, denoise\."),
    "no level": (Own(PRIOR, schedule=Schedule(lambda t: (1 - t, t))), r"NoiseLevel.*tuple"),
    "no signal": (
        Own(PRIOR, schedule=Schedule(lambda t: NoiseLevel(t, 0.0, 1.0))),
        r"NoiseLevel at every time.*signal and a noise above 0",
    ),
    "time runs back": (
        Own(PRIOR, schedule=Schedule(lambda t: NoiseLevel(t, t, 1 - t))),
        r"from clean at time 0 to noise.*turn it around",
    ),
    "the cleanest time wraps round": (
        Own(PRIOR, schedule=Schedule(lambda t: PRIOR.schedule.level(t if t > 0.01 else 1.0))),
        r"from clean at time 0 to noise.*at time 0.001 and",
    ),
    "decode mixes each frame with the next": (
        Own(PRIOR, decode=lambda z: torch.cat([0.5 * (z[:-1] + z[1:]), z[-1:]])),
        r"decode treats every frame by itself.*the first frame alone",
    ),
    "encode changes the dtype": (Own(PRIOR, encode=lambda x: x.double()), r"encode returns a tens"),
    "encode draws": (
        Own(PRIOR, encode=lambda x: x + 0.01 * torch.randn_like(x)),
        r"encode gives the same answer",
    ),
    "encode in place": (Own(PRIOR, encode=lambda x: x.add_(1)), r"encode leaves its arguments"),
    "encode loses a frame": (Own(PRIOR, encode=lambda x: x[1:]), r"encode returns as many frames"),
    "encode mixes frames": (
        Own(PRIOR, encode=lambda x: x - x.mean(0)),
        r"encode treats every frame by itself.*not over the batch",
    ),
    "decode ends at 0": (
        Own(PRIOR, decode=lambda z: (z + 1) / 2),
        r"decode returns videos in \[-1, 1\].*from -1 to 1 it returned .* to .*2 \* decoded - 1",
    ),
    "decode loses a row": (
        Own(PRIOR, decode=lambda z: z[..., 1:, :]),
        r"decode returns a video of the shape that was encoded.*Padded",
    ),
    "decode mixes frames": (Own(PRIOR, decode=lambda z: z / z.norm()), r"decode treats every fr"),
    "denoise returns a tensor": (Own(PRIOR, denoise=lambda z, level: z), r"denoise returns Denois"),
    "denoise crops": (
        Own(PRIOR, denoise=denoised(lambda c, n: Denoised(c[..., 1:], n[..., 1:]))),
        r"clean latents and noise of the latents' shape",
    ),
    "denoise mixes frames": (
        Own(PRIOR, denoise=denoised(lambda c, n: Denoised(c - c.mean(0), n))),
        r"denoise treats every frame by itself",
    ),
    "clean and noise do not belong together": (
        Own(PRIOR, denoise=denoised(lambda c, n: Denoised(c, 0.5 * n))),
        r"clean latents and the noise make the latents.*derive one from the other",
    ),
}


@pytest.mark.parametrize("case", PRIORS_THAT_BREAK_A_LAW)
def test_a_prior_that_breaks_a_law_is_caught(case):
    prior, sentence = PRIORS_THAT_BREAK_A_LAW[case]
    with pytest.raises(ContractError, match=sentence):
        check_prior(prior, (3, 3, 8, 12))


def test_one_frame_is_too_few_for_a_prior():
    with pytest.raises(InputError, match=r"shape \(1, 3, 8, 12\).*2 frames or more"):
        check_prior(PRIOR, (1, 3, 8, 12))


def corrected(change):
    class Corrected:
        def correct(self, estimate, problem, level):
            return change(NoiseAware().correct(estimate, problem, level), estimate, problem)

    return Corrected()


def moved(change):
    return corrected(lambda c, x, problem: Correction(change(x, problem), 0, (), "exact"))


def uphill(x, problem):
    return x - 0.5 * problem.operator.adjoint(problem.measurement - problem.operator.forward(x))


class FirstOnly:
    """A consistency that takes the first measurement it was asked about for all."""

    def __init__(self):
        self.first = None

    def correct(self, estimate, problem, level):
        self.first = problem.measurement if self.first is None else self.first
        return NoiseAware().correct(estimate, evolve(problem, measurement=self.first), level)


CONSISTENCIES_THAT_BREAK_A_LAW = {
    "half written": (HalfWritten(), r"HalfWritten lacks correct\."),
    "a tensor": (corrected(lambda c, x, problem: c.video), r"correct returns Correction.*Tensor"),
    "another dtype": (moved(lambda x, p: x.double()), r"correct returns a tensor of its arg"),
    "another shape": (moved(lambda x, p: x[..., 1:]), r"video of the estimate's shape"),
    "in place": (moved(lambda x, p: x.mul_(0.5)), r"correct leaves its arguments alone"),
    "the measurement in place": (
        moved(lambda x, p: x + 0 * p.measurement.mul_(0.5).mean()),
        r"correct leaves its arguments alone",
    ),
    "chance": (moved(lambda x, p: x + torch.randn_like(x)), r"correct gives the same answer"),
    "not finite": (moved(lambda x, p: x / 0), r"correct returns finite numbers"),
    "breakdown": (
        corrected(lambda c, x, p: Correction(c.video, 0, (), "breakdown: it is not positive")),
        r"for a sound problem it is no breakdown.*check_operator",
    ),
    "residuals": (
        corrected(lambda c, x, p: Correction(c.video, 1, (1.0, float("nan")), "exact")),
        r"tells how it ended",
    ),
    "the estimate as it was": (Unchanged(), r"did not fall in any case.*corrected video"),
    "a division by the noise": (
        corrected(lambda c, x, p: 1 / p.noise_std),
        r"noise_std 0.0 at time 0.001. Seen: ZeroDivisionError.*guard",
    ),
    "a class": (NoiseAware, r"is a class. Way out: give NoiseAware\(...\)"),
    "the first frame alone": (
        moved(lambda x, p: torch.cat([p.operator.adjoint(p.measurement)[:1], x[1:]])),
        r"goes on fitting it|moves every frame towards",
    ),
    "the first problem remembered": (
        FirstOnly(),
        r"depends on its arguments alone.*asked nothing before",
    ),
    "the wrong way": (moved(uphill), r"moves an estimate towards.*check the sign"),
    "too long a step": (
        moved(lambda x, p: x + 3 * p.operator.adjoint(p.measurement - p.operator.forward(x))),
        r"moves an estimate towards.*shorter steps",
    ),
    "the estimate forgotten": (
        moved(lambda x, p: p.operator.adjoint(p.measurement)),
        r"goes on fitting it.*start from the estimate",
    ),
}


@pytest.mark.parametrize("case", CONSISTENCIES_THAT_BREAK_A_LAW)
def test_a_consistency_that_breaks_a_law_is_caught(case):
    consistency, sentence = CONSISTENCIES_THAT_BREAK_A_LAW[case]
    with pytest.raises(ContractError, match=sentence):
        check_consistency(consistency, GaussianBlur(0.6), (3, 3, 12, 16))


def test_a_consistency_is_told_of_a_lying_operator():
    negative = Own(Identity(), adjoint=lambda y: -y)
    with pytest.raises(ContractError, match=r"no breakdown.*examine the operator first"):
        check_consistency(PlainCG(), negative, (3, 3, 12, 16))


def start(make):
    class Start:
        def start(self, problem, prior, levels, generator):
            return make(prior.encode(problem.measurement), problem, levels, generator)

    return Start()


INITIALIZERS_THAT_BREAK_A_LAW = {
    "half written": (HalfWritten(), r"HalfWritten lacks start\."),
    "one frame": (start(lambda z, *_: z[:1]), r"latents of the prior, one per frame.*lift"),
    "another dtype": (start(lambda z, *_: z.double()), r"start returns a tensor of its arg"),
    "no generator": (
        start(lambda z, *_: torch.randn_like(z)),
        r"start gives the same answer.*from a generator",
    ),
    "in place": (
        start(lambda z, problem, *_: problem.measurement.add_(1)),
        r"start leaves its arguments alone",
    ),
    "nothing": (start(lambda *_: None), r"it returned NoneType"),
    "two levels wanted": (start(lambda z, p, levels, _: z * levels[1].signal), r"with 1 level\."),
}


@pytest.mark.parametrize("case", INITIALIZERS_THAT_BREAK_A_LAW)
def test_an_initializer_that_breaks_a_law_is_caught(case):
    initializer, sentence = INITIALIZERS_THAT_BREAK_A_LAW[case]
    with pytest.raises(ContractError, match=sentence):
        check_initializer(initializer, Identity(), PRIOR, (3, 3, 8, 12))


def test_the_error_tells_the_part_the_law_and_the_way_out():
    with pytest.raises(AssertionError) as caught:
        check_operator(LYING, (2, 3, 8, 12))
    error = caught.value
    assert isinstance(error, ContractError)
    assert error.part is LYING
    for words in ("Own()", error.law, error.seen, error.way_out):
        assert words in str(error)


def test_the_checks_are_in_the_reference():
    reference = (Path(__file__).parent.parent / "docs" / "api.rst").read_text()
    for name in visionxl.testing.__all__:
        assert f":: visionxl.testing.{name}\n" in reference
        assert getattr(visionxl.testing, name).__doc__


# Methods


METHOD = evolve(vision_xl(count=10), initializer=EncodedBackProjection())


class Remembering:
    """A renoise that keeps the last noise it was given."""

    def __init__(self):
        self.kept = None

    def __call__(self, clean, noise, level, generator):
        before, self.kept = self.kept, noise
        return level.signal * clean + level.noise * (noise if before is None else before)


class LevelKept:
    """A consistency that keeps the first level that it was asked at."""

    def __init__(self):
        self.level = None

    def correct(self, estimate, problem, level):
        self.level = level if self.level is None else self.level
        return NoiseAware().correct(estimate, problem, self.level)


class LyingNoise:
    """A renoise that says that all frames share its draws, and draws for each."""

    shared = True

    def __call__(self, clean, noise, passage, generator):
        fresh = torch.randn(clean.shape, generator=generator).to(clean)
        return passage.signal * clean + passage.noise * fresh


def careless(clean, noise, level, generator):
    return level.signal * clean + level.noise * torch.randn_like(clean)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_keeps_the_laws_of_methods(name):
    check_method(
        method_named(name)(count=10), AveragePool(2), PRIOR, (2, 3, 8, 12), dtype=torch.float64
    )


@pytest.mark.parametrize(
    ("renoise", "sentence"),
    [
        (careless, "chance comes from the generator alone"),
        (Remembering(), "goes on from the state|the same seed gives the same result"),
    ],
)
def test_a_method_that_breaks_a_law_is_caught(renoise, sentence):
    with pytest.raises(ContractError, match=sentence):
        check_method(evolve(METHOD, renoise=renoise), AveragePool(2), PRIOR, (2, 3, 8, 12))


def test_a_method_that_keeps_something_from_its_first_step_is_caught():
    with pytest.raises(ContractError, match=r"on its arguments alone.*was asked nothing"):
        check_method(evolve(METHOD, consistency=LevelKept()), AveragePool(2), PRIOR, (2, 3, 8, 12))


def test_a_renoise_that_says_it_shares_and_does_not_is_caught():
    with pytest.raises(ContractError, match="all frames share the draws"):
        check_method(evolve(METHOD, renoise=LyingNoise()), AveragePool(2), PRIOR, (2, 3, 8, 12))


@pytest.mark.parametrize(("factor", "told"), [(2.0, "mean square 2"), (0.0, "mean square 0")])
def test_a_renoise_of_another_level_is_caught(factor, told):
    def wrong(clean, noise, level, generator):
        return level.signal * clean + factor * level.noise * noise

    with pytest.raises(ContractError, match=rf"latents at its level.*{told}.*sum to 1"):
        check_method(evolve(METHOD, renoise=wrong), AveragePool(2), PRIOR, (2, 3, 8, 12))


class DualKept:
    """Each call moves the estimate a little by what was left over in the last one."""

    left = 0.0

    def correct(self, estimate, problem, level):
        moved = estimate + 1e-3 * self.left
        found = NoiseAware().correct(moved, problem, level)
        self.left = found.video - moved
        return found


def test_a_consistency_that_keeps_what_hardly_shows_in_a_run_is_caught():
    method = evolve(METHOD, consistency=DualKept())
    with pytest.raises(ContractError, match=r"consistency depends on its arguments alone"):
        check_method(
            method, AveragePool(2), PRIOR, (2, 3, 8, 12), tolerance=1e-3, dtype=torch.float64
        )


class BackProjectionKept:
    """Keeps the adjoint of the first measurement for each noise and level."""

    def __init__(self):
        self.kept = {}

    def correct(self, estimate, problem, level):
        operator, key = problem.operator, (problem.noise_std, level.time)
        back = self.kept.setdefault(key, operator.adjoint(problem.measurement))
        return Correction(estimate + 0.5 * (back - operator.adjoint(operator.forward(estimate))))


def test_a_consistency_that_keeps_what_belongs_to_a_measurement_is_caught():
    with pytest.raises(ContractError, match="depends on its arguments alone"):
        check_consistency(BackProjectionKept(), GaussianBlur(1.0), (3, 3, 16, 16))
    method = evolve(METHOD, consistency=BackProjectionKept())
    with pytest.raises(ContractError, match="consistency depends on its arguments alone"):
        check_method(method, GaussianBlur(1.0), PRIOR, (2, 3, 8, 12))


class ClassKept:
    """The same for every object of the class: a copy has it, too."""

    kept = {}  # noqa: RUF012

    def correct(self, estimate, problem, level):
        operator, shape = problem.operator, problem.measurement.shape
        back = self.kept.setdefault(shape, operator.adjoint(problem.measurement))
        return Correction(estimate + 0.5 * (back - operator.adjoint(operator.forward(estimate))))


def test_what_a_class_keeps_of_a_measurement_is_caught():
    with pytest.raises(ContractError, match=r"of another measurement.*its class or its module"):
        check_consistency(ClassKept(), GaussianBlur(1.0), (3, 3, 16, 16))


class Cubic:
    """A sound one; those below spoil its derivative."""

    def forward(self, video):
        return video + 0.1 * video**3

    def lift(self, measurement):
        return measurement.clone()

    def linearize(self, video):
        return Times(self.slope(video))

    def slope(self, video):
        return 1 + 0.3 * video**2


class DoubleSlope(Cubic):
    def slope(self, video):
        return 1 + 0.3 * video.double() ** 2


class InPlace(Cubic):
    def slope(self, video):
        return 1 + 0.3 * video.clamp_(-1, 1) ** 2


class LastSlope(Cubic):
    """Its derivatives all answer for the last video."""

    def linearize(self, video):
        self.last = self.slope(video)
        return LastOf(self)


class Times:
    def __init__(self, slope):
        self.slope = slope

    def forward(self, video):
        return self.slope * video

    adjoint = forward


class LastOf:
    def __init__(self, operator):
        self.operator = operator

    def forward(self, video):
        return self.operator.last * video

    adjoint = forward


@pytest.mark.parametrize(
    ("operator", "told"),
    [
        (DoubleSlope(), "tensor of its argument's dtype"),
        (InPlace(), "linearize leaves its video alone"),
        (LastSlope(), "derivative stays that at its own video"),
    ],
)
def test_a_derivative_that_breaks_a_law_is_caught(operator, told):
    check_operator(Cubic(), (2, 3, 6, 8))
    with pytest.raises(ContractError, match=told):
        check_operator(operator, (2, 3, 6, 8))


@pytest.mark.parametrize("operator", [DoubleSlope(), InPlace()])
def test_a_wrong_derivative_is_told_of_by_its_name(operator):
    video = noise(2, 3, 6, 8).float()
    problem = InverseProblem(operator, Cubic().forward(video), 0.05)
    with pytest.raises(InputError, match=rf"{type(operator).__name__}.*(derivative|linearize)"):
        Linearized(NoiseAware()).correct(video, problem, NoiseLevel(0.1, 0.9, 0.4))


class Seeded:
    """A start that sets the seed of everybody."""

    def start(self, problem, prior, levels, generator):
        torch.manual_seed(0)
        latent = EncodedBackProjection().start(problem, prior, levels, generator)
        return latent + 0.01 * torch.randn(latent.shape).to(latent)


def test_a_start_that_sets_the_global_seed_is_caught():
    with pytest.raises(ContractError, match="leaves the global random numbers alone"):
        check_initializer(Seeded(), AveragePool(2), PRIOR, (2, 3, 8, 12))


def test_what_is_no_method_is_refused():
    with pytest.raises(ContractError, match=r"Sampler.*vision_xl\(\)"):
        check_method(vision_xl, AveragePool(2), PRIOR, (2, 3, 8, 12))


def test_a_network_is_not_printed_layer_by_layer():
    prior = PocketPrior.load()
    assert len(repr(prior)) < 500
    assert len(str(ContractError(prior, "law", "seen", "way out"))) < 600


@pytest.mark.parametrize(
    ("error", "way"),
    [
        (RuntimeError("expected scalar type Float but found Double: dtype"), "constant.to"),
        (RuntimeError("expected scalar type Double but found Float"), "constant.to"),
        (IndexError("too many"), "Padded"),
        (TypeError("takes 1 positional argument but 2 were given"), "that its protocol names"),
    ],
)
def test_the_way_out_fits_the_error(error, way):
    def fail(video):
        raise error

    with pytest.raises(ContractError, match=way):
        check_prior(Own(PRIOR, encode=fail), (2, 3, 8, 12))


def test_the_default_keeps_the_laws_of_methods_where_motion_is_searched_for():
    check_method(method_named("vision_tv")(), AveragePool(4), PocketPrior.load(), (2, 3, 32, 48))


class Rounded:
    """A sensor with eight levels."""

    def forward(self, video):
        return (4 * video).round() / 4

    def linearize(self, video):
        return Scale(1.0)

    def lift(self, measurement):
        return measurement


class Curved:
    """A curve whose inverse is not everywhere."""

    def forward(self, video):
        return video.tanh()

    def linearize(self, video):
        return Diagonal(1 - video.tanh().square())

    def lift(self, measurement):
        return measurement.atanh()


@pytest.mark.parametrize(
    ("operator", "told"),
    [(Rounded(), "constant in pieces.*leave rounding out"), (Curved(), "lift takes any.*clamp")],
)
def test_what_a_restoration_would_stumble_over_is_told(operator, told):
    with pytest.raises(ContractError, match=f"(?s){told}"):
        check_operator(operator, (2, 3, 8, 12))


@pytest.mark.parametrize("name", ["inpaint", "inpaint+"])
def test_a_mask_that_is_the_same_for_all_frames_is_examined_with_few(name):
    check_operator(ALL_TASKS[name](1, 16, 24, generator(0)), (1, 3, 16, 24))


@pytest.mark.parametrize("operator", [Clip(high=0.2), Clip(-0.2, 0.2), Gamma()], ids=repr)
@pytest.mark.parametrize("seed", range(4))
def test_a_kink_is_straddled_by_more_in_float32(operator, seed):
    check_operator(operator, (4, 3, 8, 8), dtype=torch.float32, seed=seed)


def raising(*_):
    raise AttributeError("'Own' object has no attribute 'gains'")


@pytest.mark.parametrize(
    ("operator", "law"),
    [
        (Own(BLUR, factors=raising), "factors are those of forward.*no attribute 'gains'"),
        (Own(BLUR, reach=raising), "reach returns how far it sees.*no attribute 'gains'"),
        (Ramp(lambda frames: None), r"at most 2 frames.*TypeError.*has at\(frames, count\)"),
    ],
)
def test_what_a_part_raises_is_a_broken_law(operator, law):
    with pytest.raises(ContractError, match=law) as raised:
        check_operator(operator, (6, 3, 8, 12))
    assert raised.value.__cause__ is not None


@frozen
class Mixing:
    """``y = M x`` over channels, with a matrix in numpy that two equal ones may have different."""

    matrix: np.ndarray = field(eq=False)

    def forward(self, video):
        return torch.einsum("dc,fchw->fdhw", torch.from_numpy(self.matrix).to(video), video)

    def adjoint(self, measurement):
        return torch.einsum(
            "dc,fdhw->fchw", torch.from_numpy(self.matrix).to(measurement), measurement
        )

    def factors(self, shape):
        return Factors((None, torch.from_numpy(self.matrix), None, None))


def test_an_array_that_is_left_out_of_the_comparison_is_told():
    with pytest.raises(ContractError, match=r"matrix is left out of the comparison.*eq=False"):
        check_operator(Mixing(np.diag([1.0, 0.5, 2.0])), (2, 3, 8, 12))


def test_an_operator_without_a_hash_is_told_why_and_the_way_out():
    unhashable = frozen(type("Unhashable", (Mixing,), {"__annotations__": {"matrix": np.ndarray}}))
    operator, video = unhashable(np.eye(3)), noise(2, 3, 8, 12)
    told = r"(?s)unhashable type: 'numpy.ndarray'.*nested tuples"
    with pytest.raises(ContractError, match=told):
        check_operator(operator, (2, 3, 8, 12))
    problem = InverseProblem(operator, video, 0.1)
    with pytest.raises(InputError, match=told):
        ClosedForm().correct(video, problem, NoiseLevel(0.1, 0.8, 0.6))


def test_a_curve_that_ends_at_the_range_is_told_to_go_on_beyond_it():
    class Root(Gamma):
        def forward(self, video):
            return (video / 2 + 0.5).sqrt()

        def linearize(self, video):
            return Diagonal(0.25 / (video / 2 + 0.5).sqrt())

    with pytest.raises(ContractError, match="finite a little beyond"):
        check_operator(Root(), (2, 3, 8, 12))
