"""The embedded default: a small latent diffusion model that comes with the package."""

from pathlib import Path
from typing import final

import torch

from visionxl.priors.diffusers import DiffusersPrior
from visionxl.priors.loading import load_parts

WEIGHTS = Path(__file__).parent / "weights"


@final
class PocketPrior(DiffusersPrior):
    """A :class:`DiffusersPrior` of about 10 M parameters, unconditional, for photographs.

    Its autoencoder downsamples by 8, to 64 channels. ``CARD.md`` beside the weights describes its
    data, training and limits.
    """

    @classmethod
    def load(
        cls, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
    ) -> "PocketPrior":
        """Load the weights inside the package: no network, no token.

        Args:
            dtype: of the networks; videos and latents keep their own.
            device: of the networks.
        """
        prior = cls.assemble(*load_parts(WEIGHTS, dtype, device))
        assert isinstance(prior, PocketPrior)  # assemble makes the class it is called on
        return prior
