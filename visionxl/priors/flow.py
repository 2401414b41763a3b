"""Flow-matching models: rectified flow between pictures and noise (Lipman et al. 2023)."""

from pathlib import Path
from typing import Any, ClassVar

import torch
from attrs import field, frozen

from visionxl.errors import InputError
from visionxl.priors.codec import AutoencoderCodec
from visionxl.priors.conditioning import Conditioning, guided
from visionxl.priors.index import check_index, has_part, index_of
from visionxl.priors.loading import check_texts, load_pipeline, without_encoders
from visionxl.priors.network import NetworkPrior
from visionxl.priors.normalising import with_large_norms
from visionxl.protocols import Denoised, Latent, NoiseLevel
from visionxl.validators import above_zero


@frozen
class FlowSchedule:
    """``z_t = (1 - sigma) z_0 + sigma eps``, ``sigma = shift t / (1 + (shift - 1) t)``.

    The straight path of rectified flow, with the timestep shift of Stable Diffusion 3 (Esser et
    al. 2024), which puts more of the steps at the noisy end.

    Args:
        shift: 1 for none; Stable Diffusion 3 has 3.
    """

    shift: float = field(default=1.0, validator=above_zero)

    def level(self, time: float) -> NoiseLevel:
        if not 0 <= time <= 1:
            raise InputError(f"time {time} is not in [0, 1]: 0 is clean and 1 is pure noise")
        sigma = self.shift * time / (1 + (self.shift - 1) * time)
        return NoiseLevel(time, 1 - sigma, sigma)


@frozen(eq=False)
class FlowPrior(NetworkPrior):
    """A flow transformer and an autoencoder of diffusers: Stable Diffusion 3 and its kin.

    The network predicts the velocity ``v = eps - z_0``; at ``z_t`` that is the clean latents
    ``z_t - sigma v`` and the noise ``z_t + (1 - sigma) v``. Methods run on it unchanged; their
    step is then like that of FlowDPS (Kim et al. 2025), which corrects the clean latents and mixes
    them with noise again. Guidance is that of CFG++: guided clean latents, unguided noise.

    Args:
        transformer: such as ``SD3Transformer2DModel``, in evaluation mode.
        codec: pixels to latents and back.
        schedule: of the training.
        conditional: the prompt.
        unconditional: the negative prompt.
        guidance: scale; None for the prompt alone.
    """

    _denoiser: ClassVar[str] = "transformer"

    transformer: Any = field(repr=lambda network: f"<{type(network).__name__}>")
    codec: AutoencoderCodec
    schedule: FlowSchedule = FlowSchedule()
    conditional: Conditioning = field(factory=Conditioning, repr=False)
    unconditional: Conditioning = field(factory=Conditioning, repr=False)
    guidance: float | None = None

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path = "stabilityai/stable-diffusion-3.5-medium",
        *,
        prompt: str = "",
        negative_prompt: str = "",
        guidance: float | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> "FlowPrior":
        """Load a model of Stable Diffusion 3's layout; only safetensors are read.

        The text encoders run once and are then released; a model saved without the third one uses
        two.

        Args:
            source: hub id, or folder saved by ``save_pretrained``.
            prompt: of every frame.
            negative_prompt: of the unconditional evaluation.
            guidance: CFG++ scale; None for the prompt alone.
            dtype: of the networks; videos and latents keep their own.
            device: of the networks.

        Raises:
            InputError: no such model there, or it cannot be reached.
        """
        index = index_of(source)
        if "transformer" in index:
            _check_kind(source, str(index.get("_class_name")))  # before its weights are read
        check_index(source, "transformer", set(), index)
        left_out = _left_out(index)
        pipeline = load_pipeline(source, index, dtype, device, denoiser="transformer", **left_out)
        _check_kind(source, type(pipeline).__name__)
        check_texts(pipeline, prompt=prompt, negative_prompt=negative_prompt)
        with torch.no_grad():  # the graph would hold on to the text encoders
            texts = pipeline.encode_prompt(
                prompt, None, None, device, negative_prompt=negative_prompt
            )
        without_encoders(pipeline, "transformer", device)
        for network in (pipeline.transformer, pipeline.vae):
            network.eval().requires_grad_(False)
        conditional, unconditional = (
            Conditioning({"encoder_hidden_states": texts[i], "pooled_projections": texts[i + 2]})
            for i in (0, 1)
        )
        return cls(
            pipeline.transformer,
            AutoencoderCodec(with_large_norms(pipeline.vae)),
            FlowSchedule(_shift_of(source, pipeline.scheduler.config)),
            conditional,
            unconditional,
            guidance,
        )

    @property
    def multiple(self) -> int:
        """Height and width in pixels have to be multiples of this."""
        return self.codec.factor * self.transformer.config.patch_size

    def denoise(self, latent: Latent, level: NoiseLevel) -> Denoised:
        velocities = [self._velocity(latent, level, c) for c in self._needed()]
        clean = latent - level.noise * guided(velocities, self.guidance)
        return Denoised(clean, latent + level.signal * velocities[0])

    def _velocity(self, latent: Latent, level: NoiseLevel, conditioning: Conditioning) -> Latent:
        config = self.transformer.config
        most = getattr(config, "pos_embed_max_size", None)
        if most is not None and max(latent.shape[-2:]) > most * config.patch_size:
            pixels = most * config.patch_size * self.codec.factor
            raise InputError(
                f"latents of {latent.shape[-2]}x{latent.shape[-1]} are too large for the "
                f"transformer, whose frames have at most {pixels} pixels a side: take smaller ones"
            )
        like = next(self.transformer.parameters())
        times = torch.full((len(latent),), 1000 * level.noise, device=like.device)
        output = self.transformer(
            hidden_states=latent.to(like.device, like.dtype),
            timestep=times,
            **conditioning.keywords(len(latent), *latent.shape[-2:]),
        )
        return output.sample.to(latent)


def _shift_of(source: object, config: Any) -> float:
    """Of the flow's times: schedulers of Euler and Heun call it otherwise than multistep ones."""
    for name in ("shift", "flow_shift"):
        if config.get(name) is not None:
            return config[name]
    raise InputError(
        f"prior {str(source)!r} has a scheduler without a shift, so not that of a flow: give "
        "a model that was saved with FlowMatchEulerDiscreteScheduler"
    )


def _check_kind(source: str | Path, kind: str) -> None:
    if not kind.startswith("StableDiffusion3"):
        raise InputError(
            f"prior {str(source)!r} is a {kind}: models with a transformer are only read in Stable "
            "Diffusion 3's layout; wrap another in a few lines of Python (docs, Your prior)"
        )


def _left_out(index: dict[str, Any]) -> dict[str, None]:
    """The parts that a saved Stable Diffusion 3 may be without, and is."""
    third = ("text_encoder_3", "tokenizer_3")
    if index.get("_class_name") != "StableDiffusion3Pipeline":
        return {}
    return {name: None for name in third if not has_part(index, name)}
