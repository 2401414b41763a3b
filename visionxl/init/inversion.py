"""DDIM inversion: from a clean latent up to an intermediate time."""

from collections.abc import Sequence
from itertools import pairwise

from attrs import field, frozen
from torch import Generator

from visionxl.errors import InputError, located
from visionxl.operators.finite import unsolved
from visionxl.operators.lifting import lift
from visionxl.protocols import (
    NOT_A_NUMBER,
    DataConsistency,
    InverseProblem,
    Latent,
    LatentPrior,
    NoiseLevel,
)
from visionxl.validators import flag, of_kind, whole_number

NEARLY_CLEAN = 0.05  # noise in units of the signal, that clean latents may be taken to have


def ddim_invert(latent: Latent, prior: LatentPrior, levels: Sequence[NoiseLevel]) -> Latent:
    """Carry clean latents up to ``levels[0]`` with the noise that the denoiser predicts.

    DDIM (Song et al. 2021) run backwards: at each level the predicted noise and the corresponding
    clean latent are mixed again at the next higher level. With guidance the noise is the unguided
    one, as in the paper's code: guidance acts only on the way back. If the lowest level is nearly
    clean, as in the leading grid, the clean latent is used for it unchanged; a higher one is
    reached in one step, with the noise that the denoiser predicts there.

    Args:
        latent: clean latents.
        prior: with the denoiser.
        levels: falling; they are visited from the last to the first.
    """
    rising = list(reversed(levels))
    if rising[0].noise > NEARLY_CLEAN * rising[0].signal:
        noise = prior.denoise(latent, rising[0]).noise
        latent = latent * rising[0].signal + noise * rising[0].noise
    for level, following in pairwise(rising):
        noise = prior.denoise(latent, level).noise
        clean = (latent - level.noise * noise) / level.signal
        latent = clean * following.signal + noise * following.noise
    return latent


def frame_in(frame: int, count: int) -> int:
    """A frame number from 0, of one that may count from the end. InputError where there is none."""
    if not -count <= frame < count:
        raise InputError(
            f"frame {frame} is not in the measurement: it has {count} frames, 0 to {count - 1}"
        )
    return frame % count


@frozen
class BatchConsistentInversion:
    """One measurement frame, lifted, encoded, inverted, and replicated over the frames.

    All frames start alike, which keeps them consistent (VISION-XL, arXiv 2412.00156v2).

    Args:
        frame: which frame of the lifted measurement; negative counts from the end.
    """

    frame: int = field(default=0, validator=whole_number)

    def start(
        self,
        problem: InverseProblem,
        prior: LatentPrior,
        levels: Sequence[NoiseLevel],
        generator: Generator,
    ) -> Latent:
        lifted = lift(problem.operator, problem.measurement)
        frame = frame_in(self.frame, len(lifted))
        with located(lambda _: frame):  # the networks see no other
            latent = ddim_invert(prior.encode(lifted[frame : frame + 1]), prior, levels)
        return latent.expand(len(lifted), -1, -1, -1)


@frozen
class PseudoBatchInversion:
    """Every measurement frame, lifted, encoded and inverted by itself.

    The start of the paper's later version (arXiv 2412.00156v4).
    """

    def start(
        self,
        problem: InverseProblem,
        prior: LatentPrior,
        levels: Sequence[NoiseLevel],
        generator: Generator,
    ) -> Latent:
        lifted = lift(problem.operator, problem.measurement)
        return ddim_invert(prior.encode(lifted), prior, levels)


@frozen
class CorrectedInversion:
    """Every measurement frame, lifted, corrected, encoded and inverted by itself.

    Args:
        consistency: called once, at the first level, with the lifted measurement as the estimate.
            It should not trust that estimate, which is not restored yet.
        at_once: mix in the noise that the denoiser predicts for the clean latents at the first
            level: one evaluation per frame instead of one at every level but the first. The method
            ``vision_tv`` uses this: its results differ by less than 0.05 dB (docs/ablations).
    """

    consistency: DataConsistency = field(validator=of_kind(DataConsistency))
    at_once: bool = field(default=False, validator=flag)

    def start(
        self,
        problem: InverseProblem,
        prior: LatentPrior,
        levels: Sequence[NoiseLevel],
        generator: Generator,
    ) -> Latent:
        lifted = lift(problem.operator, problem.measurement)
        corrected = self.consistency.correct(lifted, problem, levels[0])
        if corrected.stopped == NOT_A_NUMBER:  # the solver kept what it had before
            raise unsolved(problem.operator, lifted)
        latent = prior.encode(corrected.video)
        if self.at_once:
            noise = prior.denoise(latent, levels[0]).noise
            return latent * levels[0].signal + noise * levels[0].noise
        return ddim_invert(latent, prior, levels)
