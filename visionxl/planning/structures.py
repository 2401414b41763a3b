"""The structure of SDXL, from its published configuration, without any weights."""

import json
from pathlib import Path
from typing import Any

import torch

from visionxl.priors.codec import AutoencoderCodec
from visionxl.priors.conditioning import Conditioning
from visionxl.priors.diffusers import DiffusersPrior
from visionxl.priors.schedule import DiscreteSchedule

CONFIGURATION = Path(__file__).parent.parent / "assets" / "sdxl.json"


def sdxl_structure(dtype: torch.dtype = torch.bfloat16) -> DiffusersPrior:
    """SDXL (Podell et al. 2023) on PyTorch's meta device, for counting memory, not for running.

    Its numbers are those of the published ``config.json`` of the U-Net and of the autoencoder.

    Args:
        dtype: of the networks.
    """
    import diffusers

    configuration = json.loads(CONFIGURATION.read_text())
    networks: list[Any] = []
    for name in ("unet", "vae"):
        numbers = dict(configuration[name])
        kind: Any = getattr(diffusers, numbers.pop("_class_name"))
        with torch.device("meta"):
            made = kind(**numbers).eval().requires_grad_(False)
        networks.append(torch.nn.Module.to(made, dtype))
    unet, vae = networks
    text = configuration["text"]
    tokens = torch.empty(1, text["tokens"], text["width"], dtype=dtype, device="meta")
    pooled = torch.empty(1, text["pooled"], dtype=dtype, device="meta")
    return DiffusersPrior(
        unet,
        AutoencoderCodec(vae),
        DiscreteSchedule.stable_diffusion(),
        conditional=Conditioning({"encoder_hidden_states": tokens}, {"text_embeds": pooled}, True),
    )
