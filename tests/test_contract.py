"""Parts of a user's own that break their contract are told what to change."""

import subprocess
import sys

import pytest
import torch
from attrs import evolve

from visionxl import (
    Correction,
    GaussianPrior,
    InputError,
    InverseProblem,
    NoiseAware,
    PocketPrior,
    restore,
    vision_tv,
    vision_xl,
)
from visionxl.operators import GaussianBlur, Identity
from visionxl.solvers.long import restore_windows
from visionxl.solvers.precision import check_precision
from visionxl.solvers.windows import LongProblem

PROBLEM = InverseProblem(Identity(), torch.zeros(3, 1, 8, 8), 0.1)
PRIOR = GaussianPrior.natural(8, 8)
BLUR = GaussianBlur(1.0)


class OwnPrior:
    """A prior whose methods can be spoilt one at a time."""

    schedule = PRIOR.schedule

    def __init__(self, **spoilt):
        self.__dict__.update(spoilt)

    def encode(self, video):
        return PRIOR.encode(video)

    def decode(self, latent):
        return PRIOR.decode(latent)

    def denoise(self, latent, level):
        return PRIOR.denoise(latent, level)


class OwnConsistency:
    def __init__(self, spoil):
        self.spoil = spoil

    def correct(self, estimate, problem, level):
        return self.spoil(NoiseAware().correct(estimate, problem, level))


def run(prior=PRIOR, sampler=None, problem=PROBLEM):
    generator = torch.Generator().manual_seed(0)
    return restore(problem, prior, sampler or vision_xl(), generator=generator)


def test_a_sound_part_of_ones_own_is_taken():
    own = run(OwnPrior(), vision_xl(consistency=OwnConsistency(lambda correction: correction)))
    torch.testing.assert_close(own.video, run().video)


PRIORS = {
    "denoise returns a tensor": (
        {"denoise": lambda latent, level: latent},
        r"denoise returned Tensor.*Denoised\(clean, noise\)",
    ),
    "encode changes the dtype": (
        {"encode": lambda video: video.double()},
        r"encode returned dtype torch.float64.*torch.float32.*keep",
    ),
    "decode loses a frame": (
        {"decode": lambda latent: latent[1:]},
        r"decode returned shape \(0, 1, 8, 8\) for 1 frames",
    ),
}


@pytest.mark.parametrize("case", PRIORS)
def test_a_prior_that_breaks_its_contract_is_told(case):
    spoilt, message = PRIORS[case]
    with pytest.raises(InputError, match=message):
        run(OwnPrior(**spoilt))


CONSISTENCIES = {
    "a tensor": (lambda c: c.video, r"correct returned Tensor.*make it return Correction"),
    "another dtype": (
        lambda c: evolve(c, video=c.video.double()),
        r"correct returned dtype torch.float64",
    ),
    "another shape": (
        lambda c: Correction(c.video[:, :, :4], 0, (), "exact"),
        r"\(3, 1, 4, 8\) for an estimate of \(3, 1, 8, 8\).*keep the shape",
    ),
}


@pytest.mark.parametrize("case", CONSISTENCIES)
def test_a_consistency_that_breaks_its_contract_is_told(case):
    spoil, message = CONSISTENCIES[case]
    with pytest.raises(InputError, match=message):
        run(sampler=vision_xl(consistency=OwnConsistency(spoil)))


class DoubleStart:
    def start(self, problem, prior, levels, generator):
        return torch.randn(3, 1, 8, 8, generator=generator, dtype=torch.float64)


def test_a_start_of_another_dtype_is_told():
    with pytest.raises(InputError, match=r"DoubleStart.*start returned dtype torch.float64"):
        run(sampler=vision_xl(initializer=DoubleStart()))


def test_autocast_around_a_run_rounds_nothing():
    expected = run().video
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(run().video, expected)


class Mixed:
    """Rows are mixed by a product of matrices, which autocast would round."""

    def forward(self, video):
        height = video.shape[-2]
        return torch.eye(height).add_(0.1).div_(1 + 0.1 * height).to(video) @ video

    adjoint = forward  # the matrix is symmetric


def test_autocast_does_not_reach_what_is_checked_before_and_after_a_run():
    problem = InverseProblem(Mixed(), Mixed().forward(PROBLEM.measurement), 0.05)
    expected = run(problem=problem).video
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(run(problem=problem).video, expected)


def test_autocast_does_not_reach_the_common_start_of_windows():
    prior = PocketPrior.load()
    measurement = torch.linspace(-1, 1, 48).expand(5, 3, 32, 48).contiguous()

    def restored():
        long = LongProblem.of(BLUR, measurement, 0.1, core=3, context=1)
        generator = torch.Generator().manual_seed(0)
        parts = restore_windows(long, prior, vision_xl(count=10), generator=generator)
        return torch.cat([part.video for part in parts])

    expected = restored()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(restored(), expected)


class Flat:
    """An operator that views what it measures, as one may of a contiguous tensor."""

    def forward(self, video):
        return 0.5 * video.view(len(video), -1)

    def adjoint(self, measurement):
        return 0.5 * measurement.view(len(measurement), 3, 32, 48)


