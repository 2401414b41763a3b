"""
Why decode, correct and encode again?
=====================================

The model works on latents, and the measurement was made of pixels. Somewhere the two have to meet.
Three places come to mind:

- in **pixels**, at every step: decode, correct, encode again. It is what this library does.
- in **latents**: change the latents until their decoded picture fits the measurement.
- in pixels, but only **at the end**: let the model run alone, and correct its answer once.

The first looks clumsy, as it goes through the autoencoder all the time, and that loses detail.
This lesson shows what it gains.
"""

import time

import matplotlib.pyplot as plt
import torch
from attrs import evolve

from visionxl import NoiseAware, PocketPrior, restore, simulate, vision_xl
from visionxl.metrics import psnr
from visionxl.operators import Differentiable, GaussianBlur, Mask, lift
from visionxl.sizes import cover
from visionxl.solvers import ScheduleSpread, Unchanged
from visionxl.video import DEMO_CLIP, read_clip

clip = cover(read_clip(DEMO_CLIP, frames=3).video, 96, 160)
prior = PocketPrior.load()


def show(pictures, columns=2):
    """Videos by their titles: the middle of their middle frame."""
    rows = -(-len(pictures) // columns)
    size = (8.0, (6.4 / columns + 0.5) * rows)
    _, axes = plt.subplots(rows, columns, figsize=size, layout="constrained")
    for (title, video), ax in zip(pictures.items(), axes.flat, strict=True):
        middle = video[len(video) // 2, :, 16:80, 40:120]
        ax.imshow(middle.add(1).div(2).clamp(0, 1).permute(1, 2, 0).numpy())
        ax.set_title(title, fontsize=11)
        ax.axis("off")


# %%
# One correction, two places
# --------------------------
#
# A blurred, noisy video, and an estimate of it: the blurred video, as the autoencoder gives it
# back. Both ways start from that.

generator = torch.Generator().manual_seed(0)
problem = simulate(clip, GaussianBlur(sigma=2.0), noise_std=0.02, generator=generator)
start = prior.encode(lift(problem.operator, problem.measurement))
estimate = prior.decode(start)
level = prior.schedule.level(0.1)
spread = ScheduleSpread()(level)  # r

# %%
# Both minimise the same objective: the distance of the video from the measurement, in units of the
# noise, and from the estimate, in units of the error assumed for it,
#
# .. math:: \frac{\lVert y - A x\rVert^2}{\sigma_y^2} + \frac{\lVert x - x_0\rVert^2}{r^2} .
#
# In pixels it is linear least squares. It has a closed form, and the networks have no part in it.

began = time.perf_counter()
in_pixels = NoiseAware().correct(estimate, problem, level).video
seconds_in_pixels = time.perf_counter() - began

# %%
# In latents the decoder stands between, :math:`x = D(z)`: the problem is no longer linear, and each
# step of the search goes forward and backward through a network. We take 40 steps of Adam.

latent = start.clone().requires_grad_()
operator = Differentiable(problem.operator)  # its gradient comes back by the adjoint
adam = torch.optim.Adam([latent], lr=0.1)
qualities = []
began = time.perf_counter()
for _ in range(40):
    video = prior.decode(latent)
    qualities.append(psnr(video.detach(), clip))
    residual = (problem.measurement - operator.forward(video)) / problem.noise_std
    moved = (video - estimate) / spread
    loss = residual.square().sum() + moved.square().sum()
    adam.zero_grad()
    loss.backward()
    adam.step()
seconds_in_latents = time.perf_counter() - began
in_latents = prior.decode(latent.detach())
print(f"in pixels {seconds_in_pixels:.2f} s, in latents {seconds_in_latents:.1f} s")

# %%

show(
    {
        f"estimate, {psnr(estimate, clip):.1f} dB": estimate,
        f"in latents, {psnr(in_latents, clip):.1f} dB": in_latents,
        f"in pixels, {psnr(in_pixels, clip):.1f} dB": in_pixels,
        "truth": clip,
    }
)

# %%

_, ax = plt.subplots(figsize=(8, 4), layout="constrained")
ax.plot(qualities, label=f"in latents: {len(qualities)} passes through the decoder and back")
ax.axhline(psnr(in_pixels, clip), color="tab:orange", label="in pixels: no pass")
ax.set_xlabel("steps of the search in latents")
ax.set_ylabel("PSNR in dB, higher is better")
ax.legend()
ax.grid(alpha=0.3)

# %%
# The search in latents converges slowly, and after 40 passes through a network it is still below
# the correction in pixels; more passes gain little, because it can reach only videos that the
# decoder can make. The correction in pixels is not restricted to them. That is why the loop ends
# on one: the result is not limited by the autoencoder, which does not reproduce even the truth
# exactly.

limit = prior.decode(prior.encode(clip))
print(f"the truth, encoded and decoded: {psnr(limit, clip):.1f} dB")

# %%
# At every step, or once at the end?
# ----------------------------------
#
# To encode the corrected video again costs detail. Is it worth it? Two problems, a blur and a
# mask that hides half of the pixels, and three ways:
#
# - *once*: no loop; the estimate above is corrected, once.
# - *at the end*: the loop runs without corrections, and its answer is corrected.
# - *every step*: the library's loop.

alone = evolve(vision_xl(), consistency=Unchanged())


def looped(problem, method):
    generator = torch.Generator().manual_seed(0)
    return restore(problem, prior, method, generator=generator, frames_at_once=None).video


results = {}
for name, operator in {
    "blur": GaussianBlur(sigma=2.0),
    "mask": Mask.random(0.5, 96, 160, torch.Generator().manual_seed(0)),
}.items():
    generator = torch.Generator().manual_seed(0)
    problem = simulate(clip, operator, noise_std=0.02, generator=generator)
    lifted = lift(operator, problem.measurement)
    estimate = prior.decode(prior.encode(lifted))
    once = NoiseAware().correct(estimate, problem, level).video
    end = NoiseAware().correct(looped(problem, alone), problem, level).video
    every = looped(problem, vision_xl())
    videos = {"measured": lifted, "once": once, "at the end": end, "every step": every}
    for way, video in videos.items():
        results[f"{name}: {way}\n{psnr(video, clip):.1f} dB"] = video

# %%
# For the blur the three are similar: it leaves a trace of every pixel in the measurement, so one
# correction recovers nearly everything, and this small model has little to add. With the mask, a
# hidden pixel is known only from what its neighbours suggest. There the model has to fill in, and
# for that it needs a picture that is right where it can be: the corrected one, at every step. That
# is why the loop encodes again.

show(results, columns=4)
