"""Image priors: latent diffusion models, and two that are known exactly."""

from visionxl.priors.codec import AutoencoderCodec
from visionxl.priors.compiling import compiled, warm_up
from visionxl.priors.conditioning import Conditioning
from visionxl.priors.diffusers import DiffusersPrior
from visionxl.priors.flow import FlowPrior, FlowSchedule
from visionxl.priors.gaussian import GaussianPrior
from visionxl.priors.mixture import MixturePrior
from visionxl.priors.padding import Padded
from visionxl.priors.pocket import PocketPrior
from visionxl.priors.schedule import DiscreteSchedule
from visionxl.priors.sdxl import SDXLPrior

__all__ = [
    "AutoencoderCodec",
    "Conditioning",
    "DiffusersPrior",
    "DiscreteSchedule",
    "FlowPrior",
    "FlowSchedule",
    "GaussianPrior",
    "MixturePrior",
    "Padded",
    "PocketPrior",
    "SDXLPrior",
    "compiled",
    "warm_up",
]
