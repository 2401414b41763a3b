"""Models of other layouts: what can be read is read, and what cannot is refused with its name."""

import json
import shutil

import models
import pytest
import torch
from attrs import evolve
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    FlowMatchEulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLPipeline,
)

from visionxl import InputError, PocketPrior
from visionxl.priors import DiffusersPrior, FlowPrior, SDXLPrior
from visionxl.priors.pocket import WEIGHTS


@pytest.mark.parametrize("kind", ["FluxPipeline", "PixArtAlphaPipeline"])
def test_another_transformer_is_refused_before_its_weights_are_read(tmp_path, kind):
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": kind, "transformer": []}))
    with pytest.raises(InputError, match=f"is a {kind}: .*Stable Diffusion 3's layout"):
        FlowPrior.from_pretrained(tmp_path)


def test_an_inpainting_network_is_refused():
    network = models.unet(16)
    network.register_to_config(in_channels=9)
    with pytest.raises(InputError, match=r"takes 9 channels .* latents of 4: one for inpainting"):
        DiffusersPrior.assemble(network, models.autoencoder(), DDPMScheduler())


def test_the_refiner_is_refused(tmp_path):
    pipeline = StableDiffusionXLPipeline.from_pretrained(models.sdxl(tmp_path))
    parts = dict(pipeline.components)
    refiner = StableDiffusionXLImg2ImgPipeline(**parts, requires_aesthetics_score=True)
    refiner.save_pretrained(tmp_path / "refiner")
    with pytest.raises(InputError, match="SDXL's refiner"):
        SDXLPrior.from_pretrained(tmp_path / "refiner")


def test_the_embedded_guidance_of_a_small_model_is_told_and_not_applied_again(tmp_path):
    folder = models.stable_diffusion(tmp_path, guidance_embedded=True)
    priors = [DiffusersPrior.from_pretrained(folder, guidance=w) for w in (None, 1.0, 8.0)]
    assert all(prior.evaluations == 1 for prior in priors)
    latent = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    level = priors[0].schedule.level(0.3)
    one, same, other = (prior.denoise(latent, level).clean for prior in priors)
    assert torch.equal(one, same)
    assert not torch.allclose(one, other, atol=1e-4)
    with pytest.raises(InputError, match="embedded"):
        priors[0].with_guidance(2.0)


def test_a_flow_in_the_layout_of_parts_is_not_taken_for_a_diffusion(tmp_path):
    shutil.copytree(WEIGHTS, tmp_path / "flow")
    FlowMatchEulerDiscreteScheduler().save_pretrained(tmp_path / "flow" / "scheduler")
    with pytest.raises(InputError, match="FlowMatchEulerDiscreteScheduler has no alphas_cumprod"):
        DiffusersPrior.from_pretrained(tmp_path / "flow")


def test_weights_that_are_saved_in_half_precision_alone_are_read(tmp_path):
    folder = models.stable_diffusion(tmp_path)
    pipeline = StableDiffusionPipeline.from_pretrained(folder)
    pipeline.save_pretrained(tmp_path / "half", variant="fp16")
    whole, half = (DiffusersPrior.from_pretrained(f) for f in (folder, tmp_path / "half"))
    latent = torch.zeros(1, 4, 8, 8)
    level = whole.schedule.level(0.3)
    torch.testing.assert_close(
        half.denoise(latent, level).clean, whole.denoise(latent, level).clean
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"device": "nosuch"}, "device 'nosuch' cannot be used"),
        ({"device": "cuda:99"}, "device 'cuda:99' cannot be used"),
        ({"dtype": torch.int8}, "dtype torch.int8 is none of networks"),
    ],
)
def test_a_place_that_cannot_be_had_is_named(given, words):
    with pytest.raises(InputError, match=words):
        PocketPrior.load(**given)


def test_an_autoencoder_of_ones_own_may_tell_nothing_of_its_latents():
    vae: AutoencoderKL = models.autoencoder()
    prior = DiffusersPrior.assemble(models.unet(16), vae, DDPMScheduler())
    assert evolve(prior).codec.vae is vae
