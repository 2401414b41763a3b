"""Train a smaller autoencoder over the latents of the pocket prior, for the inner steps.

    python training/tiny.py --photos FOLDER --output FOLDER

As the tiny autoencoder of SDXL does for SDXL's own: its encoder learns to give the latents of the
full encoder, its decoder to give the photograph from them. The folder is one for
``visionxl restore --inner-autoencoder``. A stopped run continues from its last checkpoint, in
``--work``, when the same command is given again.
"""

import argparse
from pathlib import Path

import torch
from optimise import averaged, half_precision, train
from photographs import crops, load_photographs
from pocket import JITTER, PATCH, exported, noise_like, save_autoencoder, unshuffle
from torch.nn.functional import pixel_shuffle

WEIGHTS = Path(__file__).parents[1] / "visionxl/priors/pocket/weights"


def make_tiny(full, channels: int):
    """With one block on each side; the scale of the latents is that of the full one."""
    from diffusers import AutoencoderTiny

    return AutoencoderTiny(
        in_channels=3 * PATCH**2,
        out_channels=3 * PATCH**2,
        encoder_block_out_channels=(channels,),
        decoder_block_out_channels=(channels,),
        num_encoder_blocks=(1,),
        num_decoder_blocks=(1,),
        latent_channels=full.config.latent_channels,
        scaling_factor=full.config.scaling_factor,
    )


def train_tiny(options) -> None:
    from diffusers import AutoencoderTiny

    pictures = load_photographs(options.photos, options.device, options.threads)
    full, _ = exported(options.prior)
    full.to(options.device, memory_format=torch.channels_last)
    torch.manual_seed(options.seed)
    tiny = make_tiny(full, options.channels)

    def loss_of(model, generator):
        frames = crops(pictures, options.batch, options.crop, generator)
        pixels = unshuffle(frames)
        with half_precision(frames.device):
            with torch.no_grad():
                latents = full.encode(pixels).latents
            encoded = model.encode(pixels).latents
            decoded = model.decode(latents + JITTER * noise_like(latents, generator)).sample
        error = pixel_shuffle(decoded.float(), PATCH) - frames
        apart = full.config.scaling_factor * (encoded - latents).float()
        return 20 * error.square().mean() + error.abs().mean() + apart.square().mean()

    train("tiny", tiny, loss_of, options)
    save_autoencoder(averaged(AutoencoderTiny, options.work / "tiny.safetensors"), options.output)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, required=True, help="a folder of .jpg photographs")
    parser.add_argument("--prior", type=Path, default=WEIGHTS, help="folder of the pocket prior")
    parser.add_argument("--work", type=Path, default=Path("training/work"))
    parser.add_argument("--output", type=Path, required=True, help="folder of the autoencoder")
    parser.add_argument("--channels", type=int, default=128)
    parser.add_argument("--device", type=torch.device, default="cpu", help="cpu or cuda")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument(
        "--seconds", type=float, help="train for this long, in place of a number of steps"
    )
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--crop", type=int, default=64, help="side of a crop, a multiple of 8")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--save-every", type=int, default=250, help="steps between checkpoints")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)
    train_tiny(options)


if __name__ == "__main__":
    main()
