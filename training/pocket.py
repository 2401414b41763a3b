"""Train the pocket prior: a small autoencoder, then a small denoiser in its latents.

    python training/pocket.py autoencoder --photos FOLDER --work training/work
    python training/pocket.py unet        --photos FOLDER --work training/work
    python training/pocket.py export      --work training/work

``--start FOLDER`` of the last two trains the denoiser of an exported prior on.

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

PATCH = 8  # the autoencoder sees 8x8 pixel-unshuffled frames: 192 channels at an eighth of the size
SCALES = (1.0, 0.75, 0.56, 0.42, 0.32, 0.24)  # photographs, reduced as a camera's frames would be

CHANNELS = 128
LATENTS = 32
# No layer changes the size: pixels are gathered and spread by the unshuffling alone, so the whole
# network works where it is cheap, and a principal component analysis is a point of its space.
AUTOENCODER = dict(
    in_channels=3 * PATCH**2,
    out_channels=3 * PATCH**2,
    encoder_block_out_channels=(CHANNELS,),
    decoder_block_out_channels=(CHANNELS,),
    num_encoder_blocks=(2,),
    num_decoder_blocks=(3,),
    latent_channels=LATENTS,
)
UNET = dict(
    in_channels=LATENTS,
    out_channels=LATENTS,
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

    pictures = [p for p in pictures if min(p.shape[1:]) >= size]
    if not pictures:
        raise SystemExit(f"--crop {size}: no photograph is that large; give a smaller crop")
    batch = []
    for _ in range(count):
        picture = pictures[below(len(pictures))]
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
        if (step + 1) % options.save_every == 0 or step + 1 == options.steps:
            losses.append([step + 1, round(float(np.mean(running)), 5)])
            running.clear()
            save_checkpoint(path, step + 1, model, average, optimizer, losses)
            rate = (time.time() - began) / (step + 1 - first)
            left = rate * (options.steps - step - 1) / 60
            told = f"step {step + 1} loss {losses[-1][1]} {rate:.3f} s/step {left:.0f} min left"
            print(name, told, flush=True)


# ---------------------------------------------------------------- the two networks
def make_autoencoder():
    from diffusers import AutoencoderTiny

    return AutoencoderTiny(**AUTOENCODER)


@torch.no_grad()
def start_from_components(model, pictures, crop: int) -> None:
    """Set the autoencoder to a principal component analysis of 8x8 patches; training goes on.

    A value passes the rectifiers as a pair, its positive and its negative part. Components are
    scaled by the root of their deviation, between their natural sizes and equal ones, and kept
    small, because the decoder begins with a hyperbolic tangent.
    """
    frames = crops(pictures, 300, crop, torch.Generator().manual_seed(0))
    patches = unshuffle(frames).add(1).div(2).movedim(1, -1).flatten(0, -2)
    mean = patches.mean(0)
    _, values, axes = torch.linalg.svd((patches - mean)[::4].double(), full_matrices=False)
    axes, deviation = axes.float(), (values / len(patches[::4]) ** 0.5).float()
    scale = deviation[:LATENTS] ** -0.5
    scale = 0.25 * scale / (scale * deviation[:LATENTS]).square().mean().sqrt()
    half = CHANNELS // 2

    encoder, decoder = model.encoder.layers, model.decoder.layers
    for layers in (encoder, decoder):
        for block in layers:
            if hasattr(block, "fuse"):  # a residual block, silent at first
                block.conv[-1].weight.zero_(), block.conv[-1].bias.zero_()
    first, last = encoder[0], encoder[-1]
    first.weight.zero_(), last.weight.zero_(), last.bias.zero_()
    for sign, rows in ((1, slice(0, half)), (-1, slice(half, None))):
        first.weight[rows, :, 1, 1] = sign * axes[:half]
        first.bias[rows] = -sign * (axes[:half] @ mean)
        last.weight[:, rows, 1, 1][:, :LATENTS] = sign * torch.diag(scale)
    first, last = decoder[0], decoder[-1]
    first.weight[: 2 * LATENTS].zero_(), first.bias[: 2 * LATENTS].zero_(), last.weight.zero_()
    for sign, rows in ((1, slice(0, LATENTS)), (-1, slice(LATENTS, 2 * LATENTS))):
        first.weight[rows, :, 1, 1] = sign * torch.eye(LATENTS)
        last.weight[:, rows, 1, 1] = sign * axes[:LATENTS].T / scale
    last.bias.copy_(mean)


def unshuffle(frames: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.pixel_unshuffle(frames, PATCH).contiguous(
        memory_format=torch.channels_last
    )


def make_unet():
    from diffusers import UNet2DModel

    return UNet2DModel(**UNET)


def averaged(model, path: Path):
    with safe_open(path, framework="pt") as file:
        weights = {k[8:]: file.get_tensor(k) for k in file.keys() if k.startswith("average.")}
    model.load_state_dict(weights)
    return model.eval().requires_grad_(False)


def exported(folder: Path):
    """The two networks of an exported prior, in float32: the autoencoder to keep as it is."""
    from diffusers import AutoencoderTiny, UNet2DModel

    autoencoder = AutoencoderTiny.from_pretrained(folder / "vae", torch_dtype=torch.float32)
    unet = UNet2DModel.from_pretrained(folder / "unet", torch_dtype=torch.float32)
    return autoencoder.eval().requires_grad_(False), unet


def train_autoencoder(options) -> None:
    pictures = load_photographs(options.photos)
    torch.manual_seed(options.seed)

    model = make_autoencoder()
    start_from_components(model, pictures, options.crop)

    def loss_of(model, generator):
        frames = crops(pictures, options.batch, options.crop, generator)
        with torch.autocast("cpu", torch.bfloat16):
            latents = model.encode(unshuffle(frames)).latents
            # The loop never decodes what the encoder gave: some noise keeps the latents smooth.
            jitter = torch.randn(latents.shape, generator=generator)
            decoded = model.decode(latents + 0.01 * jitter).sample
        error = torch.nn.functional.pixel_shuffle(decoded.float(), PATCH) - frames
        # The square weighs texture as the PSNR of a clip does.
        loss = 20 * error.square().mean() + error.abs().mean()
        return loss, loss.item()

    train("autoencoder", model, loss_of, options)


def latent_scale(autoencoder, pictures) -> float:
    """1 / standard deviation of the latents, so that the denoiser sees unit variance."""
    side = min(192, *(min(picture.shape[1:]) for picture in pictures))
    frames = crops(pictures, 64, side - side % PATCH, torch.Generator().manual_seed(0))
    latents = autoencoder.encode(unshuffle(frames)).latents
    return round(1 / latents.std().item(), 4)


def pixel_weights(autoencoder, pictures) -> torch.Tensor:
    """How far each latent channel moves the pixels, on average 1.

    Measured by decoding latents with one channel moved. The square would weigh as PSNR does; but
    the coarse channels, which weigh most, are those that a measurement determines by itself.
    """
    frames = crops(pictures, 8, 128, torch.Generator().manual_seed(1))
    latents = autoencoder.encode(unshuffle(frames)).latents
    step, still = 0.1 * latents.std(), autoencoder.decode(latents).sample
    moves = torch.randn(latents.shape[1:], generator=torch.Generator().manual_seed(2))
    errors = []
    for channel, move in enumerate(moves):
        moved = latents.clone()
        moved[:, channel] += step * move
        errors.append((autoencoder.decode(moved).sample - still).square().mean())
    weights = torch.stack(errors).sqrt()
    return (weights / weights.mean()).view(1, -1, 1, 1)


def train_unet(options) -> None:
    from diffusers import DDIMScheduler

    pictures = load_photographs(options.photos)
    if options.start is None:
        unet = make_unet()
        autoencoder = averaged(make_autoencoder(), options.work / "autoencoder.safetensors")
        autoencoder.register_to_config(scaling_factor=latent_scale(autoencoder, pictures))
    else:
        autoencoder, unet = exported(options.start)
    autoencoder.to(memory_format=torch.channels_last)
    scale = autoencoder.config.scaling_factor
    (options.work / "scale.json").write_text(json.dumps(scale))
    weights = pixel_weights(autoencoder, pictures)
    alphas = DDIMScheduler(**SCHEDULER).alphas_cumprod
    torch.manual_seed(options.seed)

    def loss_of(model, generator):
        frames = crops(pictures, options.batch, options.crop, generator)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            clean = autoencoder.encode(unshuffle(frames)).latents
        clean = clean.float() * scale
        noise = torch.randn(clean.shape, generator=generator)
        # Restoration works below 0.3 of the schedule: seven eighths of the draws lie there.
        draw = torch.rand(options.batch, generator=generator)
        early = torch.rand(options.batch, generator=generator) < 0.875
        times = (draw * torch.where(early, 350.0, 1000.0)).long()
        signal, spread = (
            alphas[times].sqrt().view(-1, 1, 1, 1),
            (1 - alphas[times]).sqrt().view(-1, 1, 1, 1),
        )
        noisy = (signal * clean + spread * noise).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            predicted = model(noisy, times).sample
        velocity = signal * noise - spread * clean
        loss = (weights * (predicted.float() - velocity).square()).mean()
        return loss, loss.item()

    train("unet", unet, loss_of, options)


def export(options) -> None:
    """Averaged weights as fp16 safetensors in diffusers' folder layout."""
    from diffusers import DDIMScheduler

    unet = averaged(make_unet(), options.work / "unet.safetensors")
    if options.start is None:
        autoencoder = averaged(make_autoencoder(), options.work / "autoencoder.safetensors")
        scale = json.loads((options.work / "scale.json").read_text())
        autoencoder.register_to_config(scaling_factor=scale)
    else:
        autoencoder, _ = exported(options.start)
    autoencoder.half().save_pretrained(options.output / "vae", safe_serialization=True)
    unet.half().save_pretrained(options.output / "unet", safe_serialization=True)
    DDIMScheduler(**SCHEDULER).save_pretrained(options.output / "scheduler")
    before = None if options.start is None else options.start / "losses.json"
    losses = {} if before is None else json.loads(before.read_text())
    for name in ("unet",) if options.start else ("autoencoder", "unet"):
        with safe_open(options.work / f"{name}.safetensors", framework="pt") as file:
            losses.setdefault(name, []).extend(json.loads(file.metadata()["losses"]))
    (options.output / "losses.json").write_text(json.dumps(losses) + "\n")
    config = options.output / "vae" / "config.json"
    told = json.loads(config.read_text())
    del told["block_out_channels"]  # diffusers writes it and warns when it reads it
    told.pop("_name_or_path", None)
    config.write_text(json.dumps(told, indent=2) + "\n")
    for file in options.output.rglob("*.safetensors"):
        file.chmod(0o644)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=("autoencoder", "unet", "export"))
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--work", type=Path, default=Path("training/work"))
    parser.add_argument("--output", type=Path, default=Path("visionxl/priors/pocket/weights"))
    parser.add_argument(
        "--start",
        type=Path,
        help="folder of an exported prior: its autoencoder is kept and its denoiser trained on",
    )
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument(
        "--crop", type=int, default=128, help="side of a crop in pixels, a multiple of 32"
    )
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--save-every", type=int, default=250, help="steps between checkpoints")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.stage != "export" and options.photos is None:
        parser.error("--photos FOLDER is needed: a folder of .jpg photographs")
    options.work.mkdir(parents=True, exist_ok=True)
    {"autoencoder": train_autoencoder, "unet": train_unet, "export": export}[options.stage](options)


if __name__ == "__main__":
    main()
