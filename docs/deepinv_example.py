"""A clip through deepinv's operators and ours, and its reconstructions by both."""

# [operators]
import deepinv
import torch

from visionxl import GaussianPrior, fit_to, restore, vision_xl
from visionxl.interop.deepinv import from_deepinv, prior_from_deepinv, prior_to_deepinv
from visionxl.interop.deepinv import problem_from_deepinv, problem_to_deepinv, to_deepinv
from visionxl.operators import TemporalAverage
from visionxl.video import DEMO_CLIP, read_clip

clip = fit_to(read_clip(DEMO_CLIP, frames=5).video, 64, 96)  # in [-1, 1]
kernel = deepinv.physics.blur.gaussian_blur(sigma=1.0)
blur = deepinv.physics.Blur(filter=kernel, padding="reflect")
operator = from_deepinv(blur) @ TemporalAverage(3)  # it composes like any other
physics = to_deepinv(operator, noise_std=0.02)  # back to deepinv, with its noise
# [problem]
unit = (clip + 1) / 2  # deepinv's range, (frames, 3, height, width)
blur.noise_model = deepinv.physics.GaussianNoise(0.01)
problem = problem_from_deepinv(blur, blur(unit))  # noise 0.02 in our range
ours = restore(
    problem, GaussianPrior.natural(64, 96), vision_xl(), generator=torch.Generator().manual_seed(0)
)
# [denoiser]
prior = prior_from_deepinv(deepinv.models.TVDenoiser(n_it_max=20))
flat = restore(problem, prior, vision_xl(count=10), generator=torch.Generator().manual_seed(0))
# [there]
physics, measurement = problem_to_deepinv(problem)
denoiser = prior_to_deepinv(GaussianPrior.natural(64, 96))
estimate = physics.A_adjoint(measurement)
for _ in range(10):  # plug and play: deepinv's proximal step on our operator, then our denoiser
    estimate = denoiser(physics.prox_l2(estimate, measurement, gamma=10.0), 0.02)
theirs = 2 * estimate[0].transpose(0, 1) - 1
# [end]
