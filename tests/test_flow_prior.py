"""Flow-matching models: their schedule, their denoiser, and our methods on them."""

import shutil
from pathlib import Path

import diffusers
import pytest
import torch
from attrs import evolve
from command_line import make_clip, visionxl
from dense import generator, noise, relative_error
from diffusers import FlowMatchEulerDiscreteScheduler
from models import double

from visionxl import (
    GaussianPrior,
    InputError,
    NoiseAware,
    restore,
    simulate,
    trajectory,
    vision_xl,
)
from visionxl.init import ddim_invert
from visionxl.operators import AveragePool, GaussianBlur, TemporalAverage
from visionxl.planning import MemoryPlan, planned
from visionxl.planning.counts import count_networks
from visionxl.priors import FlowPrior, FlowSchedule, compiled
from visionxl.priors.index import index_of
from visionxl.solvers import ConstantSpread, latino
from visionxl.video import read_clip


@pytest.fixture(scope="module")
def prior(flow_folder):
    return FlowPrior.from_pretrained(flow_folder, prompt="a dog", dtype=double())


def video(frames=2, height=64, width=96):
    return noise(frames, 3, height, width).tanh()


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_the_schedule_is_a_straight_way_with_its_shift(shift):
    schedule = FlowSchedule(shift)
    for time in (0.0, 0.3, 0.7, 0.99):
        level = schedule.level(time)
        assert level.signal + level.noise == pytest.approx(1)
        odds = level.noise / level.signal
        assert odds == pytest.approx(shift * time / (1 - time), rel=1e-6)


def test_the_schedule_is_that_of_diffusers(flow_folder):
    scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(flow_folder / "scheduler")
    sigmas = scheduler.sigmas[: len(scheduler.timesteps)]
    schedule = FlowSchedule(scheduler.config.shift)
    for time, sigma in zip(torch.linspace(1, 0.001, 1000)[::99], sigmas[::99], strict=True):
        assert schedule.level(time.item()).noise == pytest.approx(sigma.item(), abs=1e-5)


def test_clean_latents_and_noise_belong_to_the_velocity_of_the_network(prior):
    latent, level = noise(2, 4, 8, 12), prior.schedule.level(0.4)
    told = prior.conditional
    velocity = prior.transformer(
        hidden_states=latent,
        timestep=torch.full((2,), 1000 * level.noise),
        encoder_hidden_states=told.arguments["encoder_hidden_states"].expand(2, -1, -1),
        pooled_projections=told.arguments["pooled_projections"].expand(2, -1),
    ).sample
    denoised = prior.denoise(latent, level)
    torch.testing.assert_close(denoised.noise - denoised.clean, velocity)
    mixed = level.signal * denoised.clean + level.noise * denoised.noise
    torch.testing.assert_close(mixed, latent)


def test_a_step_along_it_is_the_pipelines_own(prior, flow_folder):
    scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(flow_folder / "scheduler")
    scheduler.set_timesteps(10)
    before, after = scheduler.sigmas[3].double(), scheduler.sigmas[4].double()
    latent = noise(1, 4, 8, 12)
    level = evolve(prior.schedule.level(0.5), signal=1 - before.item(), noise=before.item())
    denoised = prior.denoise(latent, level)
    found = (1 - after) * denoised.clean + after * denoised.noise
    velocity = denoised.noise - denoised.clean
    expected = scheduler.step(velocity, scheduler.timesteps[3], latent).prev_sample
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("guidance", "calls"), [(None, 1), (0.0, 1), (0.6, 2)])
def test_no_evaluation_is_made_whose_answer_is_known(prior, guidance, calls):
    ran = []
    hook = prior.transformer.register_forward_hook(lambda *_: ran.append(1))
    guided = evolve(prior, guidance=guidance).denoise(noise(1, 4, 8, 12), prior.schedule.level(0.4))
    hook.remove()
    assert len(ran) == calls
    plain = prior.denoise(noise(1, 4, 8, 12), prior.schedule.level(0.4))
    assert torch.equal(guided.clean, plain.clean) == (guidance is None)


