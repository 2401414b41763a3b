"""Where the loop starts."""

from visionxl.init.inversion import BatchConsistentInversion, PseudoBatchInversion, ddim_invert
from visionxl.init.noise import EncodedBackProjection, Noise

__all__ = [
    "BatchConsistentInversion",
    "EncodedBackProjection",
    "Noise",
    "PseudoBatchInversion",
    "ddim_invert",
]
