"""Any latent diffusion model of diffusers: predictions, codecs, schedules."""

import shutil
from types import SimpleNamespace

import pytest
import torch
from diffusers import (
    AutoencoderTiny,
    DDIMScheduler,
    EDMEulerScheduler,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
    UNet2DModel,
)
from models import BETAS, TEXT_IN_DOUBLE, autoencoder
from torch import nn

from visionxl import DiffusersPrior, InputError, Padded, PocketPrior
from visionxl.cli.priors import prior_named
from visionxl.priors import AutoencoderCodec, Conditioning, DiscreteSchedule
from visionxl.priors.pocket import WEIGHTS

PREDICTIONS = pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
TIMES = pytest.mark.parametrize("time", [0.001, 0.281, 0.5, 0.999])
SCHEDULE = DiscreteSchedule.stable_diffusion()


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.no_grad():
        yield


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def difference(a, b):
    return (a - b).abs().max().item()


class Oracle(nn.Module):
    """A U-Net that knows the clean latents and the noise, and says what it is asked to predict."""

    def __init__(self, clean, noise, prediction):
        super().__init__()
        self.dummy = nn.Parameter(torch.zeros(1, dtype=torch.float64), requires_grad=False)
        self.truth, self.prediction = (clean, noise), prediction

    def forward(self, sample, timestep, encoder_hidden_states=None):
        clean, noise = self.truth
        level = SCHEDULE.level(timestep.item() / 1000)
        velocity = level.signal * noise - level.noise * clean
        output = {"epsilon": noise, "v_prediction": velocity, "sample": clean}[self.prediction]
        if encoder_hidden_states is not None:  # wrong by what the prompt says
            output = output + encoder_hidden_states
        return SimpleNamespace(sample=output)


def oracle_prior(clean, noise, prediction, **options):
    codec = AutoencoderCodec(autoencoder())
    return DiffusersPrior(Oracle(clean, noise, prediction), codec, SCHEDULE, prediction, **options)


@TIMES
@PREDICTIONS
def test_a_perfect_prediction_of_any_kind_gives_the_clean_latents_and_the_noise(prediction, time):
    clean, noise = normal(2, 4, 6, 8, seed=1), normal(2, 4, 6, 8, seed=2)
    level = SCHEDULE.level(time)
    latent = level.signal * clean + level.noise * noise
    denoised = oracle_prior(clean, noise, prediction).denoise(latent, level)
    assert difference(denoised.clean, clean) < 1e-10
    assert difference(denoised.noise, noise) < 1e-10


@TIMES
@PREDICTIONS
def test_clean_and_noise_make_up_the_latents_however_wrong_the_prediction(prediction, time):
    prior = oracle_prior(normal(2, 4, 6, 8, seed=1), normal(2, 4, 6, 8, seed=2), prediction)
    latent, level = normal(2, 4, 6, 8, seed=3), SCHEDULE.level(time)
    denoised = prior.denoise(latent, level)
    assert difference(level.signal * denoised.clean + level.noise * denoised.noise, latent) < 1e-10


@PREDICTIONS
def test_the_clean_latents_are_guided_and_the_noise_is_not(prediction):
    clean, noise = normal(1, 4, 6, 8, seed=1), normal(1, 4, 6, 8, seed=2)
    latent, level = normal(1, 4, 6, 8, seed=3), SCHEDULE.level(0.3)

    def told(value):
        words = torch.full((1, 1, 1, 1), value, dtype=torch.float64)
        return Conditioning({"encoder_hidden_states": words})

    def prior(negative, positive, guidance):
        options = {"conditional": told(positive), "unconditional": told(negative)}
        return oracle_prior(clean, noise, prediction, guidance=guidance, **options)

    denoised = prior(-0.5, 0.7, 0.6).denoise(latent, level)
    guided = prior(-0.5 + 0.6 * 1.2, 0.0, 0.0).denoise(latent, level)
    unguided = prior(-0.5, 0.0, 0.0).denoise(latent, level)
    assert difference(denoised.clean, guided.clean) < 1e-10
    assert difference(denoised.noise, unguided.noise) < 1e-10
    assert difference(guided.clean, unguided.clean) > 1e-2


def test_an_unknown_prediction_type_is_refused_with_the_nearest():
    with pytest.raises(InputError, match="did you mean 'epsilon'"):
        oracle_prior(normal(1, 4, 6, 8), normal(1, 4, 6, 8), "epsilom")


