"""What the pocket prior can hold and denoise: the figures of its card.

    python benchmarks/pocket.py CLIP... --height 384 --width 640

For every clip the PSNR of ``decode(encode(x))``; then, over all clips, the root mean square error
in pixels of ``decode(denoise(z_t))`` at the times of the paper's grid, next to the spread that
the consistency assumes.
"""

import argparse
from pathlib import Path

import torch
from words import count

from visionxl import PocketPrior
from visionxl.metrics import psnr
from visionxl.sizes import cover
from visionxl.solvers import FrameByFrame, NoiseAware, leading_times
from visionxl.video import DEMO_CLIP, read_clip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clips", nargs="*", default=[DEMO_CLIP], help="videos or folders of images")
    parser.add_argument("--height", type=count, default=384)
    parser.add_argument("--width", type=count, default=640)
    parser.add_argument("--frames", type=count, default=5)
    options = parser.parse_args()
    prior = FrameByFrame(PocketPrior.load())
    spread = NoiseAware().spread
    videos = {}
    for path in options.clips:
        clip = read_clip(path, options.frames).video
        video = cover(clip, options.height, options.width)
        videos[Path(path).name] = (video, prior.encode(video))
    for name, (video, latent) in videos.items():
        print(f"{name}: reconstruction {psnr(prior.decode(latent), video):.2f} dB")
    generator = torch.Generator().manual_seed(0)
    for time in leading_times():
        level = prior.schedule.level(time)
        errors = []
        for video, latent in videos.values():
            noise = torch.randn(latent.shape, generator=generator)
            noisy = level.signal * latent + level.noise * noise
            decoded = prior.decode(prior.denoise(noisy, level).clean)
            errors.append((decoded - video).square().mean().item())
        error = (sum(errors) / len(errors)) ** 0.5
        print(f"time {time:.3f}: error {error:.4f}, assumed spread {spread(level):.4f}")


if __name__ == "__main__":
    main()
