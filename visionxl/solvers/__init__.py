"""Consistency, the parts of a step, the loop, and methods made of them."""

from visionxl.solvers.closed_form import ClosedForm
from visionxl.solvers.conjugate_gradient import CGResult, conjugate_gradient
from visionxl.solvers.consistency import DampedCG, NoiseAware, PlainCG
from visionxl.solvers.frames import FrameByFrame
from visionxl.solvers.loop import LowPass, Renoise, Sampler, restore, trajectory
from visionxl.solvers.methods import vision_tv, vision_xl
from visionxl.solvers.motion import Motion
from visionxl.solvers.parts import ScheduledLowPass, SharedNoise, leading_times
from visionxl.solvers.placing import ByChannel, OnDevice
from visionxl.solvers.space_time import SpaceTimeTV
from visionxl.solvers.spread import ConstantSpread, ScheduleSpread, Spread

__all__ = [
    "ByChannel",
    "CGResult",
    "ClosedForm",
    "ConstantSpread",
    "DampedCG",
    "FrameByFrame",
    "LowPass",
    "Motion",
    "NoiseAware",
    "OnDevice",
    "PlainCG",
    "Renoise",
    "Sampler",
    "ScheduleSpread",
    "ScheduledLowPass",
    "SharedNoise",
    "SpaceTimeTV",
    "Spread",
    "conjugate_gradient",
    "leading_times",
    "restore",
    "trajectory",
    "vision_tv",
    "vision_xl",
]
