"""Train the pocket prior: a small autoencoder, then a small denoiser in its latents.

    python training/pocket.py autoencoder --photos FOLDER --work training/work
    python training/pocket.py unet        --photos FOLDER --work training/work
    python training/pocket.py export      --work training/work

``--start FOLDER`` of the last two trains the denoiser of an exported prior on. ``--device cuda``
trains on a GPU, in bf16; ``training/gpu.sh`` is all three on one.

Both networks are diffusers' own classes, saved in diffusers' folder layout. A stopped run
continues from its last checkpoint when the same command is given again. Every batch is drawn
from a generator seeded with (seed, step), so a resumed run sees the batches of an unbroken one.
With ``--seconds`` in place of ``--steps`` the rate decays over time, and how many steps are made
depends on the machine.
"""

import argparse
import json
from pathlib import Path

import torch
from optimise import averaged, checksum, generator_on, half_precision, read_meta, train
from photographs import crops, load_photographs

PATCH = 8  # the autoencoder sees 8x8 pixel-unshuffled frames: 192 channels at an eighth of the size
SPREAD = 0.1  # of the latents at first, root mean square
JITTER = 0.04 * SPREAD
GROUPS = 16  # of channels that the denoiser normalises together
SCHEDULER = dict(  # the schedule of Stable Diffusion and SDXL, with v-prediction
    num_train_timesteps=1000,
    beta_start=0.00085,
    beta_end=0.012,
    beta_schedule="scaled_linear",
    prediction_type="v_prediction",
    clip_sample=False,
    set_alpha_to_one=False,
)


# ---------------------------------------------------------------- the two networks
def make_autoencoder(channels: int, latents: int):
    """No layer changes the size: pixels are gathered and spread by the unshuffling alone.

    So the whole network works where it is cheap, and a principal component analysis is a point of
    its space.
    """
    from diffusers import AutoencoderTiny

    return AutoencoderTiny(
        in_channels=3 * PATCH**2,
        out_channels=3 * PATCH**2,
        encoder_block_out_channels=(channels,),
        decoder_block_out_channels=(channels,),
        num_encoder_blocks=(2,),
        num_decoder_blocks=(3,),
        latent_channels=latents,
    )


@torch.no_grad()
def start_from_components(model, pictures, crop: int) -> None:
    """Set the autoencoder to a principal component analysis of 8x8 patches; training goes on.

    A value passes the rectifiers as a pair, its positive and its negative part. Components are
    scaled by the root of their deviation, between their natural sizes and equal ones, and kept
    small, because the decoder begins with a hyperbolic tangent, which would bend large ones.
    """
    channels, latents = model.encoder.layers[0].out_channels, model.config.latent_channels
    generator = generator_on(pictures.pixels.device, 0)
    frames = crops(pictures, 300, crop, generator).cpu()
    patches = unshuffle(frames).add(1).div(2).movedim(1, -1).flatten(0, -2)[::4].double()
    values, axes = torch.linalg.eigh(patches.T.cov())
    axes, values = axes.T.flip(0).float(), values.flip(0).float()  # the largest first
    mean = patches.mean(0).float()
    deviation = values[:latents].clamp(min=1e-9 * values[0].item()).sqrt()
    scale = deviation**-0.5
    scale = SPREAD * scale / (scale * deviation).square().mean().sqrt()
    half = channels // 2

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
        last.weight[:, rows, 1, 1][:, :latents] = sign * torch.diag(scale)
    first, last = decoder[0], decoder[-1]
    first.weight[: 2 * latents].zero_(), first.bias[: 2 * latents].zero_(), last.weight.zero_()
    for sign, rows in ((1, slice(0, latents)), (-1, slice(latents, 2 * latents))):
        first.weight[rows, :, 1, 1] = sign * torch.eye(latents)
        last.weight[:, rows, 1, 1] = sign * axes[:latents].T / scale
    last.bias.copy_(mean)


