"""SDXL: loading, and agreement with diffusers' own pipeline of the same weights."""

import gc
import re
import shutil

import pytest
import torch
from attrs import evolve, frozen
from diffusers import AutoencoderKL, AutoencoderTiny, DDIMScheduler, StableDiffusionXLPipeline
from models import TEXT_IN_DOUBLE, double
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from visionxl import DiffusersPrior, InputError, Padded, SDXLPrior, restore, simulate, vision_xl
from visionxl.operators import AveragePool, TemporalAverage
from visionxl.priors.loading import loading_options
from visionxl.solvers import latino

PROMPT, NEGATIVE = "a red fox", "blur"
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}
BOTH_DTYPES = pytest.mark.parametrize(
    "dtype", [torch.float32, pytest.param(torch.float64, marks=TEXT_IN_DOUBLE)], ids=str
)


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def prior(sdxl_folder):
    return SDXLPrior.from_pretrained(
        sdxl_folder, prompt=PROMPT, negative_prompt=NEGATIVE, guidance=0.6
    )


def noise(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def clip(frames, height, width, dtype=torch.float32):
    """Waves that move: smooth, in [-1, 1]."""
    t, y, x = (torch.arange(n, dtype=dtype) for n in (frames, height, width))
    phases = [(y / 9)[:, None] + x / (7 + c) + 0.1 * t[:, None, None] for c in range(3)]
    return torch.stack(phases, 1).sin() * 0.8


@frozen(eq=False)
class Evaluation:
    """What diffusers' pipeline gave its U-Net at one step, and what it did with the answer."""

    latent: Tensor
    time: int
    outputs: tuple[Tensor, ...]
    clean: Tensor
    following: Tensor


def run_pipeline(
    folder, *, prompt=PROMPT, guidance=5.0, steps=3, size=(96, 160), dtype=torch.float32, **options
):
    """The evaluations of a DDIM run of diffusers' SDXL pipeline."""
    pipeline = StableDiffusionXLPipeline.from_pretrained(
        folder, add_watermarker=False, **loading_options(dtype)
    )
    pipeline.set_progress_bar_config(disable=True)
    # Euler's configuration knows neither option.
    scheduler = DDIMScheduler.from_config(
        pipeline.scheduler.config, clip_sample=False, set_alpha_to_one=True
    )
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.to(dtype)
    pipeline.scheduler = scheduler
    seen, after = [], []
    pipeline.unet.register_forward_hook(
        lambda _, args, output: seen.append((args[0], int(args[1]), output[0]))
    )
    pipeline(
        prompt,
        negative_prompt=NEGATIVE,
        height=size[0],
        width=size[1],
        guidance_scale=guidance,
        num_inference_steps=steps,
        latents=noise(1, 4, size[0] // 8, size[1] // 8, dtype=dtype),
        output_type="latent",
        callback_on_step_end=lambda _, __, ___, tensors: after.append(tensors["latents"]) or {},
        **options,
    )
    evaluations = []
    for (latent, time, output), following in zip(seen, after, strict=True):
        outputs = output.split(1)
        combined = outputs[0] + guidance * (outputs[-1] - outputs[0])
        clean = scheduler.step(combined, time, latent[:1]).pred_original_sample
        evaluations.append(Evaluation(latent[:1], time, outputs, clean, following))
    return evaluations


def level_at(prior, time):
    return prior.schedule.level(time / 1000)


def difference(a, b):
    return (a - b).abs().max().item()


@BOTH_DTYPES
@pytest.mark.parametrize("size", [(96, 160), (160, 96), (128, 128)])
def test_clean_is_the_guided_and_noise_the_unguided_one_of_diffusers_pipeline(
    sdxl_folder, dtype, size
):
    prior = SDXLPrior.from_pretrained(
        sdxl_folder, prompt=PROMPT, negative_prompt=NEGATIVE, guidance=5.0, dtype=dtype
    )
    evaluations = run_pipeline(sdxl_folder, size=size, dtype=dtype)
    assert len(evaluations) == 3
    for evaluation in evaluations:
        denoised = prior.denoise(evaluation.latent, level_at(prior, evaluation.time))
        unguided, prompted = evaluation.outputs
        assert difference(unguided, prompted) > 1e-2  # or else guidance would change nothing
        assert difference(denoised.noise, unguided) < TOLERANCE[dtype]
        # Rounding grows by the guidance and by noise / signal, up to 3 here.
        assert difference(denoised.clean, evaluation.clean) < 20 * TOLERANCE[dtype]


@BOTH_DTYPES
def test_a_ddim_run_without_guidance_passes_through_the_pipelines_latents(sdxl_folder, dtype):
    prior = SDXLPrior.from_pretrained(sdxl_folder, prompt=PROMPT, guidance=None, dtype=dtype)
    evaluations = run_pipeline(sdxl_folder, guidance=1.0, steps=4, dtype=dtype)
    latent = evaluations[0].latent
    for evaluation, following in zip(evaluations, [*evaluations[1:], None], strict=True):
        denoised = prior.denoise(latent, level_at(prior, evaluation.time))
        latent = denoised.clean
        if following is not None:
            level = level_at(prior, following.time)
            latent = denoised.clean * level.signal + denoised.noise * level.noise
        assert difference(latent, evaluation.following) < 100 * TOLERANCE[dtype]


@pytest.mark.parametrize(
    "other",
    [
        {"prompt": "a green fox"},
        {"original_size": (512, 512)},
        {"target_size": (160, 96)},
        {"crops_coords_top_left": (32, 0)},
    ],
    ids=lambda other: next(iter(other)),
)
def test_another_prompt_or_size_is_told_apart(sdxl_folder, other):
    prior = SDXLPrior.from_pretrained(sdxl_folder, prompt=PROMPT, guidance=None)
    same, changed = (
        run_pipeline(sdxl_folder, guidance=1.0, steps=1, **options)[0] for options in ({}, other)
    )
    denoised = prior.denoise(same.latent, level_at(prior, same.time))
    assert difference(denoised.noise, same.outputs[0]) < 1e-5
    assert difference(denoised.noise, changed.outputs[0]) > 1e-2


@pytest.mark.parametrize(
    ("prompt", "negative", "guidance", "count"),
    [
        ("a fox", "blur", 0.6, 2),
        ("a fox", "", 0.6, 2),
        ("a fox", "a fox", 0.6, 1),
        ("", "", 0.6, 1),
        ("a fox", "blur", 0.0, 1),
        ("a fox", "blur", None, 1),
    ],
)
def test_no_evaluation_is_made_whose_answer_is_known(
    sdxl_folder, prompt, negative, guidance, count
):
    prior = SDXLPrior.from_pretrained(
        sdxl_folder, prompt=prompt, negative_prompt=negative, guidance=guidance
    )
    calls = []
    prior.unet.register_forward_hook(lambda *_: calls.append(1))
    prior.denoise(noise(2, 4, 8, 8), prior.schedule.level(0.3))
    assert len(calls) == prior.evaluations == count


@pytest.mark.parametrize(("negative", "zeros"), [("", False), (None, True)])
def test_without_a_negative_prompt_the_unconditional_one_is_that_of_diffusers(
    sdxl_folder, negative, zeros
):
    prior = SDXLPrior.from_pretrained(sdxl_folder, prompt=PROMPT, negative_prompt=negative)
    told = [*prior.unconditional.arguments.values(), *prior.unconditional.added.values()]
    assert all((tensor == 0).all() == zeros for tensor in told)
    assert all((tensor != 0).any() for tensor in prior.conditional.added.values())


def test_the_ends_of_guidance_are_the_negative_prompt_and_the_prompt(sdxl_folder, prior):
    latent, level = noise(1, 4, 8, 8), prior.schedule.level(0.3)
    negative = SDXLPrior.from_pretrained(sdxl_folder, prompt=NEGATIVE, guidance=None)
    for guidance, expected in ((0.0, negative), (1.0, evolve(prior, guidance=None))):
        denoised = evolve(prior, guidance=guidance).denoise(latent, level)
        assert difference(denoised.clean, expected.denoise(latent, level).clean) < 1e-5
        assert difference(denoised.noise, negative.denoise(latent, level).noise) < 1e-5


def test_frames_in_one_batch_are_those_one_by_one(prior):
    latent, level = noise(3, 4, 8, 12), prior.schedule.level(0.3)
    together = prior.denoise(latent, level)
    for index in range(3):
        alone = prior.denoise(latent[index : index + 1], level)
        assert difference(together.clean[index], alone.clean[0]) < 1e-5
        assert difference(together.noise[index], alone.noise[0]) < 1e-5


def test_text_encoders_are_released(sdxl_folder):
    def alive():
        gc.collect()
        return sum(
            type(o) in (CLIPTextModel, CLIPTextModelWithProjection) for o in gc.get_objects()
        )

    before = alive()
    with torch.enable_grad():
        prior = SDXLPrior.from_pretrained(sdxl_folder, prompt=PROMPT)
    assert alive() == before
    for conditioning in (prior.conditional, prior.unconditional):
        for tensor in (*conditioning.arguments.values(), *conditioning.added.values()):
            assert tensor.grad_fn is None  # a graph would keep the encoders' weights


@pytest.fixture(scope="module")
def exact_pair(sdxl_folder):
    """The prior and diffusers' autoencoder, in float64."""
    autoencoder = AutoencoderKL.from_pretrained(sdxl_folder / "vae").double()
    return SDXLPrior.from_pretrained(sdxl_folder, dtype=double()), autoencoder


def test_encoding_is_the_scaled_mode_of_the_posterior_without_chance(exact_pair):
    prior, autoencoder = exact_pair
    video = clip(2, 64, 96, dtype=torch.float64)
    latent = prior.encode(video)
    expected = autoencoder.encode(video).latent_dist.mode() * 0.13025
    assert latent.shape == (2, 4, 8, 12)
    assert difference(latent, expected) < 1e-12
    assert torch.equal(latent, prior.encode(video))


def test_decoding_divides_by_the_scale(exact_pair):
    prior, autoencoder = exact_pair
    latent = noise(2, 4, 8, 12, dtype=torch.float64)
    decoded = prior.decode(latent)
    assert decoded.shape == (2, 3, 64, 96)
    assert difference(decoded, autoencoder.decode(latent / 0.13025).sample) < 1e-12


@pytest.mark.parametrize("network", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("given", [torch.float64, torch.float32], ids=str)
def test_results_keep_the_dtype_of_the_argument(sdxl_folder, network, given):
    prior = SDXLPrior.from_pretrained(sdxl_folder, prompt=PROMPT, dtype=network)
    latent = prior.encode(clip(1, 64, 64, dtype=given))
    denoised = prior.denoise(latent, prior.schedule.level(0.3))
    results = (latent, denoised.clean, denoised.noise, prior.decode(denoised.clean))
    assert all(result.dtype == given and result.isfinite().all() for result in results)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_comes_near_the_full_one(sdxl_folder, prior, dtype):
    half = SDXLPrior.from_pretrained(
        sdxl_folder, prompt=PROMPT, negative_prompt=NEGATIVE, dtype=dtype
    )
    latent, level = noise(1, 4, 12, 20), prior.schedule.level(0.3)
    exact = prior.denoise(latent, level).clean
    error = (half.denoise(latent, level).clean - exact).norm() / exact.norm()
    assert 0 < error < 0.02


def test_in_bfloat16_the_autoencoder_is_in_bfloat16_too(sdxl_folder):
    prior = SDXLPrior.from_pretrained(sdxl_folder, dtype=torch.bfloat16)
    assert prior.unet.dtype == prior.codec.vae.dtype == torch.bfloat16


def test_another_autoencoder_takes_the_place_of_the_models_own(
    sdxl_folder, tiny_autoencoder_folder
):
    prior = SDXLPrior.from_pretrained(
        sdxl_folder, autoencoder=tiny_autoencoder_folder, dtype=torch.float16
    )
    assert isinstance(prior.codec.vae, AutoencoderTiny)
    assert prior.codec.vae.dtype == torch.float16


# --- a U-Net of a few-step model


def other_unet(folder, place):
    """Weights of another training, in a file alone."""
    weights = load_file(folder / "unet/diffusion_pytorch_model.safetensors")
    changed = {name: value + 0.01 for name, value in weights.items()}
    save_file(changed, place / "few_step_unet.safetensors")
    return place / "few_step_unet.safetensors", changed


def test_a_file_of_weights_takes_the_place_of_the_models_own(sdxl_folder, tmp_path):
    file, weights = other_unet(sdxl_folder, tmp_path)
    prior = SDXLPrior.from_pretrained(sdxl_folder, unet=file, guidance=None)
    found = prior.unet.state_dict()
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], value) for name, value in weights.items())


