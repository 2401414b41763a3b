"""Linear operators from a video to a measurement, each with its exact adjoint."""

from visionxl.operators.blur import Blur, GaussianBlur, MotionBlur
from visionxl.operators.boundary import Boundary
from visionxl.operators.checks import check_adjoint, estimate_norm, normal
from visionxl.operators.composition import Composable, Composition
from visionxl.operators.differentiable import Differentiable
from visionxl.operators.factors import Factored, Factors, factors_of
from visionxl.operators.lifting import Liftable, lift
from visionxl.operators.masking import Mask
from visionxl.operators.pointwise import Grayscale, Identity, Scale
from visionxl.operators.pooling import AveragePool, BicubicDownsample
from visionxl.operators.stack import Stack
from visionxl.operators.tasks import TASKS, Task, task_named
from visionxl.operators.temporal import TemporalAverage, TemporalSubsample

__all__ = [
    "TASKS",
    "AveragePool",
    "BicubicDownsample",
    "Blur",
    "Boundary",
    "Composable",
    "Composition",
    "Differentiable",
    "Factored",
    "Factors",
    "GaussianBlur",
    "Grayscale",
    "Identity",
    "Liftable",
    "Mask",
    "MotionBlur",
    "Scale",
    "Stack",
    "Task",
    "TemporalAverage",
    "TemporalSubsample",
    "check_adjoint",
    "estimate_norm",
    "factors_of",
    "lift",
    "normal",
    "task_named",
]
