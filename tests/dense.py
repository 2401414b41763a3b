"""Small linear maps as matrices, for tests that compare with linear algebra."""

import torch


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


def relative_error(value, truth):
    return ((value - truth).norm() / truth.norm()).item()