def test_a_folder_of_a_unet_takes_the_place_of_the_models_own(sdxl_folder, lcm_folder):
    prior = SDXLPrior.from_pretrained(sdxl_folder, unet=lcm_folder / "unet", guidance=8.0)
    assert prior.unet.config.time_cond_proj_dim is not None
    assert prior.evaluations == 1


@pytest.mark.parametrize("count", [2, 4])
def test_a_few_step_model_restores_in_as_many_evaluations(sdxl_folder, tmp_path, count):
    file, _ = other_unet(sdxl_folder, tmp_path)
    prior = SDXLPrior.from_pretrained(sdxl_folder, unet=file, guidance=None)
    calls = []
    prior.unet.register_forward_hook(lambda *_: calls.append(1))
    truth = noise(2, 3, 64, 64).clamp(-1, 1)
    problem = simulate(truth, AveragePool(4), 0.01, generator=torch.Generator().manual_seed(0))
    result = restore(
        problem, prior, latino(count=count), generator=torch.Generator().manual_seed(1)
    )
    assert len(calls) == 2 * count
    assert torch.isfinite(result.video).all()


def test_a_unet_that_cannot_be_read_is_refused(sdxl_folder, tmp_path):
    file, weights = other_unet(sdxl_folder, tmp_path)
    short = tmp_path / "short.safetensors"
    save_file(dict(list(weights.items())[1:]), short)
    cases = {
        short: r"unet .* cannot be",
        file.with_suffix(".bin"): "may be a pickle",
        tmp_path / "nothing.safetensors": "is no file",
        tmp_path: r"without config\.json",
    }
    for given, words in cases.items():
        with pytest.raises(InputError, match=words):
            SDXLPrior.from_pretrained(sdxl_folder, unet=given)


