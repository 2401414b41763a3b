"""Group normalisation of large frames on a GPU.

PyTorch's own copies a channels-last tensor to the other order and back, and gives each group of a
frame to one multiprocessor: most of the time of SDXL's decoder at 768x1280 (docs/scale.rst).
"""

from typing import Any

import torch
from torch import Tensor, nn

LARGE = 2**19  # values in a group, from which the other way is quicker


class LargeGroupNorm(nn.GroupNorm):
    """``GroupNorm``, the same to rounding, from the sums over each channel where a group is large.

    It changes nothing on a CPU, in float64, where a gradient is asked, or inside ``torch.compile``.
    The variance is the mean square less the square of the mean, in float32: digits are lost where
    a mean is hundreds of times the deviation.
    """

    def forward(self, input: Tensor) -> Tensor:
        return self.by_channels(input) if self._is_large(input) else super().forward(input)

    def by_channels(self, values: Tensor) -> Tensor:
        """From the mean and the mean square of each channel, in float32."""
        frames, channels, height, width = values.shape
        mean = values.mean((2, 3), dtype=torch.float32)
        square = torch.linalg.vector_norm(values, dim=(2, 3), dtype=torch.float32)
        square = square.square_().div_(height * width)
        group = (frames, self.num_groups, channels // self.num_groups)
        mean, square = (of_channels.view(group).mean(2, True) for of_channels in (mean, square))
        scale = (square - mean.square()).clamp_(min=0).add_(self.eps).rsqrt_().expand(group)
        mean = mean.expand(group).reshape(frames, channels)
        scale = scale.reshape(frames, channels)
        if self.affine:
            scale = scale * self.weight
        shift = -mean * scale
        if self.affine:
            shift = shift + self.bias
        shift, scale = (by.view(frames, channels, 1, 1) for by in (shift, scale))
        return torch.addcmul(shift, values, scale, out=torch.empty_like(values))

    def _is_large(self, values: Tensor) -> bool:
        return (
            values.is_cuda
            and values.dtype != torch.float64
            and values.ndim == 4
            and values[0].numel() // self.num_groups >= LARGE
            and not torch.compiler.is_compiling()
            and not (torch.is_grad_enabled() and (values.requires_grad or self._learns))
            and values.is_contiguous(memory_format=torch.channels_last)
        )

    @property
    def _learns(self) -> bool:
        return any(parameter.requires_grad for parameter in self.parameters())


def with_large_norms(network: Any) -> Any:
    """The network, with its group normalisations made :class:`LargeGroupNorm`, weights and all."""
    for module in network.modules():
        if type(module) is nn.GroupNorm:
            module.__class__ = LargeGroupNorm
    return network
