"""The ablations: which part of the paper's method each of them varies, and how."""

import math
from collections.abc import Sequence
from typing import Any

from attrs import evolve, frozen
from peers.published import PublishedCG
from torch import Generator

from visionxl import (
    DataConsistency,
    InverseProblem,
    Latent,
    LatentPrior,
    MotionShrinkage,
    NoiseLevel,
    PlainCG,
    Sampler,
    SpaceTimeTV,
    Video,
    vision_tv,
    vision_xl,
)
from visionxl.init import CorrectedInversion, EncodedBackProjection, Noise, PseudoBatchInversion
from visionxl.operators.blur import gaussian_taps
from visionxl.operators.filtering import correlate_separable
from visionxl.operators.lifting import lift
from visionxl.randomness import draw_noise
from visionxl.solvers import (
    ConstantSpread,
    NoiseAware,
    ScheduledLowPass,
    ScheduleSpread,
    SharedNoise,
)

BASE = vision_xl(consistency=PlainCG(10))


@frozen
class FixedLowPass:
    """A Gaussian low-pass of ``sigma`` pixels, the same at every level."""

    sigma: float

    def __call__(self, video: Video, level: NoiseLevel) -> Video:
        return correlate_separable(video, gaussian_taps(self.sigma), "reflect")


@frozen
class IndependentNoise:
    """:class:`SharedNoise` with a draw of its own for each frame."""

    eta: float

    def __call__(
        self, clean: Latent, noise: Latent, level: NoiseLevel, generator: Generator
    ) -> Latent:
        fresh = draw_noise(clean, len(clean), generator)
        mixed = noise * math.sqrt(1 - self.eta**2) + self.eta * fresh
        return clean * level.signal + level.noise * mixed


@frozen
class NoisedCorrection:
    """The default's start with noise that is drawn in place of an inversion.

    Args:
        consistency: of the start.
    """

    consistency: DataConsistency

    def start(
        self,
        problem: InverseProblem,
        prior: LatentPrior,
        levels: Sequence[NoiseLevel],
        generator: Generator,
    ) -> Latent:
        lifted = lift(problem.operator, problem.measurement)
        clean = prior.encode(self.consistency.correct(lifted, problem, levels[0]).video)
        noise = draw_noise(clean, 1, generator)
        return clean * levels[0].signal + noise * levels[0].noise


@frozen
class Setting:
    """One variant of the method.

    Args:
        x: where it stands in the plot: a number, or a name.
        sampler: the method.
        line: tells two lines of one plot apart.
        published: swaps the operator's adjoint for the public code's.
        guidance: scale of CFG++, for a prior that is told a text.
    """

    x: float | str
    sampler: Sampler
    line: str = ""
    published: bool = False
    guidance: float | None = None

    @property
    def name(self) -> str:
        return f"{self.line} {self.x}".strip()


@frozen
class Ablation:
    """The variants of one part.

    Args:
        axis: what is varied, with its unit.
        settings: either all at numbers or all at names.
        noises: that are run where none is asked for, in units of the range [-1, 1].
        log: whether the numbers stand on a logarithmic axis.
    """

    axis: str
    settings: Sequence[Setting]
    noises: Sequence[float] = (0.01,)
    log: bool = False

    @property
    def named(self) -> bool:
        return isinstance(self.settings[0].x, str)


def swapped(part: str, variants: dict[Any, Any]) -> list[Setting]:
    """The base with one part replaced by each of some variants."""
    return [Setting(x, evolve(BASE, **{part: variant})) for x, variant in variants.items()]


