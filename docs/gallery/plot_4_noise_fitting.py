"""
Why plain conjugate gradients fit the noise
===========================================

The obvious way to be consistent with a measurement is to fit it as closely as possible. With
noise, that is the wrong goal.
"""

import matplotlib.pyplot as plt
import torch
from matplotlib.animation import FuncAnimation

from visionxl import DampedCG, NoiseAware, PlainCG, PocketPrior, restore, simulate, vision_xl
from visionxl.metrics import psnr
from visionxl.operators import GaussianBlur
from visionxl.sizes import cover
from visionxl.video import DEMO_CLIP, read_clip

clip = cover(read_clip(DEMO_CLIP, frames=3).video, 96, 160)
generator = torch.Generator().manual_seed(0)
problem = simulate(clip, GaussianBlur(sigma=1.5), noise_std=0.02, generator=generator)
estimate = problem.measurement  # the blurred video itself, to start from
prior = PocketPrior.load()
level = prior.schedule.level(0.1)

# %%
# Two quantities
# --------------
#
# Conjugate gradients solve :math:`A^\top A x = A^\top y`, step by step, from an estimate. We know
# the truth here, so after each number of steps we can look at two things: the *residual* :math:`y -
# A x`, which everyone can compute, and the *error* :math:`x - x_{\text{true}}`, which nobody can in
# earnest.

blur = problem.operator
steps = (0, 1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 30)


def root_mean_square(video):
    return video.square().mean().sqrt().item()


def curves(consistency_of):
    """Residual, error and video after so many steps."""
    videos = [consistency_of(n).correct(estimate, problem, level).video for n in steps]
    misfits = [problem.measurement - blur.forward(video) for video in videos]
    residuals = [root_mean_square(misfit) for misfit in misfits]
    return residuals, [root_mean_square(video - clip) for video in videos], videos


plain_residuals, plain_errors, plain = curves(PlainCG)

# %%
# The noise-aware consistency minimises
#
# .. math:: \frac{\lVert y - A x\rVert^2}{\sigma_y^2} + \frac{\lVert x - x_0\rVert^2}{r^2}
#
# by the same conjugate gradients: the measurement is weighted by its noise :math:`\sigma_y`, and
# the estimate :math:`x_0` by the error :math:`r` assumed for it,
# which ``ScheduleSpread()(level)`` gives at this level.


def damped(iterations):
    return DampedCG(iterations=iterations, tolerance=0.0)


aware_residuals, aware_errors, aware = curves(damped)

_, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
left.plot(steps, plain_residuals, "o-", label="plain")
left.plot(steps, aware_residuals, "s-", label="noise-aware")
left.axhline(problem.noise_std, color="gray", linestyle="--", label="the noise")
left.set_title("residual: what everyone sees")
right.plot(steps, plain_errors, "o-", label="plain")
right.plot(steps, aware_errors, "s-", label="noise-aware")
right.set_title("error: what counts")
for ax in (left, right):
    ax.set_xlabel("steps of conjugate gradients")
    ax.set_ylabel("root mean square")
    ax.set_ylim(bottom=0)
    ax.grid(alpha=0.3)
    ax.legend()

# %%
# The plain residual falls and falls. The error falls with it only at first, and then rises: once
# the residual is down to the noise (the dashed line), there is nothing left to explain but the
# noise itself. And undoing a blur amplifies what it attenuated, the fine
# details, where the noise is as strong as anywhere. So the noise is amplified, too.
#
# The noise-aware steps converge. More of them do no harm, and no stopping rule is needed.


def picture(video):
    return video[1, :, 16:80, 40:120].add(1).div(2).clamp(0, 1).permute(1, 2, 0).numpy()


best = min(range(len(steps)), key=plain_errors.__getitem__)
shown = {
    "measurement": problem.measurement,
    f"plain, {steps[best]} steps (best)": plain[best],
    f"plain, {steps[-1]} steps": plain[-1],
    f"noise-aware, {steps[-1]} steps": aware[-1],
}
_, axes = plt.subplots(2, 2, figsize=(8, 7), layout="constrained")
for ax, (title, video) in zip(axes.flat, shown.items(), strict=True):
    ax.imshow(picture(video))
    ax.set_title(f"{title}, {psnr(video, clip):.1f} dB", fontsize=11)
    ax.axis("off")

# %%
# Step by step, from the blurred video on:

figure, axes = plt.subplots(1, 2, figsize=(9, 3.9), layout="constrained")
images = [ax.imshow(picture(problem.measurement)) for ax in axes]
for ax in axes:
    ax.axis("off")


def draw(index):
    """Both, after as many steps as they have taken by then."""
    runs = {"plain": plain, "noise-aware": aware}
    for ax, image, (name, videos) in zip(axes, images, runs.items(), strict=True):
        image.set_data(picture(videos[index]))
        ax.set_title(f"{name}, {steps[index]} steps, {psnr(videos[index], clip):.1f} dB")


film = FuncAnimation(figure, draw, frames=len(steps), interval=500)

# %%
# Stopped at the best step, plain conjugate gradients are as good. But which step that is can be
# seen only in the right curve, which needs the truth.
#
# In the loop
# -----------
#
# The paper's recipe takes ten plain steps at every level. We let it and the noise-aware consistency
# restore the same video with less and with more noise.

ways = {"ten plain steps": PlainCG(10), "noise-aware": NoiseAware()}
levels = (0.0, 0.01, 0.02, 0.05)
restored = {}
print("noise   ten plain steps   noise-aware")
for noise_std in levels:
    for name, consistency in ways.items():
        generator = torch.Generator().manual_seed(0)
        noisy = simulate(clip, blur, noise_std=noise_std, generator=generator)
        method = vision_xl(count=10, consistency=consistency)
        found = restore(noisy, prior, method, generator=generator, frames_at_once=None)
        restored[name, noise_std] = found.video
    qualities = [psnr(restored[name, noise_std], clip) for name in ways]
    print(f"{noise_std:<6}  {qualities[0]:9.1f} dB   {qualities[1]:11.1f} dB")

# %%
# Without noise ten steps are too few, and with much noise they are too many. In between they happen
# to be right. The noise-aware consistency is told the noise, and needs no luck.

_, axes = plt.subplots(2, 4, figsize=(9, 4.6), layout="constrained")
for row, name in zip(axes, ways, strict=True):
    for ax, noise_std in zip(row, levels, strict=True):
        video = restored[name, noise_std]
        ax.imshow(picture(video))
        ax.set_title(f"{name}\nnoise {noise_std:g}, {psnr(video, clip):.1f} dB", fontsize=10)
        ax.axis("off")