def test_encode_and_decode_are_the_autoencoders_with_its_shift(prior):
    given = video()
    vae = prior.codec.vae
    mode = vae.encode(given).latent_dist.mode()
    expected = (mode - vae.config.shift_factor) * vae.config.scaling_factor
    torch.testing.assert_close(prior.encode(given), expected)
    assert prior.decode(prior.encode(given)).shape == given.shape


def test_our_method_runs_on_it_and_explains_the_measurement(prior):
    problem = simulate(video(3), AveragePool(4), 0.05, generator=generator())
    distrusting = NoiseAware(ConstantSpread(10.0))  # random weights decode to anything
    method = vision_xl(count=10, consistency=distrusting)
    found = restore(problem, prior, method, generator=generator(1))
    assert found.video.shape == (3, 3, 64, 96)
    assert found.trace[-1].data_residual < 0.06


def test_with_an_exact_flow_prior_the_restoration_nears_the_posterior_mean():
    natural = evolve(GaussianPrior.natural(8, 8, std=0.3), schedule=FlowSchedule())
    truth = natural.sample(5, 1, generator())
    problem = simulate(truth, AveragePool(2) @ TemporalAverage(3), 0.02, generator=generator(1))
    diffusion = evolve(natural, schedule=GaussianPrior.natural(8, 8).schedule)
    flow, other = (
        restore(problem, p, vision_xl(), generator=generator()).video for p in (natural, diffusion)
    )
    assert relative_error(flow, other) < 0.3
    assert relative_error(flow, truth) < 1


def test_inversion_and_the_way_back_agree_where_the_velocity_is_known():
    """A prior of one picture: the flow is a straight line, so any number of steps is exact."""
    picture = noise(1, 1, 8, 8)
    prior = evolve(
        GaussianPrior(torch.full((8, 8), 1e-12, dtype=torch.float64)), schedule=FlowSchedule()
    )
    levels = [prior.schedule.level(t) for t in (0.3, 0.2, 0.1, 0.01)]
    start = levels[-1].noise * picture
    inverted = ddim_invert(start, prior, levels)
    torch.testing.assert_close(inverted, levels[0].noise * picture, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "plan",
    [MemoryPlan(1, vae_tile=32), MemoryPlan(2, attention="sliced", vae_frames=1)],
    ids=str,
)
def test_it_obeys_a_memory_plan(prior, plan):
    obeying = planned(prior, plan)
    latent, level = noise(2, 4, 8, 12), prior.schedule.level(0.4)
    for found, expected in (
        (obeying.denoise(latent, level).clean, prior.denoise(latent, level).clean),
        (obeying.encode(video()), prior.encode(video())),
        (obeying.decode(latent), prior.decode(latent)),
    ):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_its_memory_is_counted(prior):
    networks = count_networks(prior, MemoryPlan(), 64, 96)
    weights = sum(8 * p.numel() for p in prior.transformer.parameters())
    assert networks.unet >= weights
    assert min(networks.denoise, networks.decode, networks.encode) > networks.latent > 0
    guided = evolve(prior, guidance=0.6)
    assert (prior.evaluations, guided.evaluations) == (1, 2)


def test_it_is_compiled(prior):
    latent, level = noise(1, 4, 8, 12), prior.schedule.level(0.4)
    quick = compiled(prior, backend="eager")
    assert quick.transformer is not prior.transformer
    found, expected = (p.denoise(latent, level).clean for p in (quick, prior))
    torch.testing.assert_close(found, expected)