# --- a LoRA


MODULES = ("to_q", "to_k", "to_v", "to_out.0", "proj_in", "conv1")  # linear, and a convolution
SCALE = 2  # alpha / rank


def lora_of(pipeline):
    """Random factors of rank 3 for some of the U-Net's weights, by their names in diffusers."""
    from peft import LoraConfig, get_peft_model_state_dict

    config = LoraConfig(r=3, lora_alpha=3 * SCALE, target_modules=MODULES)
    pipeline.unet.add_adapter(config)
    generator = torch.Generator().manual_seed(7)
    factors = {
        name: torch.randn(value.shape, generator=generator)
        for name, value in get_peft_model_state_dict(pipeline.unet).items()
    }
    return factors, config


def as_diffusers_saves_it(factors, config, place):
    told = {key: list(v) if isinstance(v, set) else v for key, v in config.to_dict().items()}
    StableDiffusionXLPipeline.save_lora_weights(
        place, unet_lora_layers=factors, unet_lora_adapter_metadata=told
    )
    return place / "pytorch_lora_weights.safetensors"


def as_kohya_saves_it(factors, config, place):
    """``lora_unet_..._to_q.lora_down.weight`` beside a tensor ``.alpha``, as in most files."""
    weights = {}
    for name, value in factors.items():
        module, factor = name.split(".lora_")
        module = "lora_unet_" + module.replace(".", "_")
        part = {"A": "lora_down", "B": "lora_up"}[factor[0]]
        weights[f"{module}.{part}.weight"] = value
        weights[f"{module}.alpha"] = torch.tensor(float(config.lora_alpha))
    save_file(weights, place / "kohya.safetensors")
    return place / "kohya.safetensors"


