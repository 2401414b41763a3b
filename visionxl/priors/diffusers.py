"""Any latent diffusion model of diffusers with a U-Net and an image autoencoder."""

from pathlib import Path
from typing import Any, ClassVar

import torch
from attrs import field, frozen

from visionxl.errors import InputError
from visionxl.priors.codec import AutoencoderCodec
from visionxl.priors.conditioning import Conditioning, guided
from visionxl.priors.index import check_denoiser, check_index, check_scheduler, has_part, told
from visionxl.priors.loading import (
    check_texts,
    embedded_guidance,
    load_parts,
    load_pipeline,
    without_encoders,
    without_text,
)
from visionxl.priors.network import NetworkPrior
from visionxl.priors.normalising import with_large_norms
from visionxl.priors.schedule import DiscreteSchedule
from visionxl.protocols import Denoised, Latent, NoiseLevel
from visionxl.validators import one_of


def _kind(part: object) -> str:
    """A network's name, in place of all its layers."""
    return f"<{type(part).__name__}>"


PREDICTIONS = ("epsilon", "v_prediction", "sample")


@frozen(eq=False)
class DiffusersPrior(NetworkPrior):
    """A U-Net and an autoencoder of diffusers, with CFG++ guidance (Chung et al. 2024).

    The guided output ``u + guidance (c - u)`` gives the clean latents; the unguided ``u`` gives
    the noise to renoise with. An evaluation whose output is already known is skipped: with equal
    conditionings, with ``guidance`` None (the conditional alone) or 0 (the unconditional alone)
    the U-Net runs once.

    Args:
        unet: ``UNet2DModel`` or ``UNet2DConditionModel``, in evaluation mode.
        codec: pixels to latents and back.
        schedule: of the training.
        prediction_type: what the U-Net predicts: epsilon, v_prediction or sample.
        conditional: the prompt.
        unconditional: the negative prompt.
        guidance: scale, the paper's is 0.6; None for no guidance.
    """

    _denoiser: ClassVar[str] = "unet"

    unet: Any = field(repr=_kind)
    codec: AutoencoderCodec
    schedule: DiscreteSchedule = field(repr=_kind)
    prediction_type: str = field(default="epsilon", validator=one_of(*PREDICTIONS))
    conditional: Conditioning = field(factory=Conditioning, repr=False)
    unconditional: Conditioning = field(factory=Conditioning, repr=False)
    guidance: float | None = None

    def __attrs_post_init__(self) -> None:
        if self.guidance is not None and "timestep_cond" in self.conditional.arguments:
            raise InputError(
                f"guidance {self.guidance} comes too late, for this model has it embedded: give it "
                "to from_pretrained"
            )

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        prompt: str = "",
        negative_prompt: str = "",
        guidance: float | None = None,
        lora: str | Path | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> "DiffusersPrior":
        """Load a model of Stable Diffusion's layout (1.5, 2.x and their kin), or one without text.

        One without text, such as :class:`PocketPrior`, is a folder with ``unet`` (a
        ``UNet2DModel``), ``vae`` and ``scheduler``.

        Args:
            source: a hub id, or a folder saved by ``save_pretrained``. Only safetensors are read.
            prompt: the text is encoded once, and the text encoder released.
            negative_prompt: likewise.
            guidance: CFG++ scale, such as 0.6; None for the prompt alone. For a model with an
                embedded guidance (LCM) it is the embedded scale, 1 if None.
            lora: a LoRA to add to the weights, such as a few-step one (LCM): a safetensors file,
                local or on the hub as ``owner/name/file``. It needs the package peft.
            dtype: of the networks; videos and latents keep their own.
            device: of the networks.

        Raises:
            InputError: no model there, or it cannot be reached.
        """
        if without_text(source):
            given = {
                "prompt": prompt,
                "negative_prompt": negative_prompt,
                "guidance": guidance,
                "lora": lora,
            }
            for name, value in given.items():
                if value not in ("", None):
                    raise InputError(
                        f"{name} {str(value)!r}: prior {str(source)!r} has no text encoder; leave "
                        "it out"
                    )
            return cls.assemble(*load_parts(source, dtype, device))
        index = check_index(source, "unet", set())
        if has_part(index, "text_encoder_2"):
            raise InputError(f"prior {str(source)!r} has SDXL's two text encoders: use SDXLPrior")
        pipeline = load_pipeline(source, index, dtype, device, lora=lora)
        check_texts(pipeline, prompt=prompt, negative_prompt=negative_prompt)
        with torch.no_grad():  # the graph would hold on to the text encoder
            positive, negative = pipeline.encode_prompt(
                prompt, device, 1, do_classifier_free_guidance=True, negative_prompt=negative_prompt
            )
        without_encoders(pipeline, "unet", device)
        shared = embedded_guidance(pipeline, guidance, positive)
        return cls.assemble(
            pipeline.unet,
            pipeline.vae,
            pipeline.scheduler,
            conditional=Conditioning({"encoder_hidden_states": positive, **shared}),
            unconditional=Conditioning({"encoder_hidden_states": negative, **shared}),
            guidance=None if shared else guidance,
        )

    @classmethod
    def assemble(
        cls,
        unet: Any,
        vae: Any,
        scheduler: Any,
        *,
        conditional: Conditioning | None = None,
        unconditional: Conditioning | None = None,
        guidance: float | None = None,
    ) -> "DiffusersPrior":
        """A prior from loaded diffusers objects: any U-Net, autoencoder and scheduler.

        The networks themselves are changed: to evaluation mode, without gradients, in channels-last
        order, and with a group normalisation that is quicker on a GPU, the same to rounding.
        """
        check_scheduler(scheduler)
        for name, network in (("unet", unet), ("vae", vae)):
            if not hasattr(network, "config"):
                raise InputError(
                    f"{name} {type(network).__name__} is no network of diffusers: a model of "
                    "pixels has no autoencoder, and is wrapped in a few lines (docs, Your prior)"
                )
        check_denoiser(type(unet).__name__, told(unet.config), told(vae.config))
        for network in (unet, vae):
            with_large_norms(network.eval().requires_grad_(False))
            network.to(memory_format=torch.channels_last)
        return cls(
            unet,
            AutoencoderCodec(vae),
            DiscreteSchedule(scheduler.alphas_cumprod.tolist()),
            scheduler.config.get("prediction_type", "epsilon"),
            conditional or Conditioning(),
            unconditional or Conditioning(),
            guidance,
        )

    @property
    def multiple(self) -> int:
        """Height and width in pixels have to be multiples of this."""
        return self.codec.factor * 2 ** (len(self.unet.config.block_out_channels) - 1)

    def denoise(self, latent: Latent, level: NoiseLevel) -> Denoised:
        outputs = [self._predict(latent, level, c) for c in self._needed()]
        towards = guided(outputs, self.guidance)
        return Denoised(self._clean(latent, towards, level), self._noise(latent, outputs[0], level))

    def _predict(self, latent: Latent, level: NoiseLevel, conditioning: Conditioning) -> Latent:
        like = next(self.unet.parameters())
        height, width = (size * self.codec.factor for size in latent.shape[-2:])
        output = self.unet(
            latent.to(like.device, like.dtype, memory_format=torch.channels_last),
            torch.tensor(self.schedule.index(level.time), device=like.device),
            **conditioning.keywords(len(latent), height, width),
        )
        return output.sample.to(latent)

    def _clean(self, latent: Latent, output: Latent, level: NoiseLevel) -> Latent:
        if self.prediction_type == "epsilon":
            return (latent - level.noise * output) / level.signal
        if self.prediction_type == "v_prediction":
            return level.signal * latent - level.noise * output
        return output

    def _noise(self, latent: Latent, output: Latent, level: NoiseLevel) -> Latent:
        if self.prediction_type == "epsilon":
            return output
        if self.prediction_type == "v_prediction":
            return level.signal * output + level.noise * latent
        return (latent - level.signal * output) / level.noise
