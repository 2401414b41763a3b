"""visionxl: restore high-definition video with an image latent diffusion model."""

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
    "GaussianPrior",
    "Initializer",
    "InputError",
    "InverseProblem",
    "Latent",
    "LatentPrior",
    "Measurement",
    "Noise",
    "NoiseAware",
    "NoiseLevel",
    "NoiseSchedule",
    "NotFiniteError",
    "Padded",
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