def test_the_command_line_takes_a_flow_model(flow_folder, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    make_clip(Path("clip.mkv"), frames=2, height=32, width=48)
    words = ["simulate", "clip.mkv", "--task", "sr4", "--output", "y.safetensors"]
    assert visionxl(monkeypatch, capfd, *words).code == 0
    words = ["restore", "y.safetensors", "--output", "x.mkv", "--prior", str(flow_folder)]
    answer = visionxl(monkeypatch, capfd, *words, "--prompt", "a dog", "--steps", "10")
    assert answer.code == 0, answer.err
    assert read_clip("x.mkv").video.shape == (2, 3, 32, 48)
    answer = visionxl(monkeypatch, capfd, *words, "--overwrite", "--lora", "x.safetensors")
    assert "--lora 'x.safetensors'" in answer.err
    words = ["info", "--plan", "--prior", str(flow_folder), "--size"]
    assert visionxl(monkeypatch, capfd, *words, "64x96").code == 0
    answer = visionxl(monkeypatch, capfd, *words, "768x1280")
    assert (answer.code, "at most 256 pixels a side" in answer.err) == (2, True), answer.err


def test_bad_input_is_refused(sdxl_folder, prior):
    with pytest.raises(InputError, match="without transformer: expected a flow model"):
        FlowPrior.from_pretrained(sdxl_folder)
    with pytest.raises(InputError, match=r"time 1\.5"):
        FlowSchedule().level(1.5)
    with pytest.raises(InputError, match="shift -1"):
        FlowSchedule(-1.0)
    with pytest.raises(InputError, match="multiple of 16"):
        prior.encode(video(1, 40, 48))


def test_the_largest_frames_that_the_transformer_has_places_for_are_taken(prior):
    most = prior.transformer.config.pos_embed_max_size * prior.transformer.config.patch_size
    level, channels = FlowSchedule().level(0.5), prior.transformer.config.in_channels
    assert prior.denoise(noise(1, channels, most, 4), level).clean.shape[-2] == most
    with pytest.raises(InputError, match=r"are too large for the transformer"):
        prior.denoise(noise(1, channels, most + 2, 4), level)


def test_only_a_stable_diffusion_3_may_be_without_its_third_encoder(sdxl_folder, flow_folder):
    from visionxl.priors.flow import _left_out

    assert _left_out(index_of(sdxl_folder)) == {}


def test_a_second_evaluation_holds_the_firsts_answer(prior):
    once, twice = (
        count_networks(evolve(prior, guidance=g), MemoryPlan(), 64, 96) for g in (None, 2.0)
    )
    assert evolve(prior, guidance=2.0).evaluations == 2
    assert twice.denoise - once.denoise == once.latent > 0


def test_a_multistep_scheduler_tells_its_shift_by_another_name(flow_folder, tmp_path):
    shutil.copytree(flow_folder, tmp_path / "model")
    index = tmp_path / "model" / "model_index.json"
    words = index.read_text()
    assert "FlowMatchEulerDiscreteScheduler" in words
    name = "DPMSolverMultistepScheduler"
    index.write_text(words.replace("FlowMatchEulerDiscreteScheduler", name))
    kind = getattr(diffusers, name)
    for options in ({"use_flow_sigmas": True, "flow_shift": 2.5}, {"flow_shift": None}):
        kind(prediction_type="flow_prediction", **options).save_pretrained(
            tmp_path / "model" / "scheduler"
        )
        if options["flow_shift"]:
            prior = FlowPrior.from_pretrained(tmp_path / "model")
            assert prior.schedule == FlowSchedule(2.5)
        else:
            with pytest.raises(InputError, match="scheduler without a shift"):
                FlowPrior.from_pretrained(tmp_path / "model")


def test_latino_stays_in_the_range_where_the_schedule_ends_in_noise_alone(prior):
    """A flow's first level leaves an estimate without end: the measurement's noise is not one."""
    truth = video(3, 32, 48)
    problem = simulate(truth, GaussianBlur(3.0), 0.01, generator=torch.Generator().manual_seed(0))
    steps = trajectory(problem, prior, latino(count=4), generator=torch.Generator().manual_seed(1))
    assert next(steps).corrected.abs().max() < 10
