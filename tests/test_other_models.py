"""Models of other layouts: what can be read is read, and what cannot is refused with its name."""

import json
import shutil

import huggingface_hub
import models
import pytest
import torch
from attrs import evolve
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    DiffusionPipeline,
    EDMEulerScheduler,
    FlowMatchEulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLPipeline,
)

from visionxl import InputError, PocketPrior
from visionxl.priors import DiffusersPrior, FlowPrior, SDXLPrior, index, loading, sdxl
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
        evolve(priors[0], guidance=2.0)


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


@pytest.mark.parametrize("variant", ["fp16", "bf16"])
@pytest.mark.parametrize("part", ["all", "unet", "text_encoder"])
def test_shards_of_a_variant_are_read_where_there_is_nothing_else(part, variant, tmp_path):
    folder = models.stable_diffusion(tmp_path)
    pipeline = StableDiffusionPipeline.from_pretrained(folder)
    parts = ("unet", "vae", "text_encoder") if part == "all" else (part,)
    for name in parts:
        for file in (folder / name).glob("*.safetensors"):
            file.unlink()
        getattr(pipeline, name).save_pretrained(
            folder / name, variant=variant, max_shard_size="20KB"
        )
        assert len(list((folder / name).glob(f"*.{variant}-0*.safetensors"))) > 1
    found = DiffusersPrior.from_pretrained(folder)
    for one, other in zip(found.unet.parameters(), pipeline.unet.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_safety_checker_is_not_asked_for(tmp_path):
    folder = models.stable_diffusion(tmp_path)
    index = json.loads((folder / "model_index.json").read_text())
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    (folder / "model_index.json").write_text(json.dumps(index))
    DiffusersPrior.from_pretrained(folder)


def test_a_model_that_is_told_no_text_is_refused_before_its_weights_are_read(tmp_path):
    index = {"_class_name": "StableVideoDiffusionPipeline", "unet": ["diffusers", "X"]}
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match="StableVideoDiffusionPipeline, which is not conditioned"):
        DiffusersPrior.from_pretrained(tmp_path)
    with pytest.raises(InputError, match="conditioned on a class or an image"):
        DiffusersPrior.assemble(
            models.unet(16, class_embed_type="timestep"), models.autoencoder(), DDPMScheduler()
        )


def test_text_encoders_and_denoiser_are_never_on_the_device_together(tmp_path, monkeypatch):
    folder, moved = models.stable_diffusion(tmp_path), []
    to = torch.nn.Module.to
    encode = StableDiffusionPipeline.encode_prompt

    def told(self, *words, **options):
        if words == ("cpu",):
            moved.append(type(self).__name__)
        return to(self, *words, **options)

    def encoded(self, *words, **options):
        moved.append("encoded")
        return encode(self, *words, **options)

    monkeypatch.setattr(torch.nn.Module, "to", told)
    monkeypatch.setattr(StableDiffusionPipeline, "encode_prompt", encoded)
    DiffusersPrior.from_pretrained(folder)
    before, after = moved[: moved.index("encoded")], moved[moved.index("encoded") + 1 :]
    assert before == ["CLIPTextModel"]
    assert after == ["UNet2DConditionModel", "AutoencoderKL"]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError("401 Client Error. Access to model x is restricted"), "accept its licence"),
        (OSError("no route to host"), "check the id and the network"),
        (RuntimeError("Error(s) in loading state_dict for X"), "made for this model"),
    ],
)
def test_a_model_of_the_hub_that_does_not_come_says_what_to_do(error, words, monkeypatch):
    def load(*_, **__):
        raise error

    monkeypatch.setattr(DiffusionPipeline, "from_pretrained", load)
    with pytest.raises(InputError, match=words):
        DiffusersPrior.from_pretrained("owner/name")


@pytest.fixture
def hub(monkeypatch):
    """The hub, whose models are folders here; what is asked of it beside its small files fails."""
    folders = {}

    def download(repository, name):
        file = folders[repository] / name
        if not file.exists():
            raise FileNotFoundError(name)
        return str(file)

    def fetched(*_, **__):
        raise OSError("it was fetched")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(DiffusionPipeline, "from_pretrained", fetched)
    return folders