@pytest.mark.parametrize("save", [as_diffusers_saves_it, as_kohya_saves_it])
def test_a_lora_adds_the_product_of_its_factors_to_the_weights(sdxl_folder, tmp_path, save):
    pytest.importorskip("peft")
    factors, config = lora_of(StableDiffusionXLPipeline.from_pretrained(sdxl_folder))
    file = save(factors, config, tmp_path)
    plain = SDXLPrior.from_pretrained(sdxl_folder).unet.state_dict()
    found = SDXLPrior.from_pretrained(sdxl_folder, lora=file).unet.state_dict()
    assert found.keys() == plain.keys()
    changed = {name.split(".lora_")[0] + ".weight" for name in factors}
    assert len(changed) > 60
    for name, value in plain.items():
        if name not in changed:
            assert torch.equal(found[name], value), name
            continue
        module = name.removesuffix(".weight")
        down, up = (factors[f"{module}.lora_{part}.weight"] for part in "AB")
        product = (up.flatten(1) @ down.flatten(1)).view(value.shape)
        torch.testing.assert_close(found[name], value + SCALE * product)


def test_a_lora_that_cannot_be_added_is_refused(
    sdxl_folder, stable_diffusion_folders, tmp_path, monkeypatch
):
    pytest.importorskip("peft")
    factors, config = lora_of(StableDiffusionXLPipeline.from_pretrained(sdxl_folder))
    file = as_diffusers_saves_it(factors, config, tmp_path)
    nothing = tmp_path / "nothing.safetensors"
    save_file({"elsewhere.lora_A.weight": noise(3, 3)}, nothing)
    cases = {
        nothing: "has nothing for a StableDiffusionXLPipeline",
        tmp_path / "absent.safetensors": "is no file",
        file.with_suffix(".bin"): "may be a pickle",
        tmp_path: r"is no \.safetensors file",
    }
    for given, words in cases.items():
        with pytest.raises(InputError, match=f"lora .*{words}"):
            SDXLPrior.from_pretrained(sdxl_folder, lora=given)
    with pytest.raises(InputError, match=r"lora .* made for this model"):
        DiffusersPrior.from_pretrained(stable_diffusion_folders["epsilon"], lora=file)
    monkeypatch.setattr("visionxl.priors.loading.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'peft>=0.17'"):
        SDXLPrior.from_pretrained(sdxl_folder, lora=file)


