"""Miniature latent diffusion models with random weights, saved in diffusers' folder layout."""

import json
from pathlib import Path

import pytest
import torch
import transformers
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    DDIMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
TOKENS = 16  # of a prompt
TEXT_IN_DOUBLE = pytest.mark.skipif(
    int(transformers.__version__.split(".")[0]) < 5,
    reason="before version 5 of transformers text encoders cannot be in float64",
)


def double() -> torch.dtype:
    """float64 for a model with text encoders; the test is skipped where they cannot be in it."""
    if TEXT_IN_DOUBLE.args[0]:
        pytest.skip(TEXT_IN_DOUBLE.kwargs["reason"])
    return torch.float64


def tokenizer(folder: Path) -> CLIPTokenizer:
    """CLIP's tokenizer with letters for a vocabulary: every word is spelt."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = [*letters, *(f"{letter}</w>" for letter in letters)]
    vocabulary = ["<|startoftext|>", "<|endoftext|>", *words]
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps({w: i for i, w in enumerate(vocabulary)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    settings = {"model_max_length": TOKENS, "tokenizer_class": "CLIPTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return CLIPTokenizer.from_pretrained(folder)


def text_encoder(width: int, kind=CLIPTextModel):
    config = CLIPTextConfig(
        vocab_size=54,
        hidden_size=width,
        intermediate_size=2 * width,
        projection_dim=width,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=TOKENS,
        hidden_act="gelu" if kind is CLIPTextModelWithProjection else "quick_gelu",
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    model = kind(config)
    model.get_input_embeddings().weight.data *= 50  # from CLIP's 0.02: words must count
    return model


def autoencoder(*, channels: int = 3, widths=(4, 4, 8, 8), **config) -> AutoencoderKL:
    return AutoencoderKL(
        in_channels=channels,
        out_channels=channels,
        down_block_types=["DownEncoderBlock2D"] * len(widths),
        up_block_types=["UpDecoderBlock2D"] * len(widths),
        block_out_channels=widths,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=64,
        **config,
    )


def saved_tiny_autoencoder(folder: Path) -> Path:
    torch.manual_seed(5)
    model = AutoencoderTiny(
        encoder_block_out_channels=(8,) * 4,
        decoder_block_out_channels=(8,) * 4,
        num_encoder_blocks=(1,) * 4,
        num_decoder_blocks=(1,) * 4,
    )
    model.save_pretrained(folder)
    return folder


def unet(context: int, **config) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(8, 16, 16),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=context,
        attention_head_dim=2,
        **config,
    )


def sdxl(folder: Path, *, guidance_embedded: bool = False) -> Path:
    """SDXL in small; with ``guidance_embedded`` as LCM distils it."""
    torch.manual_seed(1)
    pipeline = StableDiffusionXLPipeline(
        vae=autoencoder(scaling_factor=0.13025, force_upcast=True),
        text_encoder=text_encoder(16),
        text_encoder_2=text_encoder(32, CLIPTextModelWithProjection),
        tokenizer=tokenizer(folder / "words" / "1"),
        tokenizer_2=tokenizer(folder / "words" / "2"),
        unet=unet(
            16 + 32,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=32 + 6 * 8,
            time_cond_proj_dim=16 if guidance_embedded else None,
        ),
        scheduler=EulerDiscreteScheduler(**BETAS, steps_offset=1, timestep_spacing="leading"),
        add_watermarker=False,
    )
    pipeline.save_pretrained(folder / "model")
    return folder / "model"


def stable_diffusion(
    folder: Path, prediction_type: str = "epsilon", *, guidance_embedded: bool = False
) -> Path:
    """Stable Diffusion 1.5 in small; with ``guidance_embedded`` as LCM distils it."""
    torch.manual_seed(2)
    pipeline = StableDiffusionPipeline(
        vae=autoencoder(scaling_factor=0.18215),
        text_encoder=text_encoder(16),
        tokenizer=tokenizer(folder / "words"),
        unet=unet(16, time_cond_proj_dim=16 if guidance_embedded else None),
        scheduler=DDIMScheduler(
            **BETAS, prediction_type=prediction_type, clip_sample=False, steps_offset=1
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder / "model")
    return folder / "model"


def stable_diffusion_3(folder: Path) -> Path:
    """Stable Diffusion 3 in small, without its third text encoder."""
    torch.manual_seed(3)
    pipeline = StableDiffusion3Pipeline(
        transformer=SD3Transformer2DModel(
            sample_size=16,
            in_channels=4,
            out_channels=4,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=64,
            caption_projection_dim=16,
            pooled_projection_dim=16 + 32,
            pos_embed_max_size=16,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=autoencoder(scaling_factor=1.5305, shift_factor=0.0609),
        text_encoder=text_encoder(16, CLIPTextModelWithProjection),
        tokenizer=tokenizer(folder / "words" / "1"),
        text_encoder_2=text_encoder(32, CLIPTextModelWithProjection),
        tokenizer_2=tokenizer(folder / "words" / "2"),
        text_encoder_3=None,
        tokenizer_3=None,
    )
    pipeline.save_pretrained(folder / "model")
    return folder / "model"