STARTS = {
    "noise, independent": Noise(shared=False),
    "noise, shared": Noise(),
    "encoded back-projection": EncodedBackProjection(),
    "batch-consistent inversion": BASE.initializer,
    "pseudo-batch inversion": PseudoBatchInversion(),
    "corrected inversion": vision_tv().initializer,
}
LOW_PASSES = {"none": ScheduledLowPass(0.0), "scheduled": ScheduledLowPass()}
FIXED = {f"{sigma:g} px": FixedLowPass(sigma) for sigma in (0.5, 1.0, 1.5, 2.0)}
TIMES = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6)
STEPS = (1, 2, 5, 10, 20, 50)
ETAS = (0, 0.2, 0.5, 1)
CONSISTENCIES = {
    "PlainCG(10)": PlainCG(10),
    "NoiseAware": NoiseAware(),
    "SpaceTimeTV": vision_tv().consistency,
}
SPREADS = {
    "0.25, 0.07": ScheduleSpread(),
    "0.18, 0.05": ScheduleSpread(0.18, 0.05),
    "0.12, 0.04": ScheduleSpread(0.12, 0.04),
    "0.08, 0.02": ScheduleSpread(0.08, 0.02),
}
LOOP = evolve(vision_tv(), finish=None)
STILL = CorrectedInversion(SpaceTimeTV(ConstantSpread(math.inf), motion=False), at_once=True)
FOLLOWED = {
    "time at the pixel": SpaceTimeTV(motion=False),
    "along the motion": SpaceTimeTV(),
    "without the prior": SpaceTimeTV(ConstantSpread(math.inf)),
}
CHOICES = {
    "as it is": SpaceTimeTV(),
    "strength 0.7": SpaceTimeTV(strength=0.7),
    "strength 1.5": SpaceTimeTV(strength=1.5),
    "floor 0.01": SpaceTimeTV(floor=0.01),
    "floor 0.03": SpaceTimeTV(floor=0.03),
    "spread 0.2": SpaceTimeTV(ConstantSpread(0.2)),
    "spread 0.1": SpaceTimeTV(ConstantSpread(0.1)),
    "bend 0": SpaceTimeTV(bend=0.0),
    "bend 4": SpaceTimeTV(bend=4.0),
    "5 iterations": SpaceTimeTV(iterations=5),
    "20 iterations": SpaceTimeTV(iterations=20),
}
ALONE = SpaceTimeTV(ConstantSpread(math.inf))
INVERSIONS = {
    "every level": CorrectedInversion(ALONE),
    "the first level": CorrectedInversion(ALONE, at_once=True),
    "none": NoisedCorrection(ALONE),
}
FINISHES = {
    "none": LOOP,
    "1 turn": evolve(LOOP, finish=MotionShrinkage(turns=1)),
    "3 turns": evolve(LOOP, finish=MotionShrinkage(turns=3)),
    "as it is": vision_tv(),
    "12 turns": evolve(LOOP, finish=MotionShrinkage(turns=12)),
    "error 0.02": evolve(LOOP, finish=MotionShrinkage(error=0.02)),
    "error 0.1": evolve(LOOP, finish=MotionShrinkage(error=0.1)),
    "without the prior": vision_tv(consistency=SpaceTimeTV(ConstantSpread(math.inf))),
}
KINDS = {"shared": SharedNoise, "independent": IndependentNoise}
ADJOINTS = [
    Setting("exact", BASE),
    Setting("published", evolve(BASE, consistency=PublishedCG()), published=True),
]
NOISES = (0.0, 0.01, 0.05)

ABLATIONS = {
    "start": Ablation("initializer", swapped("initializer", STARTS)),
    "time": Ablation(
        "starting time tau (share of the schedule)",
        [Setting(t, vision_xl(consistency=PlainCG(10), start=t)) for t in TIMES],
    ),
    "cg": Ablation(
        "steps of conjugate gradients (count)",
        swapped("consistency", {steps: PlainCG(steps) for steps in STEPS}),
        NOISES,
        log=True,
    ),
    "low-pass": Ablation(
        "low-pass (fixed ones: sigma in pixels)", swapped("low_pass", LOW_PASSES | FIXED)
    ),
    "renoise": Ablation(
        "amplitude of fresh noise eta (from 0 to 1)",
        [
            Setting(eta, evolve(BASE, renoise=kind(eta)), line)
            for line, kind in KINDS.items()
            for eta in ETAS
        ],
    ),
    "guidance": Ablation(
        "scale of CFG++ guidance (from 0 to 1)",
        [Setting(scale, BASE, guidance=scale) for scale in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)],
    ),
    "adjoint": Ablation("adjoint", ADJOINTS, NOISES),
    "noise-aware": Ablation("consistency", swapped("consistency", CONSISTENCIES), NOISES),
    "spread": Ablation(
        "scale and floor of the spread of vision_xl",
        [Setting(x, vision_xl(consistency=NoiseAware(s))) for x, s in SPREADS.items()],
        NOISES,
    ),
    "motion": Ablation(
        "consistency",
        [
            Setting(name, evolve(LOOP, initializer=STILL, consistency=consistency))
            for name, consistency in FOLLOWED.items()
        ],
        NOISES,
    ),
    "choices": Ablation(
        "consistency",
        [Setting(x, evolve(LOOP, consistency=choice)) for x, choice in CHOICES.items()],
    ),
    "inversion": Ablation(
        "levels that are evaluated for the start",
        [Setting(name, evolve(LOOP, initializer=start)) for name, start in INVERSIONS.items()],
    ),
    "finish": Ablation("finish", [Setting(name, sampler) for name, sampler in FINISHES.items()]),
    "bend": Ablation(
        "bend, of the loop and of the start (in usual differences)",
        [Setting(b, vision_tv(consistency=SpaceTimeTV(bend=b))) for b in (0.0, 1.0, 2.0, 3.0)],
        NOISES,
    ),
    "iterations": Ablation(
        "iterations of a step; a pass of the start has twice as many (count)",
        [Setting(n, vision_tv(consistency=SpaceTimeTV(iterations=n))) for n in (5, 10, 20, 40)],
        log=True,
    ),
}
