"""Consistency, the parts of a step, the loop, and methods made of them."""

from visionxl.solvers.blind import estimate_kernel, fit_kernel
from visionxl.solvers.cg import CGResult, conjugate_gradient
from visionxl.solvers.conditioned import (
    GluedLikelihood,
    Guided,
    HardConsistency,
    Likelihood,
    MeasurementLikelihood,
)
from visionxl.solvers.consistency import ClosedForm, DampedCG, NoiseAware, PlainCG, Unchanged
from visionxl.solvers.frames import Around, FrameByFrame
from visionxl.solvers.hosting import hosted
from visionxl.solvers.linearized import GaussNewton, Linearized
from visionxl.solvers.loop import (
    Condition,
    Demanding,
    LowPass,
    Renoise,
    Sampler,
    restore,
    trajectory,
    unconditioned,
    unfiltered,
)
from visionxl.solvers.methods import (
    METHODS,
    gauss_newton,
    method_named,
    vision_tv,
    vision_xl,
)
from visionxl.solvers.motion import Motion
from visionxl.solvers.null_space import NullSpace, NullSpaceNoise
from visionxl.solvers.parts import ScheduledLowPass, leading_times, trailing_times
from visionxl.solvers.peers import (
    daps,
    ddnm,
    ddnm_plus,
    dds,
    diffpir,
    latent_dps,
    latino,
    psld,
    resample,
    svi,
)
from visionxl.solvers.placing import ByWindow
from visionxl.solvers.renoising import (
    DDIMNoise,
    DecoupledNoise,
    FreshNoise,
    ResampledNoise,
    SharedNoise,
)
from visionxl.solvers.shrinkage import MotionShrinkage
from visionxl.solvers.space_time import SpaceTimeTV
from visionxl.solvers.spread import ConstantSpread, ScheduleSpread, Spread, WienerSpread

__all__ = [
    "METHODS",
    "Around",
    "ByWindow",
    "CGResult",
    "ClosedForm",
    "Condition",
    "ConstantSpread",
    "DDIMNoise",
    "DampedCG",
    "DecoupledNoise",
    "Demanding",
    "FrameByFrame",
    "FreshNoise",
    "GaussNewton",
    "GluedLikelihood",
    "Guided",
    "HardConsistency",
    "Likelihood",
    "Linearized",
    "LowPass",
    "MeasurementLikelihood",
    "Motion",
    "MotionShrinkage",
    "NoiseAware",
    "NullSpace",
    "NullSpaceNoise",
    "PlainCG",
    "Renoise",
    "ResampledNoise",
    "Sampler",
    "ScheduleSpread",
    "ScheduledLowPass",
    "SharedNoise",
    "SpaceTimeTV",
    "Spread",
    "Unchanged",
    "WienerSpread",
    "conjugate_gradient",
    "daps",
    "ddnm",
    "ddnm_plus",
    "dds",
    "diffpir",
    "estimate_kernel",
    "fit_kernel",
    "gauss_newton",
    "hosted",
    "latent_dps",
    "latino",
    "leading_times",
    "method_named",
    "psld",
    "resample",
    "restore",
    "svi",
    "trailing_times",
    "trajectory",
    "unconditioned",
    "unfiltered",
    "vision_tv",
    "vision_xl",
]
