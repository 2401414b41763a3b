"""Operators from a video to a measurement: linear ones, with exact adjoints, and some with a
derivative."""

from visionxl.operators.blur import Blur, GaussianBlur, MotionBlur
from visionxl.operators.boundary import Boundary
from visionxl.operators.checks import check_adjoint, estimate_norm, normal
from visionxl.operators.composition import Composable, Composition, NonlinearComposition
from visionxl.operators.differentiable import Differentiable
from visionxl.operators.factors import Factored, Factors, factors_of
from visionxl.operators.lifting import Liftable, lift
from visionxl.operators.masking import Mask
from visionxl.operators.nonlinear import Clip, FourierMagnitude, Gamma, OnLight
from visionxl.operators.patterns import bayer, interlaced
from visionxl.operators.pointwise import Grayscale, Identity, Scale
from visionxl.operators.pooling import AveragePool, BicubicDownsample
from visionxl.operators.reach import Reach
from visionxl.operators.shift import Repeat, Shift
from visionxl.operators.shutter import DropFrames, ExposureBracket, RollingShutter
from visionxl.operators.snapshot import Snapshot
from visionxl.operators.stack import Stack, stacked
from visionxl.operators.tasks import (
    MORE_TASKS,
    NONLINEAR_TASKS,
    TASK_NAMES,
    TASKS,
    NonlinearTask,
    Task,
    task_named,
)
from visionxl.operators.temporal import TemporalAverage, TemporalSubsample
from visionxl.operators.transform import BlockCosine, dithered
from visionxl.operators.varying import VaryingBlur

__all__ = [
    "MORE_TASKS",
    "NONLINEAR_TASKS",
    "TASKS",
    "TASK_NAMES",
    "AveragePool",
    "BicubicDownsample",
    "BlockCosine",
    "Blur",
    "Boundary",
    "Clip",
    "Composable",
    "Composition",
    "Differentiable",
    "DropFrames",
    "ExposureBracket",
    "Factored",
    "Factors",
    "FourierMagnitude",
    "Gamma",
    "GaussianBlur",
    "Grayscale",
    "Identity",
    "Liftable",
    "Mask",
    "MotionBlur",
    "NonlinearComposition",
    "NonlinearTask",
    "OnLight",
    "Reach",
    "Repeat",
    "RollingShutter",
    "Scale",
    "Shift",
    "Snapshot",
    "Stack",
    "Task",
    "TemporalAverage",
    "TemporalSubsample",
    "VaryingBlur",
    "bayer",
    "check_adjoint",
    "dithered",
    "estimate_norm",
    "factors_of",
    "interlaced",
    "lift",
    "normal",
    "stacked",
    "task_named",
]