# --- a model with an embedded guidance


def test_an_embedded_guidance_is_one_evaluation_and_that_of_diffusers_pipeline(lcm_folder):
    prior = SDXLPrior.from_pretrained(lcm_folder, prompt=PROMPT, guidance=8.0)
    for evaluation in run_pipeline(lcm_folder, guidance=8.0):
        (output,) = evaluation.outputs
        denoised = prior.denoise(evaluation.latent, level_at(prior, evaluation.time))
        assert difference(denoised.noise, output) < 1e-5
    assert prior.evaluations == 1


def test_an_embedded_guidance_changes_the_answer(lcm_folder):
    latent = noise(1, 4, 8, 8)
    priors = [
        SDXLPrior.from_pretrained(lcm_folder, prompt=PROMPT, guidance=g) for g in (None, 1.0, 8.0)
    ]
    absent, one, eight = (p.denoise(latent, p.schedule.level(0.3)).clean for p in priors)
    assert torch.equal(absent, one)
    assert difference(one, eight) > 1e-3


def test_an_embedded_guidance_cannot_be_changed_afterwards(lcm_folder):
    prior = SDXLPrior.from_pretrained(lcm_folder, guidance=8.0)
    with pytest.raises(InputError, match="from_pretrained"):
        evolve(prior, guidance=2.0)


