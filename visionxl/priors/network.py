"""What the priors of diffusers' networks have in common, whatever their denoiser predicts."""

from visionxl.priors.diffusers import DiffusersPrior
from visionxl.priors.flow import FlowPrior

NetworkPrior = DiffusersPrior | FlowPrior
"""A prior of diffusers' networks: a denoiser, ``network``, and an autoencoder, ``codec``, which
``with_networks`` replaces."""
