"""Stable Diffusion XL and its distilled kin (Podell et al. 2023)."""

from pathlib import Path
from typing import Any, final

import torch
from attrs import evolve

from visionxl.errors import InputError
from visionxl.priors.conditioning import Conditioning
from visionxl.priors.diffusers import DiffusersPrior
from visionxl.priors.index import check_index, config_of, has_part
from visionxl.priors.loading import (
    check_texts,
    embedded_guidance,
    load_autoencoder,
    load_pipeline,
    load_unet,
    without_encoders,
)

FP16_SAFE_AUTOENCODER = "madebyollin/sdxl-vae-fp16-fix"
SDXL_SCALING = 0.13025  # of its latents, to unit variance


@final
class SDXLPrior(DiffusersPrior):
    """A :class:`DiffusersPrior` with SDXL's two text encoders and size conditioning.

    It takes every size that is a multiple of 32: 768x1280, 1280x768, 1024x1024 and all other
    SDXL buckets. Checkpoints of the same layout (Lightning, LCM, Turbo) are loaded alike; give
    them times that suit them, and no guidance.
    """

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path = "stabilityai/stable-diffusion-xl-base-1.0",
        *,
        prompt: str = "",
        negative_prompt: str | None = "",
        guidance: float | None = None,
        autoencoder: str | Path | None = None,
        unet: str | Path | None = None,
        lora: str | Path | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> "SDXLPrior":
        """Load SDXL from the hub or a folder; only safetensors are read.

        Both text encoders run once and are then released.

        Args:
            source: hub id, or folder saved by ``save_pretrained``.
            prompt: of every frame.
            negative_prompt: of the unconditional evaluation; by default the empty text, encoded, as
                in the authors' code. None is diffusers' default, which is zeros for SDXL.
            guidance: CFG++ scale, the paper's is 0.6; None for the prompt alone. For a model with
                an embedded guidance (LCM) it is the embedded scale, 1 if None.
            autoencoder: hub id or folder of another autoencoder (``AutoencoderKL`` or
                ``AutoencoderTiny``). SDXL's own overflows in float16: if ``dtype`` is float16 and
                this is None, a model on the hub with SDXL's latents gets the fp16-safe one; with
                float16, any other that sets ``force_upcast`` runs in float32.
            unet: of a distilled checkpoint, in place of the model's own: a folder or hub id
                (LCM), or a safetensors file, local or on the hub as ``owner/name/file``
                (Lightning). They need 2 to 8 evaluations: :func:`~visionxl.solvers.latino`.
                A file whose name ends in ``_x0`` predicts the clean latents, as Lightning's
                one-step checkpoint does.
            lora: a LoRA to add to the weights, such as a few-step one (DMD2, LCM, Lightning): a
                safetensors file, local or on the hub as ``owner/name/file``. It needs the package
                peft.
            dtype: of the networks; videos and latents keep their own.
            device: of the networks.

        Raises:
            InputError: no SDXL model there, or it cannot be reached.
        """
        index = check_index(source, "unet", {"unet"} if unet is not None else set())
        half = dtype == torch.float16
        if index and not has_part(index, "text_encoder_2"):
            raise InputError(
                f"prior {str(source)!r} is a {index.get('_class_name')}, not SDXL: "
                "use DiffusersPrior.from_pretrained"
            )
        if autoencoder is None and half and not Path(source).is_dir():
            autoencoder = FP16_SAFE_AUTOENCODER if _has_sdxl_latents(source) else None
        parts = {} if autoencoder is None else {"vae": load_autoencoder(autoencoder, dtype)}
        if unet is not None:
            parts["unet"] = load_unet(unet, source, dtype)
        pipeline = load_pipeline(source, index, dtype, device, lora=lora, **parts)
        if half and getattr(pipeline.vae.config, "force_upcast", False):
            pipeline.vae.to(torch.float32)
        conditional, unconditional = _conditionings(
            pipeline, prompt, negative_prompt, guidance, device
        )
        if "timestep_cond" in conditional.arguments:
            guidance = None
        without_encoders(pipeline, "unet", device)
        prior = cls.assemble(
            pipeline.unet,
            pipeline.vae,
            pipeline.scheduler,
            conditional=conditional,
            unconditional=unconditional,
            guidance=guidance,
        )
        assert isinstance(prior, SDXLPrior)  # assemble makes the class it is called on
        clean = unet is not None and Path(unet).name.endswith("_x0.safetensors")
        return evolve(prior, prediction_type="sample") if clean else prior


def _has_sdxl_latents(source: str | Path) -> bool:
    """Whether a model's autoencoder is SDXL's, and not one of its own, as Playground's is."""
    config = config_of(source, "vae")  # not in every cache, for the safe one stood for this one
    own = config.get("scaling_factor") != SDXL_SCALING or config.get("latents_mean") is not None
    return not config or not own


def _conditionings(
    pipeline: Any, prompt: str, negative: str | None, guidance: float | None, device: Any
) -> tuple[Conditioning, Conditioning]:
    check_texts(pipeline, prompt=prompt, negative_prompt=negative)
    with torch.no_grad():  # the graph would hold on to the text encoders
        embeds, negative_embeds, pooled, negative_pooled = pipeline.encode_prompt(
            prompt, device=device, do_classifier_free_guidance=True, negative_prompt=negative
        )
    shared = embedded_guidance(pipeline, guidance, embeds)
    pairs = ((embeds, pooled), (negative_embeds, negative_pooled))
    conditional, unconditional = (
        Conditioning({"encoder_hidden_states": e, **shared}, {"text_embeds": p}, with_size=True)
        for e, p in pairs
    )
    return conditional, unconditional