@pytest.mark.parametrize("method", [vision_xl(count=10), vision_tv(count=10)], ids=["xl", "tv"])
@pytest.mark.parametrize("frames_at_once", [1, 2])
def test_videos_are_contiguous_however_many_the_networks_see_at_once(method, frames_at_once):
    problem = InverseProblem(Flat(), torch.zeros(2, 3 * 32 * 48), 0.1)
    generator = torch.Generator().manual_seed(0)
    prior = PocketPrior.load()
    options = {"generator": generator, "frames_at_once": frames_at_once}
    assert restore(problem, prior, method, **options).video.is_contiguous()


def test_rounded_products_are_warned_of():
    torch.set_float32_matmul_precision("high")
    try:
        with pytest.warns(UserWarning, match="call torch.set_float32_matmul_precision"):
            check_precision(torch.device("cuda"))
    finally:
        torch.set_float32_matmul_precision("highest")
    check_precision(torch.device("cuda"))  # a warning is an error here


SMALL_PARTS = {
    "a low-pass that crops": (
        {"low_pass": lambda video, level: video[..., 1:, :]},
        r"low-pass returned shape \(3, 1, 7, 8\) for an argument of \(3, 1, 8, 8\).*keep the shape",
    ),
    "a low-pass of nothing": (
        {"low_pass": lambda video, level: None},
        r"low-pass returned NoneType; make it return a tensor",
    ),
    "a renoise of one frame": (
        {"renoise": lambda clean, noise, level, generator: clean[:1]},
        r"renoise returned shape \(1, 1, 8, 8\) for an argument of \(3, 1, 8, 8\).*keep the shape",
    ),
    "a renoise in double": (
        {"renoise": lambda clean, noise, level, generator: clean.double()},
        r"renoise returned dtype torch.float64.*torch.float32",
    ),
}


@pytest.mark.parametrize("case", SMALL_PARTS)
def test_a_low_pass_or_renoise_that_breaks_its_contract_is_told(case):
    part, message = SMALL_PARTS[case]
    with pytest.raises(InputError, match=message):
        run(sampler=vision_xl(**part))


def test_a_breakdown_of_the_solver_is_warned_of():
    def broken(correction):
        return evolve(correction, stopped="breakdown: it is not positive definite")

    with pytest.warns(UserWarning, match="step 0: breakdown"):
        run(sampler=vision_xl(count=3, consistency=OwnConsistency(broken)))


# Arguments that are no such thing: told by a process of its own, where no types are checked

WRONG = {
    "a method's name": ("restore(p, prior, 'vision_xl', generator=g)", "sampler str"),
    "no parentheses": ("restore(p, prior, vision_xl, generator=g)", "sampler vision_xl"),
    "a prior's class": ("restore(p, PocketPrior, vision_xl(), generator=g)", "PocketPrior.load()"),
    "no generator": ("restore(p, prior, vision_xl(), generator=None)", "torch.Generator()"),
    "a start's class": ("restore(p, prior, vision_xl(initializer=Noise), generator=g)", "add ()"),
    "an operator's class": (
        "restore(InverseProblem(GaussianBlur, x), prior, vision_xl(), generator=g)",
        "operator GaussianBlur is a class",
    ),
    "plain CG in vision_tv": ("vision_tv(consistency=PlainCG(10))", "take vision_xl(consistency="),
    "8 bits": ("simulate(x.byte(), a, generator=g)", "video.float() / 127.5 - 1"),
    "an array": ("simulate(x.numpy(), a, generator=g)", "torch.from_numpy(video)"),
    "an operator's class in simulate": (
        "simulate(x, GaussianBlur, generator=g)",
        "GaussianBlur(...)",
    ),
    "no generator of the noise": ("simulate(x, a, 0.1, generator=None)", "torch.Generator()"),
    "noises of frames": ("simulate(x, a, torch.ones(3), generator=g)", "give one finite number"),
    "0 to 255": ("simulate(255 * x, a, generator=g)", "video / 127.5 - 1"),
    "a picture": ("simulate(x[0], a, generator=g)", "unsqueeze"),
    "channels last": ("simulate(x.permute(0, 2, 3, 1), a, generator=g)", "permute(0, 3, 1, 2)"),
}


def test_what_is_no_such_thing_is_told_with_a_way_out_and_a_number_of_numpy_is_one():
    program = """
import numpy, torch
from visionxl import *
from visionxl.init import Noise
from visionxl.operators import GaussianBlur
g, a, prior = torch.Generator().manual_seed(0), GaussianBlur(1.0), GaussianPrior.natural(16, 16)
x = torch.rand(3, 3, 16, 16, generator=g)
p = simulate(x, a, numpy.float32(0.05), generator=g)
"""
    for call, _ in WRONG.values():
        program += f"try:\n    {call}\nexcept InputError as error:\n    print(error)\n"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    told = done.stdout.splitlines()
    assert len(told) == len(WRONG), done.stderr
    for line, (name, (_, words)) in zip(told, WRONG.items(), strict=True):
        assert words in line, name


def test_a_problem_is_told_in_a_line():
    problem = InverseProblem(Identity(), torch.zeros(3, 3, 8, 8), 0.1)
    assert "measurement=<3x3x8x8>" in repr(problem)
    assert len(repr(problem).splitlines()) == 1