def test_what_no_prior_is_made_of_is_refused_before_it_is_fetched(tmp_path, hub):
    folder = models.stable_diffusion(tmp_path)
    hub["owner/text"], hub["owner/painting"] = folder, shutil.copytree(folder, tmp_path / "9")
    config = tmp_path / "9" / "unet" / "config.json"
    config.write_text(config.read_text().replace('"in_channels": 4', '"in_channels": 9'))
    with pytest.raises(InputError, match="it was fetched"):
        DiffusersPrior.from_pretrained("owner/text")
    with pytest.raises(InputError, match=r"takes 9 channels .* latents of 4: one for"):
        DiffusersPrior.from_pretrained("owner/painting")
    with pytest.raises(InputError, match=r"not SDXL: use DiffusersPrior\.from_pretrained"):
        SDXLPrior.from_pretrained("owner/text")
    EDMEulerScheduler().save_pretrained(folder / "scheduler")
    told = json.loads((folder / index.INDEX).read_text())
    told["scheduler"] = ["diffusers", "EDMEulerScheduler"]
    (folder / index.INDEX).write_text(json.dumps(told))
    with pytest.raises(InputError, match="EDMEulerScheduler has no alphas_cumprod"):
        DiffusersPrior.from_pretrained("owner/text")
    (tmp_path / "9" / index.INDEX).write_text(
        '{"_class_name": "IFPipeline", "unet": ["diffusers", "X"]}'
    )
    with pytest.raises(InputError, match="is a IFPipeline without vae: expected a latent"):
        DiffusersPrior.from_pretrained("owner/painting")


def test_in_half_precision_nothing_is_fetched_before_it_is_refused(tmp_path, hub, monkeypatch):
    monkeypatch.setattr(sdxl, "load_autoencoder", lambda *_: pytest.fail("it was fetched"))
    hub["owner/name"] = models.sdxl(tmp_path)
    config = hub["owner/name"] / "unet" / "config.json"
    config.write_text(config.read_text().replace('"in_channels": 4', '"in_channels": 9'))
    with pytest.raises(InputError, match="takes 9 channels"):
        SDXLPrior.from_pretrained("owner/name", dtype=torch.float16)


@pytest.mark.parametrize(
    ("changes", "taken"),
    [
        ({}, True),
        ({"latents_mean": [0.0] * 4}, False),
        ({"scaling_factor": 0.5}, False),
        (None, True),  # a cache of a model that was loaded with the safe one lacks it
    ],
)
def test_in_half_precision_the_safe_autoencoder_is_taken_for_sdxls_latents_alone(
    changes, taken, tmp_path, hub, monkeypatch
):
    asked = []

    def autoencoder(source, dtype):
        asked.append(source)

    hub["owner/name"] = models.sdxl(tmp_path)
    config = hub["owner/name"] / "vae" / "config.json"
    told = json.loads(config.read_text())
    config.unlink()
    if changes is not None:
        config.write_text(json.dumps({**told, **changes}))
    monkeypatch.setattr(sdxl, "load_autoencoder", autoencoder)
    with pytest.raises(InputError, match="it was fetched"):
        SDXLPrior.from_pretrained("owner/name", dtype=torch.float16)
    assert asked == ["madebyollin/sdxl-vae-fp16-fix"] * taken


def test_a_file_of_weights_may_be_in_a_folder_of_the_hub(tmp_path, hub):
    hub["owner/name"] = models.sdxl(tmp_path)
    found = loading.load_unet(
        "owner/name/unet/diffusion_pytorch_model.safetensors", hub["owner/name"], torch.float32
    )
    assert type(found).__name__ == "UNet2DConditionModel"


def test_a_file_of_clean_latents_is_told_by_its_name(sdxl_folder, tmp_path):
    weights = sdxl_folder / "unet" / "diffusion_pytorch_model.safetensors"
    latent = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    answers = []
    for name in ("sdxl_1step_unet_x0", "sdxl_2step_unet"):
        shutil.copy(weights, tmp_path / f"{name}.safetensors")
        prior = SDXLPrior.from_pretrained(sdxl_folder, unet=tmp_path / f"{name}.safetensors")
        level = prior.schedule.level(0.9)
        answers.append(prior.denoise(latent, level).clean)
    shutil.copytree(sdxl_folder / "unet", tmp_path / "lcm_x0")  # a folder tells it itself
    assert SDXLPrior.from_pretrained(sdxl_folder, unet=tmp_path / "lcm_x0").prediction_type == (
        "epsilon"
    )
    clean, noise = answers[0], (latent - level.signal * answers[1]) / level.noise
    torch.testing.assert_close(clean, noise)


def test_a_text_that_is_cut_is_told(sdxl_folder):
    short = "ab"  # its letters are a token each, and two begin and end it
    SDXLPrior.from_pretrained(sdxl_folder, prompt=short)
    with pytest.warns(UserWarning, match=r"prompt 'abc.*' has 32 tokens, .* reads the first 16"):
        SDXLPrior.from_pretrained(sdxl_folder, prompt="abcdefghijklmnopqrstuvwxyzabcd")


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