@TEXT_IN_DOUBLE
@PREDICTIONS
def test_it_agrees_with_diffusers_pipeline(stable_diffusion_folders, prediction):
    folder, words = stable_diffusion_folders[prediction], ("a red fox", "blur")
    pipeline = StableDiffusionPipeline.from_pretrained(folder).to(dtype=torch.float64)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler.alphas_cumprod = pipeline.scheduler.alphas_cumprod.double()
    seen = []
    pipeline.unet.register_forward_hook(lambda _, args, out: seen.append((*args[:2], out[0])))
    pipeline(
        words[0],
        negative_prompt=words[1],
        height=64,
        width=128,
        guidance_scale=4.0,
        num_inference_steps=3,
        latents=normal(1, 4, 8, 16),
        output_type="latent",
    )
    prior = DiffusersPrior.from_pretrained(
        folder, prompt=words[0], negative_prompt=words[1], guidance=4.0, dtype=torch.float64
    )
    assert prior.prediction_type == prediction
    assert len(seen) == 3
    for latents, time, output in seen:
        latent, (negative, positive) = latents[:1], output.split(1)
        step = pipeline.scheduler.step
        guided = step(negative + 4 * (positive - negative), time, latent).pred_original_sample
        unguided = step(negative, time, latent).pred_original_sample
        level = prior.schedule.level(int(time) / 1000)
        noise = (latent - level.signal * unguided) / level.noise
        denoised = prior.denoise(latent, level)
        assert difference(negative, positive) > 1e-3
        assert difference(denoised.clean, guided) < 1e-10
        assert difference(denoised.noise, noise) < 1e-10


def test_no_graph_holds_on_to_the_text_encoder(stable_diffusion_folders):
    with torch.enable_grad():
        prior = DiffusersPrior.from_pretrained(stable_diffusion_folders["epsilon"], prompt="a fox")
    for conditioning in (prior.conditional, prior.unconditional):
        assert conditioning.arguments["encoder_hidden_states"].grad_fn is None


# --- unconditional models with a patch autoencoder, as the pocket model is


def unconditional_unet():
    torch.manual_seed(3)
    return UNet2DModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=4,
    )


