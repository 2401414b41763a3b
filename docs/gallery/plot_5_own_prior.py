"""
A prior of your own, in twenty lines
====================================

A prior is any object with a ``schedule``, ``encode``, ``decode`` and ``denoise``. Nothing has to be
inherited, and no network is needed. We make one from a single picture.
"""

import textwrap

import matplotlib.pyplot as plt
import torch
from torch.nn.functional import pad, pixel_shuffle, pixel_unshuffle

from visionxl import Denoised, PocketPrior, restore, simulate, vision_xl
from visionxl.metrics import psnr
from visionxl.operators import Mask
from visionxl.priors import DiscreteSchedule
from visionxl.sizes import cover
from visionxl.testing import ContractError, check_prior
from visionxl.video import DEMO_CLIP, read_clip

video = cover(read_clip(DEMO_CLIP).video, 96, 160)
clip, lesson = video[:5], video[-1:]  # to restore, and to learn from: 20 frames later

# %%
# The idea: principal components
# ------------------------------
#
# Cut a picture into blocks of 8 x 8 pixels, each a vector of 192 numbers. Their principal
# components are the patterns that blocks are made of. The *latents* of a block are its coefficients
# for the first patterns, scaled to unit variance; decoding adds the patterns up.
#
# If such latents are taken for independent Gaussian numbers :math:`z_0 \sim \mathcal N(0, 1)`, the
# best denoiser is known: from :math:`z_t = a z_0 + b \varepsilon` it is
# :math:`\hat z_0 = a z_t / (a^2 + b^2)`.


class Blocks:
    """Principal components of blocks, as latents that are Gaussian."""

    schedule = DiscreteSchedule.stable_diffusion()

    def __init__(self, picture, count, size=8):
        self.size = size
        blocks = pixel_unshuffle(picture, size)  # (1, numbers of a block, rows, columns)
        self.mean = blocks.mean((0, 2, 3))[:, None, None]
        vectors = (blocks - self.mean).movedim(1, 0).flatten(1)
        patterns, scales, _ = torch.linalg.svd(vectors, full_matrices=False)
        self.patterns = patterns[:, :count]
        self.scales = scales[:count, None, None] / vectors.shape[1] ** 0.5

    def encode(self, video):
        centred = pixel_unshuffle(video, self.size) - self.mean
        return torch.einsum("pk,fphw->fkhw", self.patterns, centred) / self.scales

    def decode(self, latent):
        blocks = torch.einsum("pk,fkhw->fphw", self.patterns, latent * self.scales)
        return pixel_shuffle(blocks + self.mean, self.size)

    def denoise(self, latent, level):
        clean = level.signal * latent / (level.signal**2 + level.noise**2)
        return Denoised(clean, (latent - level.signal * clean) / level.noise)


prior = Blocks(lesson, count=48)

# %%
# The picture, the first 48 patterns (each at full contrast), and the picture made of these alone:
# 48 numbers for 192.

_, (left, middle, right) = plt.subplots(
    1, 3, figsize=(9, 2.6), layout="constrained", width_ratios=(5, 4, 5)
)
patterns = prior.patterns / prior.patterns.abs().amax(0)
patterns = pixel_shuffle(patterns.T[:, :, None, None], 8)  # (48, 3, 8, 8)
sheet = pad(patterns, (1, 1, 1, 1), value=1.0)
sheet = sheet.unflatten(0, (6, 8)).permute(2, 0, 3, 1, 4).reshape(3, 60, 80)
for ax, title, frame in (
    (left, "learned from", lesson[0]),
    (middle, "patterns", sheet),
    (right, "encoded and decoded", prior.decode(prior.encode(lesson))[0]),
):
    ax.imshow(frame.add(1).div(2).clamp(0, 1).permute(1, 2, 0).numpy())
    ax.set_title(title, fontsize=11)
    ax.axis("off")

# %%
# Does it keep the contract?
# --------------------------
#
# A prior has laws to keep: frames are independent, nothing is drawn at random, sizes and dtypes are
# kept, and the clean latents and the noise belong together. :func:`~visionxl.testing.check_prior`
# tries them. It says nothing where all is well.

check_prior(prior, (3, 3, 96, 160))

# %%
# Here is one with a mistake that is easily made: it takes the mean over the whole video. The loop
# hands a prior one frame at a time, so this one would answer one thing in a test and another in
# use.


class Centred(Blocks):
    def encode(self, video):
        return super().encode(video - video.mean())


try:
    check_prior(Centred(lesson, count=48), (3, 3, 96, 160))
except ContractError as error:
    print(textwrap.fill(str(error), 84))

# %%
# At work
# -------
#
# Half of the pixels are missing, and there is noise. We restore with this prior, and with the small
# diffusion model of the package.

generator = torch.Generator().manual_seed(0)
operator = Mask.random(0.5, 96, 160, generator)
problem = simulate(clip, operator, noise_std=0.05, generator=generator)
results = {"measurement": problem.measurement}
for name, one in {"blocks": prior, "pocket": PocketPrior.load()}.items():
    generator = torch.Generator().manual_seed(0)
    results[name] = restore(problem, one, vision_xl(), generator=generator).video
results["truth"] = clip

# %%
# Forty kilobytes learned from one picture are as good here as a network, because that picture
# shows the same flower. On another clip they would not be. But it took twenty lines to try.

_, axes = plt.subplots(2, 2, figsize=(8, 7), layout="constrained")
for ax, (name, found) in zip(axes.flat, results.items(), strict=True):
    title = name if name == "truth" else f"{name}, {psnr(found, clip):.1f} dB"
    middle = found[2, :, 16:80, 40:120]
    ax.imshow(middle.add(1).div(2).clamp(0, 1).permute(1, 2, 0).numpy())
    ax.set_title(title, fontsize=11)
    ax.axis("off")
