"""
An operator of your own, in twenty lines
========================================

An operator says how the measurement was made. It is any object with ``forward`` and ``adjoint``.
The first is easy, for it is what the camera does. The second is where mistakes are made, and they
are silent.
"""

import textwrap
import warnings

import matplotlib.pyplot as plt
import torch

from visionxl import PocketPrior, restore, simulate, vision_xl
from visionxl.metrics import psnr
from visionxl.operators import check_adjoint
from visionxl.sizes import cover
from visionxl.testing import ContractError, check_operator
from visionxl.video import DEMO_CLIP, read_clip

clip = cover(read_clip(DEMO_CLIP, frames=5).video, 96, 160)

# %%
# A window pane
# -------------
#
# Somebody films through a double window. The second pane adds a ghost: the same picture again,
# weaker, some pixels further down and to the right. Content outside the frame adds
# nothing. Values are in [-1, 1], so the measurement is the recorded light minus the operator's
# response to the constant, :math:`2 v - A 1` for light :math:`v` from 0 to 1: a black pixel's ghost
# darkens, and "nothing" is grey.
#
# .. math:: y[i, j] = x[i, j] + g\, x[i - r, j - c]
#
# The adjoint answers the opposite question: where does the measured pixel's light belong? The
# ghost of :math:`x[i, j]` is seen at :math:`y[i + r, j + c]`, so the sum runs the other way:
#
# .. math:: (A^\top y)[i, j] = y[i, j] + g\, y[i + r, j + c]


class Ghost:
    """A weaker copy of the picture, moved down and to the right."""

    def __init__(self, gain=0.6, rows=6, columns=9):
        self.gain, self.rows, self.columns = gain, rows, columns

    def forward(self, video):
        seen = video.clone()
        seen[..., self.rows :, self.columns :] += (
            self.gain * video[..., : -self.rows, : -self.columns]
        )
        return seen

    def adjoint(self, measurement):
        video = measurement.clone()
        video[..., : -self.rows, : -self.columns] += (
            self.gain * measurement[..., self.rows :, self.columns :]
        )
        return video


# %%
# Is the adjoint right?
# ---------------------
#
# An adjoint keeps :math:`\langle A x, y\rangle = \langle x, A^\top y\rangle` for every :math:`x`
# and :math:`y`. So draw both at random and compare: this is the dot test. In double precision the
# two sides agree to about 1e-16.

print(f"{check_adjoint(Ghost(), clip.shape):.1e}")

# %%
# Here is the mistake that most people make once: the ghost is moved the same way again. The two
# sides differ by about a thousandth. That looks small, but random vectors are nearly at right
# angles to anything: whatever is far above rounding is a mistake.


class WrongWay(Ghost):
    """A Ghost whose adjoint moves the wrong way."""

    def adjoint(self, measurement):
        return self.forward(measurement)


print(f"{check_adjoint(WrongWay(), clip.shape):.1e}")

# %%
# :func:`~visionxl.testing.check_operator` runs the dot test and tries all the other laws: linear,
# the same dtype and device, nothing changed in place, the same answer twice. It belongs in the
# tests of your own package. It is silent if all is well, and otherwise says what to fix.

check_operator(Ghost(), (2, 3, 24, 32))

try:
    check_operator(WrongWay(), (2, 3, 24, 32))
except ContractError as error:
    print(textwrap.fill(str(error), 84))

# %%
# What a wrong adjoint does
# -------------------------
#
# All shapes are right and nothing fails, so the test may seem unnecessary. Let us see, and collect
# the warnings of ``restore``.

results, residuals = {}, {}
prior = PocketPrior.load()
for operator in (Ghost(), WrongWay()):
    generator = torch.Generator().manual_seed(0)
    problem = simulate(clip, operator, noise_std=0.02, generator=generator)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        result = restore(problem, prior, vision_xl(count=10), generator=generator)
    name = type(operator).__name__
    for warning in told:
        print(textwrap.fill(f"{name}: {warning.message}", 84))
    results |= {"measurement": problem.measurement, name: result.video}
    residuals[name] = result.trace[-1].data_residual
results["truth"] = clip

# %%
# The residual shows the error: with a correct operator it ends near the noise, 0.02, or below.

for name, residual in residuals.items():
    print(f"{name}: residual {residual:.3f}")

# %%
# And the picture tells everyone.

_, axes = plt.subplots(2, 2, figsize=(8, 5.5), layout="constrained")
for ax, (name, video) in zip(axes.flat, results.items(), strict=True):
    title = name if name == "truth" else f"{name}, {psnr(video, clip):.1f} dB"
    ax.imshow(video[2].add(1).div(2).clamp(0, 1).permute(1, 2, 0).numpy())
    ax.set_title(title, fontsize=11)
    ax.axis("off")
