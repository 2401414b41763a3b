"""Train the pocket prior: a small autoencoder, then a small denoiser in its latents.

    python training/pocket.py autoencoder --photos FOLDER --work training/work
    python training/pocket.py unet        --photos FOLDER --work training/work
    python training/pocket.py export      --work training/work

Both networks are diffusers' own classes, saved in diffusers' folder layout. A stopped run
continues from its last checkpoint when the same command is given again. Every batch is drawn
from a generator seeded with (seed, step), so a resumed run sees the batches of an unbroken one.
"""

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

PATCH = 4  # the autoencoder sees 4x4 pixel-unshuffled frames: 48 channels at a quarter of the size
SCALES = (1.0, 0.75, 0.56, 0.42, 0.32, 0.24)  # photographs, reduced as a camera's frames would be

AUTOENCODER = dict(
    in_channels=3 * PATCH**2,
    out_channels=3 * PATCH**2,
    down_block_types=("DownEncoderBlock2D",) * 2,
    up_block_types=("UpDecoderBlock2D",) * 2,
    block_out_channels=(96, 128),
    layers_per_block=1,
    latent_channels=16,
    norm_num_groups=16,
    mid_block_add_attention=False,
)
UNET = dict(
    in_channels=16,
    out_channels=16,
    down_block_types=("DownBlock2D",) * 2,
    up_block_types=("UpBlock2D",) * 2,
    block_out_channels=(128, 144),
    layers_per_block=2,
    norm_num_groups=16,
    add_attention=False,
)
SCHEDULER = dict(  # the schedule of Stable Diffusion and SDXL, with v-prediction
    num_train_timesteps=1000,
    beta_start=0.00085,
    beta_end=0.012,
    beta_schedule="scaled_linear",
    prediction_type="v_prediction",
    clip_sample=False,
    set_alpha_to_one=False,
)


# ---------------------------------------------------------------- data
def load_photographs(folder: Path) -> list[torch.Tensor]:
    """Every photograph at every scale, as uint8 tensors (3, height, width)."""
    pictures = []
    for path in sorted(folder.glob("*.jpg")):
        with Image.open(path) as opened:
            photograph = opened.convert("RGB")
        for scale in SCALES:
            size = (round(photograph.width * scale), round(photograph.height * scale))
            reduced = photograph.resize(size, Image.Resampling.LANCZOS)
            pictures.append(torch.from_numpy(np.asarray(reduced).copy()).permute(2, 0, 1))
    if not pictures:
        raise SystemExit(f"--photos {folder}: no .jpg file in it")
    return pictures


def crops(pictures, count: int, size: int, generator: torch.Generator) -> torch.Tensor:
    """Random crops in [-1, 1], mirrored, transposed and with varied exposure."""

    def below(limit: int) -> int:
        return int(torch.randint(limit, (), generator=generator))

    batch = []
    while len(batch) < count:
        picture = pictures[below(len(pictures))]
        if min(picture.shape[1:]) < size:
            continue
        top, left = below(picture.shape[1] - size + 1), below(picture.shape[2] - size + 1)
        crop = picture[:, top : top + size, left : left + size].float() / 255
        if below(2):
            crop = crop.flip(2)
        if below(4) == 0:
            crop = crop.transpose(1, 2)
        gain, gamma = torch.rand(2, generator=generator).tolist()
        crop = crop.pow(2 ** (gamma - 0.5)) * (0.7 + 0.3 * gain)
        batch.append(crop * 2 - 1)
    return torch.stack(batch).contiguous(memory_format=torch.channels_last)


# ---------------------------------------------------------------- checkpoints
def save_checkpoint(path: Path, step: int, model, average: dict, optimizer, losses: list) -> None:
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in average.items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"adam.{index}.{k}": v for k, v in state.items()}
    tensors = {k: v.detach().clone().contiguous() for k, v in tensors.items()}
    partial = path.with_suffix(".part")
    save_file(tensors, partial, metadata={"step": str(step), "losses": json.dumps(losses)})
    os.replace(partial, path)


def load_checkpoint(path: Path, model, average: dict, optimizer) -> tuple[int, list]:
    if not path.exists():
        return 0, []
    state: dict[int, dict] = {}
    with safe_open(path, framework="pt") as file:
        meta = file.metadata()
        groups = {"model": {}, "average": {}}
        for key in file.keys():
            kind, _, name = key.partition(".")
            if kind == "adam":
                index, _, field = name.partition(".")
                state.setdefault(int(index), {})[field] = file.get_tensor(key)
            else:
                groups[kind][name] = file.get_tensor(key)
    model.load_state_dict(groups["model"])
    average.update(groups["average"])
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
    return int(meta["step"]), json.loads(meta["losses"])


def train(name: str, model, loss_of, options) -> None:
    """Adam with warm-up and cosine decay, a moving average of the weights, checkpoints."""
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    model.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), options.rate, betas=(0.9, 0.99), weight_decay=0
    )
    average = {k: v.detach().clone() for k, v in model.state_dict().items()}
    path = options.work / f"{name}.safetensors"
    first, losses = load_checkpoint(path, model, average, optimizer)
    began, running = time.time(), []
    for step in range(first, options.steps):
        progress = step / options.steps
        warm = min(1.0, (step + 1) / 200)
        for group in optimizer.param_groups:
            group["lr"] = options.rate * warm * (0.01 + 0.99 * 0.5 * (1 + np.cos(np.pi * progress)))
        generator = torch.Generator().manual_seed(options.seed * 10_000_000 + step)
        loss, shown = loss_of(model, generator)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        decay = min(0.999, (step + 1) / (step + 10))
        with torch.no_grad():
            for key, value in model.state_dict().items():
                average[key].lerp_(value, 1 - decay)
        running.append(shown)
        if (step + 1) % 250 == 0 or step + 1 == options.steps:
            losses.append([step + 1, round(float(np.mean(running)), 5)])
            running.clear()
            save_checkpoint(path, step + 1, model, average, optimizer, losses)
            rate = (time.time() - began) / (step + 1 - first)
            left = rate * (options.steps - step - 1) / 60
            told = f"step {step + 1} loss {losses[-1][1]} {rate:.3f} s/step {left:.0f} min left"
            print(name, told, flush=True)


