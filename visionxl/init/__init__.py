"""Where the loop starts."""

from visionxl.init.inversion import (
    BatchConsistentInversion,
    CorrectedInversion,
    PseudoBatchInversion,
    ddim_invert,
)
from visionxl.init.noise import EncodedBackProjection, Noise

__all__ = [
    "BatchConsistentInversion",
    "CorrectedInversion",
    "EncodedBackProjection",
    "Noise",
    "PseudoBatchInversion",
    "ddim_invert",
]
