"""Parts of a user's own that break their contract are told what to change."""

import pytest
import torch
from attrs import evolve

from visionxl import (
    Correction,
    GaussianPrior,
    InputError,
    InverseProblem,
    NoiseAware,
    restore,
    vision_xl,
)
from visionxl.operators import Identity

PROBLEM = InverseProblem(Identity(), torch.zeros(3, 1, 8, 8), 0.1)
PRIOR = GaussianPrior.natural(8, 8)


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


def run(prior=PRIOR, sampler=None):
    generator = torch.Generator().manual_seed(0)
    return restore(PROBLEM, prior, sampler or vision_xl(), generator=generator)


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


def test_a_breakdown_of_the_solver_is_warned_of():
    def broken(correction):
        return evolve(correction, stopped="breakdown: it is not positive definite")

    with pytest.warns(UserWarning, match="step 0: breakdown"):
        run(sampler=vision_xl(count=3, consistency=OwnConsistency(broken)))
