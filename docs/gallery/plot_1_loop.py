"""
The loop, step by step
======================

A restoration is a loop, and every iteration makes five videos. This lesson shows them all.

We take seven frames of a flower that opens, average them over time, blur them, and add noise. Then
we run the method by hand, three steps of it, and look at everything that comes by.
"""

import matplotlib.pyplot as plt
import torch
from matplotlib.animation import FuncAnimation

from visionxl import PocketPrior, restore, simulate, vision_xl
from visionxl.metrics import psnr
from visionxl.operators import GaussianBlur, TemporalAverage
from visionxl.sizes import cover
from visionxl.video import DEMO_CLIP, read_clip

clip = cover(read_clip(DEMO_CLIP, frames=7).video, 96, 160)  # (frames, 3, height, width)
generator = torch.Generator().manual_seed(0)
operator = GaussianBlur(sigma=2.0) @ TemporalAverage(window=7)
problem = simulate(clip, operator, noise_std=0.02, generator=generator)


def picture(video):
    """The middle of its middle frame."""
    middle = video[len(video) // 2, :, 16:80, 40:120]
    return middle.add(1).div(2).clamp(0, 1).permute(1, 2, 0).numpy()


def show(rows):
    """A list of rows, each a dictionary of videos by title."""
    columns = max(map(len, rows))
    size = (9.0, 9.0 / columns * 0.9 * len(rows))
    _, axes = plt.subplots(len(rows), columns, figsize=size, layout="constrained")
    for ax in axes.flat:
        ax.axis("off")
    for row, line in zip(rows, axes.reshape(len(rows), columns), strict=True):
        for (title, video), ax in zip(row.items(), line, strict=False):
            ax.imshow(picture(video))
            ax.set_title(title, fontsize=10)


show([{"truth": clip, "measurement": problem.measurement}])

# %%
# The prior is a small latent diffusion model of *images*. It has an encoder and a decoder, which
# go between frames and latents, and a denoiser of latents. It has never seen a video.
#
# The method is a value: a few times of the noise schedule, and the parts of the loop. ``count=10``
# leaves three times, from late (noisy) to early (clean).

prior = PocketPrior.load()
sampler = vision_xl(count=10)
levels = [prior.schedule.level(time) for time in sampler.times]
for level in levels:
    print(f"time {level.time:.3f}: signal {level.signal:.3f}, noise {level.noise:.3f}")

# %%
# The loop
# --------
#
# The start encodes *one* frame of the measurement and lets the denoiser carry it up to the first
# level, backwards; every frame begins with these same latents. Then, in each step:
#
# 1. **denoise**: the model guesses the clean latents, and **decode** makes pictures of them;
# 2. **correct**: the pictures are moved towards what was measured, all frames together;
# 3. **low-pass**: fine detail that the encoder cannot hold is taken off;
# 4. **encode** and **renoise**: back to latents, and back to noise, but a little less of it.
#
# The last step ends with its correction.

latent = sampler.initializer.start(problem, prior, levels, generator)
rows = []
for level, following in zip(levels, [*levels[1:], None], strict=True):
    denoised = prior.denoise(latent, level)
    decoded = prior.decode(denoised.clean)
    corrected = sampler.consistency.correct(decoded, problem, level).video
    rows.append({"latents": prior.decode(latent), "denoised": decoded})
    rows[-1] |= {"corrected": corrected}
    if following is None:
        break
    filtered = sampler.low_pass(corrected, level)
    encoded = prior.encode(filtered)
    rows[-1] |= {"low-passed": filtered, "encoded again": prior.decode(encoded)}
    latent = sampler.renoise(encoded, denoised.noise, following, generator)

# %%
# Each row is a step, each column a stage. In the first column the loop holds noisy latents; they
# are shown decoded. The denoiser makes a soft, safe picture of them, and the correction adds the
# information of the measurement.

show(rows)

# %%
# What each stage is worth
# ------------------------
#
# The correction adds what the measurement knows. The way through the encoder loses something each
# time, but hands the denoiser latents that it can work with. So the quality goes up and down, and
# what counts is that the loop ends on a correction.

names = ["denoised", "corrected", "low-passed", "encoded again"]
found = [
    (f"{name}\nstep {i + 1}", psnr(row[name], clip))
    for i, row in enumerate(rows)
    for name in names
    if name in row
]
_, ax = plt.subplots(figsize=(11, 4), layout="constrained")
ax.plot([value for _, value in found], "o-")
ax.axhline(psnr(problem.measurement, clip), color="gray", linestyle="--")
ax.text(len(found) - 1, psnr(problem.measurement, clip) + 0.1, "measurement", ha="right")
ax.set_xticks(range(len(found)), [name for name, _ in found], fontsize=9)
ax.set_ylabel("PSNR in dB, higher is better")
ax.grid(alpha=0.3)

# %%
# The first correction makes most of the gain here: a blur leaves a trace of every pixel in the
# measurement. The next lesson has a problem where it does not.
#
# This is the library's loop
# --------------------------
#
# :func:`~visionxl.solvers.restore` does the same, and looks after memory, NaNs and the record
# of each step. With the same seed it gives the same video.

again = torch.Generator().manual_seed(0)
problem = simulate(clip, operator, noise_std=0.02, generator=again)
result = restore(problem, prior, sampler, generator=again, frames_at_once=len(clip))
print("largest difference:", (result.video - corrected).abs().max().item())

# %%
# The whole loop, as a film
# -------------------------
#
# All pictures again, one after another, and where each is on the way.

scenes = [("measurement", problem.measurement)]
scenes += [(f"step {i + 1}: {name}", row[name]) for i, row in enumerate(rows) for name in row]
scenes += [("truth", clip)]
qualities = [psnr(video, clip) for _, video in scenes[:-1]]

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
image = left.imshow(picture(clip))
title = left.set_title("")
left.axis("off")
right.plot(qualities, ".-", color="tab:gray")
(dot,) = right.plot([0], qualities[:1], "o", color="tab:red", markersize=10)
right.set_xticks([])
right.set_ylabel("PSNR in dB")


def draw(index):
    """One scene of the film."""
    name, video = scenes[index]
    image.set_data(picture(video))
    title.set_text(name)
    now = slice(index, index + 1) if index < len(qualities) else slice(0)
    dot.set_data(range(len(qualities))[now], qualities[now])


film = FuncAnimation(figure, draw, frames=len(scenes), interval=800)
