"""Make an inverse problem from a known video."""

import torch
from torch import Generator

from visionxl.protocols import ForwardOperator, InverseProblem, NonlinearOperator, Video


def simulate(
    video: Video,
    operator: ForwardOperator | NonlinearOperator,
    noise_std: float = 0.0,
    *,
    generator: Generator,
) -> InverseProblem:
    """``y = A x + noise_std n`` with white Gaussian ``n``.

    Args:
        video: the truth, (frames, channels, height, width) in [-1, 1].
        operator: ``A``, linear or not.
        noise_std: in units of the range [-1, 1].
        generator: of the noise.
    """
    measurement = operator.forward(video)
    if noise_std > 0:
        noise = torch.randn(measurement.shape, generator=generator, device=generator.device)
        measurement = measurement + noise_std * noise.to(measurement)
    return InverseProblem(operator, measurement, noise_std)
