"""A clip through deepinv's operators and ours, and its reconstructions by both."""

# [operators]
import deepinv
import torch

from visionxl import PocketPrior, fit_to, restore, vision_xl
from visionxl.interop import deepinv as bridge
from visionxl.operators import TemporalAverage
from visionxl.video import DEMO_CLIP, read_clip

clip = fit_to(read_clip(DEMO_CLIP, frames=3).video, 64, 96)  # in [-1, 1]
kernel = torch.full((1, 1, 5, 5), 1 / 25)
blur = deepinv.physics.Blur(filter=kernel, padding="reflect")
operator = bridge.from_deepinv(blur) @ TemporalAverage(3)  # it composes like any other
physics = bridge.to_deepinv(operator, noise_std=0.02)  # and goes back, with its noise
# [problem]
rng = torch.Generator().manual_seed(0)
blur.noise_model = deepinv.physics.GaussianNoise(0.05, rng=rng)
unit = (clip + 1) / 2  # deepinv's range, (frames, 3, height, width)
problem = bridge.problem_from_deepinv(blur, blur(unit))  # the noise is 0.1 in our range
pocket = PocketPrior.load()
ours = restore(problem, pocket, vision_xl(), generator=rng)
# [denoiser]
prior = bridge.prior_from_deepinv(deepinv.models.TVDenoiser(n_it_max=20))
flat = restore(problem, prior, vision_xl(count=10), generator=rng)
# [there]
physics, measurement = bridge.problem_to_deepinv(problem)
denoiser = bridge.prior_to_deepinv(pocket)
estimate = physics.A_adjoint(measurement)
with torch.no_grad():
    for _ in range(8):  # plug and play: deepinv's proximal step, our operator and denoiser
        estimate = denoiser(physics.prox_l2(estimate, measurement, gamma=4.0), 0.1)
theirs = 2 * estimate[0].transpose(0, 1) - 1
# [end]
