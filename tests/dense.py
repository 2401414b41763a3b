"""Small linear maps as matrices, for tests that compare with linear algebra."""

import torch

from visionxl.solvers.modes import Modes


def noise(*shape, seed=0, dtype=torch.float64):
    """White Gaussian noise of unit variance."""
    return torch.randn(shape, generator=generator(seed), dtype=torch.float64).to(dtype)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def dense(action, shape):
    """The float64 matrix of a linear ``action`` on videos of ``shape``."""
    units = torch.eye(torch.Size(shape).numel(), dtype=torch.float64)
    return torch.stack([action(unit.view(shape)).flatten() for unit in units], dim=1)


def solve_damped(matrix, measurement, estimate, damping):
    """argmin_x ``|y - M x|^2 + damping |x - estimate|^2``, by a dense solve."""
    residual = measurement.flatten() - matrix @ estimate.flatten()
    normal = matrix.T @ matrix + damping * torch.eye(matrix.shape[1], dtype=matrix.dtype)
    return estimate + torch.linalg.solve(normal, matrix.T @ residual).view(estimate.shape)


def gradient(video):
    """First differences in time, height and width: (frames, 3, channels, height, width).

    Each direction's last one is 0.
    """
    ends = [torch.cat([video, video.narrow(axis, -1, 1)], axis) for axis in (0, 2, 3)]
    return torch.stack([e.diff(dim=a) for e, a in zip(ends, (0, 2, 3), strict=True)], dim=1)


def modes_of(operator, like):
    """The singular modes of an operator that has factors."""
    modes = Modes.of(operator, like)
    assert modes is not None
    return modes


def relative_error(value, truth):
    return ((value - truth).norm() / truth.norm()).item()


def total_variation(video):
    """``sum_pixels |(D x)_pixel|_2``."""
    return gradient(video).square().sum((1, 2)).sqrt().sum().item()


def filtered(modes, video, gain):
    """``mask * V diag(gain) V^T x``: for ``gain = S^2`` it is ``A^T A x``."""
    return modes.add_synthesis(torch.zeros_like(video), modes.analyse(video) * gain)
