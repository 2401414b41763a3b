"""
Why one noise for all frames?
=============================

A diffusion model makes up what the measurement does not determine, and random noise decides what.
If every frame has its own noise, then every frame is a good picture, but the video flickers.
"""

import math

import matplotlib.pyplot as plt
import torch
from attrs import frozen
from matplotlib.animation import FuncAnimation

from visionxl import EncodedBackProjection, PocketPrior, restore, simulate, vision_xl
from visionxl.metrics import difference_psnr, psnr
from visionxl.operators import AveragePool
from visionxl.sizes import cover
from visionxl.solvers import SharedNoise
from visionxl.video import DEMO_CLIP, read_clip

clip = cover(read_clip(DEMO_CLIP, frames=8).video, 96, 160)
still = clip[:1].expand_as(clip).contiguous()
prior = PocketPrior.load()

# %%
# Two ways to renoise
# -------------------
#
# After each step the loop goes back to noise: :math:`\eta` times fresh noise and
# :math:`\sqrt{1 - \eta^2}` times the noise that the model predicted. The library draws the fresh
# noise once and gives it to all frames. This part draws one for each frame instead; nothing else
# is different.


@frozen
class NoiseOfItsOwn:
    """SharedNoise, but with a draw for every frame."""

    eta: float

    def __call__(self, clean, noise, level, generator):
        fresh = torch.randn(clean.shape, generator=generator)
        mixed = math.sqrt(1 - self.eta**2) * noise + self.eta * fresh
        return level.signal * clean + level.noise * mixed


# %%
# A scene where nothing moves
# ---------------------------
#
# Eight times the same frame, four times too small, without noise. The truth does not change, and
# neither does the measurement, so whatever changes in the restoration was made up. To see the
# effect well we start late in the schedule, where the model makes up more, with an :math:`\eta`
# of 0.8.


def restored(truth, renoise):
    generator = torch.Generator().manual_seed(0)
    problem = simulate(truth, AveragePool(4), generator=generator)
    start = EncodedBackProjection()  # it too has one noise for all frames
    method = vision_xl(count=10, start=0.5, initializer=start, renoise=renoise)
    return restore(problem, prior, method, generator=generator, frames_at_once=None).video


shared = restored(still, SharedNoise(0.8))
own = restored(still, NoiseOfItsOwn(0.8))

# %%
# Two frames of each, and what is different between them, five times enlarged. Look at any one
# frame: you cannot tell which noise it had.


def picture(frame):
    return frame[:, 16:80, 40:120].add(1).div(2).clamp(0, 1).permute(1, 2, 0).numpy()


_, axes = plt.subplots(2, 3, figsize=(9, 5), layout="constrained")
for line, (name, video) in zip(axes, {"shared": shared, "of its own": own}.items(), strict=True):
    line[0].imshow(picture(video[3]))
    line[1].imshow(picture(video[4]))
    line[2].imshow(picture(5 * (video[4] - video[3])))
    for ax, title in zip(line, ("frame 3", "frame 4", "difference x 5"), strict=True):
        ax.set_title(f"{name}: {title}", fontsize=11)
        ax.axis("off")

# %%
# Played over time, they differ: only one of them stands still, as the truth does.


def film(videos):
    """Videos beside one another, by title, eight frames a second."""
    figure, axes = plt.subplots(1, len(videos), figsize=(9, 2.7), layout="constrained")
    images = []
    for ax, (title, video) in zip(axes, videos.items(), strict=True):
        images.append(ax.imshow(picture(video[0])))
        ax.set_title(title, fontsize=11)
        ax.axis("off")

    def draw(index):
        for image, video in zip(images, videos.values(), strict=True):
            image.set_data(picture(video[index]))

    return FuncAnimation(figure, draw, frames=len(clip), interval=125)


standing = film({"truth": still, "shared": shared, "of its own": own})

# %%
# Through time
# ------------
#
# Take one row of pixels out of every frame and put these rows below each other: time runs down.
# What stands still makes straight stripes.

_, axes = plt.subplots(3, 1, figsize=(9, 5), layout="constrained")
for ax, (name, video) in zip(
    axes, {"truth": still, "shared": shared, "of its own": own}.items(), strict=True
):
    slice_ = video[:, :, 48, 40:120].permute(0, 2, 1).add(1).div(2).clamp(0, 1).numpy()
    ax.imshow(slice_, aspect="auto", interpolation="nearest")
    ax.set_title(f"{name}: row 48 of each frame", fontsize=11)
    ax.set_ylabel("frame")
axes[-1].set_xlabel("column, in pixels")

# %%
# A measure of one frame at a time is blind to it. :func:`~visionxl.metrics.difference_psnr`
# compares what changes from frame to frame with what changes in the truth.

for name, video in {"shared": shared, "of its own": own}.items():
    print(
        f"{name:10s}  PSNR of frames {psnr(video, still):.1f} dB, "
        f"of their differences {difference_psnr(video, still):.1f} dB"
    )

# %%
# (Infinity: with shared noise, all frames of the restoration are equal, as they are in the truth.)
#
# A scene that moves, and the paper's eta
# -----------------------------------------
#
# The library's :math:`\eta` is the paper's, 0.2, and so the effect is smaller. It is there
# for a video that moves, too.

videos = {"truth": clip}
for eta in (0.2, 0.8):
    for name, renoise in {"shared": SharedNoise(eta), "of its own": NoiseOfItsOwn(eta)}.items():
        videos[name] = video = restored(clip, renoise)
        print(
            f"eta {eta}, {name:10s}  PSNR of frames {psnr(video, clip):.1f} dB, "
            f"of their differences {difference_psnr(video, clip):.1f} dB"
        )

# %%
# Shared noise knows nothing of motion: it only removes one cause of flicker. The flicker caused by
# the noise of the measurement remains. To remove that, the consistency has to
# look at several frames at once, as :class:`~visionxl.solvers.SpaceTimeTV` does.
#
# The three again, in motion, with the :math:`\eta` of 0.8:

moving = film(videos)
