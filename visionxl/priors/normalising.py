"""Group normalisation of large frames on a GPU.

PyTorch's own copies a channels-last tensor to the other order and back, and gives each group of a
frame to one multiprocessor: most of the time of SDXL's decoder at 768x1280 (docs/scale.rst).
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

LARGE = 7_000_000  # values, from which the other way is quicker
SIDE_BY_SIDE = 2048  # values of a row that are summed over together: a GPU reads long rows faster


class LargeGroupNorm(nn.GroupNorm):
    """``GroupNorm``, the same to rounding, from the sums over each channel where there is much.

    It changes nothing on a CPU, in float64 or where a gradient is asked. The variance is the mean
    square less the square of the mean, in float32: digits are lost where a mean is hundreds of
    times the deviation.
    """

    def forward(self, input: Tensor) -> Tensor:
        return self.by_channels(input) if self._is_large(input) else super().forward(input)

    def by_channels(self, values: Tensor) -> Tensor:
        """From the mean and the mean square of each channel, in float32."""
        fused = torch.compiler.is_compiling()
        frames, channels = values.shape[:2]
        group = (frames, self.num_groups, channels // self.num_groups)
        sums = _plain_means(values) if fused else _means(values)
        mean, square = (of_channels.view(group).mean(2, True) for of_channels in sums)
        variance = (square - mean.square()).clamp(min=0)
        mean, variance = (v.expand(group).reshape(frames, channels) for v in (mean, variance))
        weight, bias = (None if p is None else p.float() for p in (self.weight, self.bias))
        if frames == 1 and not fused:
            # PyTorch's quickest, and its own: torch.batch_norm would take cuDNN's.
            return torch.native_batch_norm(
                values, weight, bias, mean[0], variance[0], False, 0.0, self.eps
            )[0]
        scale = (variance + self.eps).rsqrt()
        scale = scale if weight is None else scale * weight
        shift = -mean * scale
        shift = shift if bias is None else shift + bias
        scale, shift = (by.view(frames, channels, 1, 1) for by in (scale, shift))
        if fused:
            return (values.float() * scale + shift).to(values.dtype)
        return torch.addcmul(shift, values, scale, out=torch.empty_like(values))

    def _is_large(self, values: Tensor) -> bool:
        return (
            values.is_cuda
            and values.dtype != torch.float64
            and values.ndim == 4
            and (values.numel() >= LARGE or torch.compiler.is_compiling())
            and not (torch.is_grad_enabled() and (values.requires_grad or self._learns))
            and values.is_contiguous(memory_format=torch.channels_last)
        )

    @property
    def _learns(self) -> bool:
        return any(parameter.requires_grad for parameter in self.parameters())


def _means(values: Tensor) -> tuple[Tensor, Tensor]:
    """The mean and the mean square of each channel, some positions side by side."""
    frames, channels, height, width = values.shape
    together = math.gcd(height * width, max(1, SIDE_BY_SIDE // channels))
    rows = values.permute(0, 2, 3, 1).view(frames, -1, together * channels)
    total = rows.sum(1, dtype=torch.float32)
    square = torch.linalg.vector_norm(rows, dim=1, dtype=torch.float32).square_()
    total, square = (
        of_columns.view(frames, together, channels).sum(1).div_(height * width)
        for of_columns in (total, square)
    )
    return total, square


def _plain_means(values: Tensor) -> tuple[Tensor, Tensor]:
    """The same as a compiler wants it: one kernel reads the values once."""
    values = values.float()
    return values.mean((2, 3)), values.square().mean((2, 3))


def with_large_norms(network: Any) -> Any:
    """The network, with its group normalisations made :class:`LargeGroupNorm`, weights and all."""
    for module in network.modules():
        if type(module) is nn.GroupNorm:
            module.__class__ = LargeGroupNorm
    return network