@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_a_patch_autoencoder_sees_squares_of_four_pixels(blocks):
    torch.manual_seed(4)
    codec = AutoencoderCodec(autoencoder(channels=48, widths=(8,) * blocks).eval())
    video = normal(2, 3, 48, 80)
    latent = codec.encode(video)
    assert (codec.patch, codec.factor) == (4, 4 * 2 ** (blocks - 1))
    assert latent.shape == (2, 4, 48 // codec.factor, 80 // codec.factor)
    assert codec.decode(latent).shape == video.shape


def test_a_patch_autoencoder_puts_every_pixel_back_where_it_was():
    class Through(nn.Module):
        """Hands on what it gets."""

        config = SimpleNamespace(in_channels=48, block_out_channels=(8,), scaling_factor=2.0)

        def __init__(self):
            super().__init__()
            self.dummy = nn.Parameter(torch.zeros(1, dtype=torch.float64))

        def encode(self, pixels):
            return SimpleNamespace(latents=pixels)

        def decode(self, latent):
            return SimpleNamespace(sample=latent)

    video = normal(2, 3, 16, 24)
    codec = AutoencoderCodec(Through())
    assert codec.encode(video).shape == (2, 48, 4, 6)
    assert torch.equal(codec.decode(codec.encode(video)), video)


def test_an_autoencoder_of_one_channel_takes_gray_frames():
    prior = DiffusersPrior.assemble(unconditional_unet(), autoencoder(channels=1), DDIMScheduler())
    assert (prior.codec.patch, prior.codec.factor) == (1, 8)
    video = normal(2, 1, 32, 48)
    assert prior.decode(prior.encode(video)).shape == video.shape


def test_an_unconditional_model_is_one_evaluation_and_takes_only_its_multiples():
    vae = autoencoder(channels=48, widths=(8, 8))
    prior = DiffusersPrior.assemble(unconditional_unet(), vae, DDIMScheduler(**BETAS))
    assert (prior.multiple, prior.evaluations) == (16, 1)
    with pytest.raises(InputError, match=r"width 40 is not a multiple of 16.*wrap .* Padded"):
        prior.encode(normal(1, 3, 32, 40))
    padded = Padded(prior, 32, 40, prior.multiple)
    latent = padded.encode(normal(1, 3, 32, 40))
    denoised = padded.denoise(latent, padded.schedule.level(0.3))
    assert padded.decode(denoised.clean).shape == (1, 3, 32, 40)


def test_a_scheduler_without_discrete_alphas_is_refused():
    with pytest.raises(InputError, match="EDMEulerScheduler has no alphas_cumprod: if"):
        DiffusersPrior.assemble(unconditional_unet(), autoencoder(), EDMEulerScheduler())


# --- autoencoders


def test_a_tiny_autoencoder_encodes_and_decodes_as_diffusers_does(tiny_autoencoder_folder):
    network = AutoencoderTiny.from_pretrained(tiny_autoencoder_folder).double()
    codec = AutoencoderCodec(network)
    video = normal(2, 3, 32, 48)
    latent = codec.encode(video)
    assert codec.factor == 8
    assert latent.shape == (2, 4, 4, 6)
    assert difference(latent, network.encode(video).latents) < 1e-12
    assert difference(codec.decode(latent), network.decode(latent).sample) < 1e-12


def test_a_shift_is_taken_off_before_scaling_and_put_back_after():
    network = autoencoder(scaling_factor=0.5, shift_factor=0.25).double()
    codec, video = AutoencoderCodec(network), normal(1, 3, 32, 32)
    mode = network.encode(video).latent_dist.mode()
    latent = codec.encode(video)
    assert difference(latent, (mode - 0.25) * 0.5) < 1e-12
    assert difference(codec.decode(latent), network.decode(mode).sample) < 1e-12


def test_means_and_deviations_per_channel_are_taken_off_and_put_back():
    mean, std = [0.1, -0.2, 0.3, 0.0], [1.0, 2.0, 3.0, 4.0]
    config = {"scaling_factor": 0.5, "latents_mean": mean, "latents_std": std}
    network = autoencoder(**config).double()
    codec, video = AutoencoderCodec(network), normal(1, 3, 32, 32)
    mode = network.encode(video).latent_dist.mode()
    latent = codec.encode(video)
    for channel in range(4):
        expected = (mode[:, channel] - mean[channel]) * 0.5 / std[channel]
        assert difference(latent[:, channel], expected) < 1e-12
    assert difference(codec.decode(latent), network.decode(mode).sample) < 1e-12


def test_a_video_between_the_autoencoders_multiples_is_refused():
    with pytest.raises(InputError, match="height 60 is not a multiple of 8"):
        AutoencoderCodec(autoencoder()).encode(normal(1, 3, 60, 64))


# --- schedules


@pytest.mark.parametrize("scheduler", [DDIMScheduler, EulerDiscreteScheduler])
def test_the_schedule_of_stable_diffusion_is_that_of_diffusers(scheduler):
    theirs = scheduler(**BETAS).alphas_cumprod.double()
    ours = torch.tensor(SCHEDULE.alphas_cumprod, dtype=torch.float64)
    # Theirs is a running product in float32.
    assert ((ours - theirs).abs() / theirs).max() < 1e-4
    assert difference(ours, theirs) < 1e-6


def test_every_training_time_is_found_again():
    assert [SCHEDULE.index(i / 1000) for i in range(1000)] == list(range(1000))
    assert SCHEDULE.index(1.0) == 999
    level = SCHEDULE.level(0.281)
    assert level.signal**2 == pytest.approx(SCHEDULE.alphas_cumprod[281])
    assert level.signal**2 + level.noise**2 == pytest.approx(1)


@pytest.mark.parametrize("time", [-0.001, 1.001])
def test_a_time_outside_the_schedule_is_refused(time):
    with pytest.raises(InputError, match=r"is not in \[0, 1\]"):
        SCHEDULE.level(time)


def test_a_folder_without_text_needs_no_pipeline_around_it(tmp_path):
    prior = DiffusersPrior.from_pretrained(WEIGHTS)
    video = torch.rand(1, 3, 32, 32) * 2 - 1
    assert torch.equal(prior.encode(video), PocketPrior.load().encode(video))
    with pytest.raises(InputError, match=r"prompt 'a dog'.*no text encoder"):
        DiffusersPrior.from_pretrained(WEIGHTS, prompt="a dog")
    for name in ("vae", "scheduler"):
        shutil.copytree(WEIGHTS / name, tmp_path / name)
    with pytest.raises(InputError, match=r"without model_index\.json.*or one with unet, vae"):
        DiffusersPrior.from_pretrained(tmp_path)
    told = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=8,
        attention_head_dim=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )
    told.save_pretrained(tmp_path / "unet")
    with pytest.raises(InputError, match=r"UNet2DConditionModel, which is conditioned.*assemble"):
        DiffusersPrior.from_pretrained(tmp_path)
    assert isinstance(prior_named(str(WEIGHTS)), DiffusersPrior)


def test_conditionings_differ_by_what_is_added_too():
    same, other = torch.ones(1, 2, 4), torch.zeros(1, 4)
    first = Conditioning({"encoder_hidden_states": same}, {"text_embeds": other}, True)
    assert first.equals(Conditioning({"encoder_hidden_states": same}, {"text_embeds": other}))
    assert not first.equals(
        Conditioning({"encoder_hidden_states": same}, {"text_embeds": other + 1})
    )