# --- sizes


@pytest.mark.parametrize("size", [(768, 1280), (1280, 768), (1024, 1024), (832, 1216)])
def test_the_buckets_of_sdxl_pass_and_are_told_to_the_network(prior, size):
    height, width = size
    told = []
    hook = prior.unet.register_forward_pre_hook(
        lambda _, __, kwargs: told.append(kwargs["added_cond_kwargs"]["time_ids"].tolist()),
        with_kwargs=True,
    )
    latent = prior.encode(clip(1, height, width))
    denoised = prior.denoise(latent, prior.schedule.level(0.3))
    decoded = prior.decode(denoised.clean)
    hook.remove()
    assert latent.shape == (1, 4, height // 8, width // 8)
    assert decoded.shape == (1, 3, height, width)
    assert decoded.isfinite().all()
    assert told == [[[height, width, 0, 0, height, width]]] * 2


@pytest.mark.parametrize("size", [(90, 160), (96, 154), (104, 160)])
def test_another_size_is_refused_and_the_way_out_that_is_named_works(prior, size):
    video = clip(1, *size)
    with pytest.raises(InputError, match="is not a multiple of 32") as refusal:
        prior.encode(video)
    (advice,) = re.findall(r"Padded\(.*?\)", str(refusal.value))
    padded = eval(advice, {"Padded": Padded, "prior": prior})
    assert padded.decode(padded.encode(video)).shape == video.shape


def test_padded_encodes_what_the_reflected_frame_does_and_cuts_it_back(prior):
    padded = Padded(prior, height=90, width=154, multiple=prior.multiple)
    video = clip(2, 96, 160, dtype=torch.float64)
    video[..., 90:, :] = video[..., 83:89, :].flip(-2)
    video[..., 154:] = video[..., 147:153].flip(-1)
    cut = video[..., :90, :154]
    latent = padded.encode(cut)
    decoded = padded.decode(latent)
    assert torch.equal(latent, prior.encode(video))
    assert torch.equal(decoded, prior.decode(latent)[..., :90, :154])
    assert decoded.shape == cut.shape
    assert decoded.dtype == torch.float64


# --- the whole method


@pytest.mark.parametrize("frames", [1, 25])
def test_restoring_gives_a_finite_video_that_agrees_with_the_measurement(prior, frames):
    operator = AveragePool(4) @ TemporalAverage(min(7, frames), "circular")
    generator = torch.Generator().manual_seed(0)
    problem = simulate(clip(frames, 96, 160), operator, generator=generator)
    result = restore(problem, prior, vision_xl(count=10), generator=generator)
    assert result.video.shape == (frames, 3, 96, 160)
    assert result.video.isfinite().all()
    assert len(result.trace) == 3
    assert result.trace[-1].data_residual < 1e-2
    assert difference(operator.forward(result.video), problem.measurement) < 5e-2


def test_restoring_frames_of_any_size_by_a_padded_prior_builds_no_graph(prior):
    padded = Padded(prior, height=88, width=152, multiple=prior.multiple)
    generator = torch.Generator().manual_seed(0)
    problem = simulate(clip(2, 88, 152), AveragePool(4), generator=generator)
    with torch.enable_grad():
        result = restore(problem, padded, vision_xl(count=10), generator=generator)
    assert result.video.shape == (2, 3, 88, 152)
    assert not result.video.requires_grad


# --- what cannot be loaded


def copied(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "model")


PARTS = pytest.mark.parametrize(
    "weights",
    [
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
        "text_encoder_2/model.safetensors",
    ],
)


@PARTS
def test_weights_outside_safetensors_are_refused(sdxl_folder, tmp_path, weights):
    folder = copied(sdxl_folder, tmp_path)
    path = folder / weights
    name = "pytorch_model.bin" if path.stem == "model" else f"{path.stem}.bin"
    torch.save(load_file(path), path.with_name(name))
    path.unlink()
    with pytest.raises(InputError, match="save_pretrained, which writes safetensors"):
        SDXLPrior.from_pretrained(folder)


@PARTS
def test_a_truncated_file_of_weights_is_refused(sdxl_folder, tmp_path, weights):
    path = copied(sdxl_folder, tmp_path) / weights
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"cannot be read .*: download it again"):
        SDXLPrior.from_pretrained(tmp_path / "model")