# ---------------------------------------------------------------- the two networks
def make_autoencoder():
    from diffusers import AutoencoderKL

    return AutoencoderKL(**AUTOENCODER)


def make_unet():
    from diffusers import UNet2DModel

    return UNet2DModel(**UNET)


def averaged(model, path: Path):
    with safe_open(path, framework="pt") as file:
        weights = {k[8:]: file.get_tensor(k) for k in file.keys() if k.startswith("average.")}
    model.load_state_dict(weights)
    return model.eval().requires_grad_(False)


def train_autoencoder(options) -> None:
    pictures = load_photographs(options.photos)
    torch.manual_seed(options.seed)

    def loss_of(model, generator):
        frames = crops(pictures, options.batch, options.crop, generator)
        noise_like = torch.randn(
            options.batch, 16, options.crop // 8, options.crop // 8, generator=generator
        )
        with torch.autocast("cpu", torch.bfloat16):
            posterior = model.encode(torch.nn.functional.pixel_unshuffle(frames, PATCH)).latent_dist
            latents = posterior.mean + posterior.std * noise_like
            decoded = torch.nn.functional.pixel_shuffle(model.decode(latents).sample, PATCH)
        # The square weighs texture as PSNR over a clip does; the logarithm of each crop's error
        # does not, and lost 3 dB on textured clips.
        error = decoded.float() - frames
        divergence = 0.5 * (posterior.mean**2 + posterior.var - 1 - posterior.logvar).float().mean()
        loss = 20 * error.square().mean() + error.abs().mean() + 2e-4 * divergence
        return loss, loss.item()

    train("autoencoder", make_autoencoder(), loss_of, options)


def latent_scale(autoencoder, pictures) -> float:
    """1 / standard deviation of the latents, so that the denoiser sees unit variance."""
    frames = crops(pictures, 64, 192, torch.Generator().manual_seed(0))
    latents = autoencoder.encode(
        torch.nn.functional.pixel_unshuffle(frames, PATCH)
    ).latent_dist.mean
    return round(1 / latents.std().item(), 4)


def train_unet(options) -> None:
    from diffusers import DDIMScheduler

    pictures = load_photographs(options.photos)
    autoencoder = averaged(make_autoencoder(), options.work / "autoencoder.safetensors")
    autoencoder.to(memory_format=torch.channels_last)
    scale = latent_scale(autoencoder, pictures)
    (options.work / "scale.json").write_text(json.dumps(scale))
    alphas = DDIMScheduler(**SCHEDULER).alphas_cumprod
    torch.manual_seed(options.seed)

    def loss_of(model, generator):
        frames = crops(pictures, options.batch, options.crop, generator)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            clean = autoencoder.encode(
                torch.nn.functional.pixel_unshuffle(frames, PATCH)
            ).latent_dist.mean
        clean = clean.float() * scale
        noise = torch.randn(clean.shape, generator=generator)
        # Restoration works below 0.3 of the schedule: three quarters of the draws lie there.
        draw = torch.rand(options.batch, generator=generator)
        early = torch.rand(options.batch, generator=generator) < 0.75
        times = (draw * torch.where(early, 350.0, 1000.0)).long()
        signal, spread = (
            alphas[times].sqrt().view(-1, 1, 1, 1),
            (1 - alphas[times]).sqrt().view(-1, 1, 1, 1),
        )
        noisy = (signal * clean + spread * noise).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            predicted = model(noisy, times).sample
        velocity = signal * noise - spread * clean
        loss = (predicted.float() - velocity).square().mean()
        return loss, loss.item()

    train("unet", make_unet(), loss_of, options)


def export(options) -> None:
    """Averaged weights as fp16 safetensors in diffusers' folder layout."""
    from diffusers import DDIMScheduler

    autoencoder = averaged(make_autoencoder(), options.work / "autoencoder.safetensors")
    unet = averaged(make_unet(), options.work / "unet.safetensors")
    autoencoder.register_to_config(
        scaling_factor=json.loads((options.work / "scale.json").read_text())
    )
    autoencoder.half().save_pretrained(options.output / "vae", safe_serialization=True)
    unet.half().save_pretrained(options.output / "unet", safe_serialization=True)
    DDIMScheduler(**SCHEDULER).save_pretrained(options.output / "scheduler")
    losses = {}
    for name in ("autoencoder", "unet"):
        with safe_open(options.work / f"{name}.safetensors", framework="pt") as file:
            losses[name] = json.loads(file.metadata()["losses"])
    (options.output / "losses.json").write_text(json.dumps(losses) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=("autoencoder", "unet", "export"))
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--work", type=Path, default=Path("training/work"))
    parser.add_argument("--output", type=Path, default=Path("visionxl/priors/pocket/weights"))
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument(
        "--crop", type=int, default=128, help="side of a crop in pixels, a multiple of 32"
    )
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.stage != "export" and options.photos is None:
        parser.error("--photos FOLDER is needed: a folder of .jpg photographs")
    options.work.mkdir(parents=True, exist_ok=True)
    {"autoencoder": train_autoencoder, "unet": train_unet, "export": export}[options.stage](options)


if __name__ == "__main__":
    main()