def unshuffle(frames: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.pixel_unshuffle(frames, PATCH).contiguous(
        memory_format=torch.channels_last
    )


def make_unet(latents: int, widths: list[int], layers: int):
    from diffusers import UNet2DModel

    return UNet2DModel(
        in_channels=latents,
        out_channels=latents,
        down_block_types=("DownBlock2D",) * len(widths),
        up_block_types=("UpBlock2D",) * len(widths),
        block_out_channels=tuple(widths),
        layers_per_block=layers,
        norm_num_groups=GROUPS,
        add_attention=False,
    )


def exported(folder: Path):
    """The two networks of an exported prior, in float32: the autoencoder to keep as it is."""
    from diffusers import AutoencoderTiny, UNet2DModel

    autoencoder = AutoencoderTiny.from_pretrained(folder / "vae", torch_dtype=torch.float32)
    unet = UNet2DModel.from_pretrained(folder / "unet", torch_dtype=torch.float32)
    return autoencoder.eval().requires_grad_(False), unet


def train_autoencoder(options) -> None:
    pictures = load_photographs(options.photos, options.device, options.threads)
    torch.manual_seed(options.seed)
    model = make_autoencoder(options.channels, options.latents)
    start_from_components(model, pictures, options.crop)
    if options.compile:
        model.encoder.compile(), model.decoder.compile()

    def loss_of(model, generator):
        frames = crops(pictures, options.batch, options.crop, generator)
        with half_precision(frames.device):
            latents = model.encode(unshuffle(frames)).latents
            # The loop never decodes what the encoder gave: some noise keeps the latents smooth.
            decoded = model.decode(latents + JITTER * noise_like(latents, generator)).sample
        error = torch.nn.functional.pixel_shuffle(decoded.float(), PATCH) - frames
        # The square weighs texture as the PSNR of a clip does.
        return 20 * error.square().mean() + error.abs().mean()

    train("autoencoder", model, loss_of, options)


def noise_like(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(tensor.shape, generator=generator, device=tensor.device)


def latent_scale(autoencoder, pictures) -> float:
    """1 / standard deviation of the latents, so that the denoiser sees unit variance."""
    side = min(192, pictures.sides[-1])
    generator = generator_on(pictures.pixels.device, 0)
    frames = crops(pictures, 64, side - side % PATCH, generator)
    latents = autoencoder.encode(unshuffle(frames)).latents
    return round(1 / latents.std().item(), 4)


def pixel_weights(autoencoder, pictures) -> torch.Tensor:
    """How far each latent channel moves the pixels, on average 1.

    Measured by decoding latents with one channel moved. The square would weigh as PSNR does; but
    the coarse channels, which weigh most, are those that a measurement determines by itself.
    """
    device = pictures.pixels.device
    frames = crops(pictures, 8, 128, generator_on(device, 1))
    latents = autoencoder.encode(unshuffle(frames)).latents
    step, still = 0.1 * latents.std(), autoencoder.decode(latents).sample
    moves = noise_like(latents[0], generator_on(device, 2))
    errors = []
    for channel, move in enumerate(moves):
        moved = latents.clone()
        moved[:, channel] += step * move
        errors.append((autoencoder.decode(moved).sample - still).square().mean())
    weights = torch.stack(errors).sqrt()
    return (weights / weights.mean()).view(1, -1, 1, 1)


def train_unet(options) -> None:
    from diffusers import AutoencoderTiny, DDIMScheduler

    pictures = load_photographs(options.photos, options.device, options.threads)
    torch.manual_seed(options.seed)
    if options.start is None:
        autoencoder = averaged(AutoencoderTiny, options.work / "autoencoder.safetensors")
        unet = make_unet(autoencoder.config.latent_channels, options.widths, options.layers)
    else:
        autoencoder, unet = exported(options.start)
    autoencoder.to(options.device, memory_format=torch.channels_last)
    if options.start is None:
        autoencoder.register_to_config(scaling_factor=latent_scale(autoencoder, pictures))
    scale = autoencoder.config.scaling_factor
    beside = checksum(autoencoder, scale, *([] if options.start is None else [unet]))
    weights = pixel_weights(autoencoder, pictures)
    if options.compile:
        autoencoder.encoder.compile(), unet.compile()
    alphas = DDIMScheduler(**SCHEDULER).alphas_cumprod.to(options.device).view(-1, 1, 1, 1)

    def loss_of(model, generator):
        frames = crops(pictures, options.batch, options.crop, generator)
        with torch.no_grad(), half_precision(frames.device):
            clean = autoencoder.encode(unshuffle(frames)).latents
        clean = clean.float() * scale
        noise = noise_like(clean, generator)
        # Restoration works below 0.3 of the schedule, by default below 0.15: seven eighths of the
        # draws lie below 0.35, half of all below 0.15.
        draw, choice = torch.rand(2, options.batch, generator=generator, device=frames.device)
        times = torch.where(choice < 0.875, 350 * draw**1.5, 1000 * draw).long()
        signal, spread = alphas[times].sqrt(), (1 - alphas[times]).sqrt()
        noisy = (signal * clean + spread * noise).contiguous(memory_format=torch.channels_last)
        with half_precision(frames.device):
            predicted = model(noisy, times).sample
        velocity = signal * noise - spread * clean
        return (weights * (predicted.float() - velocity).square()).mean()

    train("unet", unet, loss_of, options, beside)
    (options.work / "scale.json").write_text(json.dumps(scale))


def save_autoencoder(autoencoder, folder: Path) -> None:
    """As fp16 safetensors, in diffusers' layout."""
    autoencoder.half().save_pretrained(folder, safe_serialization=True)
    config = folder / "config.json"
    told = json.loads(config.read_text())
    del told["block_out_channels"]  # diffusers writes it and warns when it reads it
    told.pop("_name_or_path", None)
    config.write_text(json.dumps(told, indent=2) + "\n")


def export(options) -> None:
    """Averaged weights as fp16 safetensors in diffusers' folder layout."""
    from diffusers import AutoencoderTiny, DDIMScheduler, UNet2DModel

    unet = averaged(UNet2DModel, options.work / "unet.safetensors")
    if options.start is None:
        autoencoder = averaged(AutoencoderTiny, options.work / "autoencoder.safetensors")
        scale = json.loads((options.work / "scale.json").read_text())
        autoencoder.register_to_config(scaling_factor=scale)
    else:
        autoencoder, first = exported(options.start)
    scale = autoencoder.config.scaling_factor
    beside = checksum(autoencoder, scale, *([] if options.start is None else [first]))
    known = read_meta(options.work / "unet.safetensors").get("beside", beside)
    if known != beside:
        raise SystemExit(
            f"the U-Net in {options.work} was trained with another autoencoder, or begun from "
            "other weights: train it again, or give the --start that it had"
        )
    save_autoencoder(autoencoder, options.output / "vae")
    unet.half().save_pretrained(options.output / "unet", safe_serialization=True)
    DDIMScheduler(**SCHEDULER).save_pretrained(options.output / "scheduler")
    before = None if options.start is None else options.start / "losses.json"
    losses = {} if before is None else json.loads(before.read_text())
    for name in ("unet",) if options.start else ("autoencoder", "unet"):
        losses.setdefault(name, []).extend(
            read_meta(options.work / f"{name}.safetensors")["losses"]
        )
    (options.output / "losses.json").write_text(json.dumps(losses) + "\n")
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
    parser.add_argument("--device", type=torch.device, default="cpu", help="cpu or cuda")
    parser.add_argument("--compile", action="store_true", help="the networks, by torch.compile")
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument(
        "--seconds", type=float, help="train for this long, in place of a number of steps"
    )
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument(
        "--crop", type=int, default=128, help="side of a crop in pixels, a multiple of 32"
    )
    parser.add_argument("--latents", type=int, default=64, help="channels of the latents")
    parser.add_argument("--channels", type=int, default=128, help="width of the autoencoder")
    parser.add_argument(
        "--widths", type=int, nargs="+", default=[144, 128], help="of the denoiser's levels"
    )
    parser.add_argument("--layers", type=int, default=2, help="of each level of the denoiser")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--save-every", type=int, default=250, help="steps between checkpoints")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.stage != "export" and options.photos is None:
        parser.error("--photos FOLDER is needed: a folder of .jpg photographs")
    if options.latents > options.channels // 2:
        parser.error(f"--latents {options.latents}: give at most half of --channels")
    if any(width % GROUPS for width in options.widths):
        parser.error(f"--widths {options.widths}: give multiples of {GROUPS}")
    torch.set_num_threads(options.threads)
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    options.work.mkdir(parents=True, exist_ok=True)
    {"autoencoder": train_autoencoder, "unet": train_unet, "export": export}[options.stage](options)


if __name__ == "__main__":
    main()