# diffusers still passes it, and huggingface_hub ignores it
@pytest.mark.filterwarnings("ignore:The `local_dir_use_symlinks` argument:UserWarning")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_a_hub_id_without_a_network_is_refused(dtype):
    with pytest.raises(InputError, match="check the id and the network, or download") as refused:
        SDXLPrior.from_pretrained("nobody/nothing", dtype=dtype)
    assert "above" not in str(refused.value)  # nothing stands there


@pytest.mark.parametrize("source", ["nowhere", "./models/nowhere", "/models/nowhere"])
def test_a_missing_folder_is_refused(source):
    with pytest.raises(InputError, match="is neither a folder nor a hub id: give a folder"):
        SDXLPrior.from_pretrained(source)


def test_a_folder_that_is_no_model_is_refused(sdxl_folder, tmp_path):
    with pytest.raises(InputError, match=r"without model_index\.json: give one"):
        SDXLPrior.from_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"autoencoder .* without config\.json: give"):
        SDXLPrior.from_pretrained(sdxl_folder, autoencoder=tmp_path)


def test_a_missing_autoencoder_is_refused_by_its_own_name(sdxl_folder, tmp_path):
    with pytest.raises(InputError, match=r"^autoencoder .* is neither a folder nor a hub id"):
        SDXLPrior.from_pretrained(sdxl_folder, autoencoder=tmp_path / "nowhere")


def test_an_autoencoder_that_is_something_else_is_refused(sdxl_folder):
    with pytest.raises(InputError, match="is a UNet2DConditionModel: give an AutoencoderKL"):
        SDXLPrior.from_pretrained(sdxl_folder, autoencoder=sdxl_folder / "unet")


def test_each_class_names_the_other_for_the_others_folder(sdxl_folder, stable_diffusion_folders):
    with pytest.raises(InputError, match=r"not SDXL: use DiffusersPrior\.from_pretrained"):
        SDXLPrior.from_pretrained(stable_diffusion_folders["epsilon"])
    with pytest.raises(InputError, match="two text encoders: use SDXLPrior"):
        DiffusersPrior.from_pretrained(sdxl_folder)


@pytest.mark.parametrize("given", [False, True])
def test_an_autoencoder_that_overflows_in_half_stays_in_float32_whoever_gave_it(given, sdxl_folder):
    own = sdxl_folder / "vae" if given else None
    prior = SDXLPrior.from_pretrained(sdxl_folder, autoencoder=own, dtype=torch.float16)
    assert prior.codec.vae.config.force_upcast
    assert {p.dtype for p in prior.codec.vae.parameters()} == {torch.float32}
    assert {p.dtype for p in prior.unet.parameters()} == {torch.float16}


def test_folders_of_half_weights_alone_are_read(sdxl_folder, tmp_path):
    for name in ("unet", "vae"):
        shutil.copytree(sdxl_folder / name, tmp_path / name)
        for file in (tmp_path / name).glob("*.safetensors"):
            file.rename(file.with_suffix(".fp16.safetensors"))
    options = {"unet": tmp_path / "unet", "autoencoder": tmp_path / "vae"}
    found = SDXLPrior.from_pretrained(sdxl_folder, **options)
    expected = SDXLPrior.from_pretrained(sdxl_folder)
    for one, other in ((found.unet, expected.unet), (found.codec.vae, expected.codec.vae)):
        for a, b in zip(one.parameters(), other.parameters(), strict=True):
            assert torch.equal(a, b)
