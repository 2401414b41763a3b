"""visionxl: restore high-definition video with an image latent diffusion model."""

from importlib import import_module
from types import ModuleType

from visionxl.errors import InputError, NotFiniteError
from visionxl.init import (
    BatchConsistentInversion,
    CorrectedInversion,
    EncodedBackProjection,
    Noise,
    PseudoBatchInversion,
)
from visionxl.priors import DiffusersPrior, GaussianPrior, Padded, PocketPrior, SDXLPrior
from visionxl.protocols import (
    Correction,
    DataConsistency,
    Denoised,
    ForwardOperator,
    Initializer,
    InverseProblem,
    Latent,
    LatentPrior,
    Measurement,
    NoiseLevel,
    NoiseSchedule,
    NonlinearOperator,
    Passage,
    Restoration,
    State,
    Step,
    StepRecord,
    Video,
)
from visionxl.simulation import simulate
from visionxl.sizes import fit_to
from visionxl.solvers import (
    ClosedForm,
    DampedCG,
    GaussNewton,
    MotionShrinkage,
    NoiseAware,
    PlainCG,
    Sampler,
    SpaceTimeTV,
    restore,
    trajectory,
    vision_tv,
    vision_xl,
)

__version__ = "0.1.0"

__all__ = [
    "BatchConsistentInversion",
    "ClosedForm",
    "CorrectedInversion",
    "Correction",
    "DampedCG",
    "DataConsistency",
    "Denoised",
    "DiffusersPrior",
    "EncodedBackProjection",
    "ForwardOperator",
    "GaussNewton",
    "GaussianPrior",
    "Initializer",
    "InputError",
    "InverseProblem",
    "Latent",
    "LatentPrior",
    "Measurement",
    "MotionShrinkage",
    "Noise",
    "NoiseAware",
    "NoiseLevel",
    "NoiseSchedule",
    "NonlinearOperator",
    "NotFiniteError",
    "Padded",
    "Passage",
    "PlainCG",
    "PocketPrior",
    "PseudoBatchInversion",
    "Restoration",
    "SDXLPrior",
    "Sampler",
    "SpaceTimeTV",
    "State",
    "Step",
    "StepRecord",
    "Video",
    "__version__",
    "fit_to",
    "restore",
    "simulate",
    "trajectory",
    "vision_tv",
    "vision_xl",
]

MODULES = (
    "checkpoints",
    "distributed",
    "interop",
    "measurements",
    "metrics",
    "planning",
    "report",
    "streaming",
    "testing",
    "video",
    "writing",
)


def __getattr__(name: str) -> ModuleType:
    """The rest of the library, imported when it is first asked for: ``visionxl.metrics``."""
    if name not in MODULES:
        raise AttributeError(f"module 'visionxl' has no attribute {name!r}")
    return import_module(f"visionxl.{name}")


def __dir__() -> list[str]:
    return sorted({*globals(), *MODULES})
