"""SDXL with random weights, from its published configuration and no other file.

The library's own ``sdxl.json`` has the numbers of stabilityai/stable-diffusion-xl-base-1.0; the one
here those of the autoencoder madebyollin/taesdxl, the scheduler's, and what a toy has instead. What
a network costs does not depend on its weights.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from attrs import frozen
from torch import nn

from visionxl.planning.structures import CONFIGURATION as SDXL
from visionxl.priors import Conditioning, DiffusersPrior
from visionxl.priors.normalising import LargeGroupNorm

CONFIGURATION = Path(__file__).parent.parent / "sdxl.json"
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}


def configuration(toy: bool) -> dict[str, Any]:
    """The configuration, by network. ``toy`` has its layout, narrower and less deep."""
    published, whole = (json.loads(p.read_text()) for p in (SDXL, CONFIGURATION))
    for name, part in (("unet", "unet"), ("autoencoder", "vae")):
        whole[name] = {k: v for k, v in published[part].items() if k != "_class_name"}
    whole["text"] = published["text"]
    smaller = whole.pop("toy")
    return {k: {**v, **smaller.get(k, {})} for k, v in whole.items()} if toy else whole


@frozen(eq=False)
class Networks:
    """Two priors over the same latents that share a U-Net.

    Args:
        full: with ``AutoencoderKL``.
        tiny: with ``AutoencoderTiny``.
    """

    full: DiffusersPrior
    tiny: DiffusersPrior

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The networks by name."""
        autoencoders = {"autoencoder": self.full.codec.vae, "tiny_autoencoder": self.tiny.codec.vae}
        return {"unet": self.full.unet, **autoencoders}


def build(config: dict[str, Any], device: torch.device, dtype: torch.dtype) -> Networks:
    """Networks with PyTorch's random initial weights, made on the device and in the dtype.

    Those weights make values smaller from layer to layer, so that nothing overflows in float16.
    Both prompts are the same, so that the U-Net is evaluated once.
    """
    from diffusers import AutoencoderKL, AutoencoderTiny, DDIMScheduler, UNet2DConditionModel

    scheduler = DDIMScheduler(**config["scheduler"])
    text, generator = config["text"], torch.Generator().manual_seed(0)
    states = torch.randn(
        1, text["tokens"], config["unet"]["cross_attention_dim"], generator=generator
    )
    pooled = torch.randn(1, text["pooled"], generator=generator)
    prompt = Conditioning(
        {"encoder_hidden_states": states.to(device, dtype)},
        {"text_embeds": pooled.to(device, dtype)},
        with_size=True,
    )
    with made_on(device, dtype):
        unet = UNet2DConditionModel(**config["unet"])
        vaes = AutoencoderKL(**config["autoencoder"]), AutoencoderTiny(**config["tiny_autoencoder"])
    full, tiny = (
        DiffusersPrior.assemble(unet, vae, scheduler, conditional=prompt, unconditional=prompt)
        for vae in vaes
    )
    return Networks(full, tiny)


@contextmanager
def in_usual_order(networks: Networks) -> Iterator[None]:
    """Inside, the full networks have PyTorch's usual order of values, as published code has them,
    and not channels last, as our priors make them, and PyTorch's own normalisation.
    """
    vae, unet = networks.full.codec.vae, networks.full.unet
    norms: list[Any] = [
        part for n in (unet, vae) for part in n.modules() if isinstance(part, LargeGroupNorm)
    ]
    hooks = [
        part.register_forward_pre_hook(lambda _, given: (given[0].contiguous(), *given[1:]))
        for part in (unet, vae.encoder, vae.decoder)
    ]
    try:
        for network in (unet, vae):
            network.to(memory_format=torch.contiguous_format)
        for norm in norms:
            norm.__class__ = nn.GroupNorm
        yield
    finally:
        for norm in norms:
            norm.__class__ = LargeGroupNorm
        for hook in hooks:
            hook.remove()
        for network in (unet, vae):
            network.to(memory_format=torch.channels_last)


@contextmanager
def made_on(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """Parameters that are made inside are made there, in that dtype; the same ones every time."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        devices = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices), device:
            torch.manual_seed(0)
            yield
    finally:
        torch.set_default_dtype(before)
