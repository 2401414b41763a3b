"""Scaled dot product attention a few queries at a time, where no fused kernel does it."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

SCORES = 2**28  # bytes of scores at once


class SlicedAttention(TorchFunctionMode):
    """Inside it, attention computes the scores of a few queries at a time; the result is the same.

    PyTorch's fused kernels never hold the scores. Without them (``mps``, some old GPUs), the memory
    of the scores grows as the square of a frame's latents: this bounds it.

    Args:
        scores: bytes of scores at once, about.
    """

    def __init__(self, scores: int = SCORES) -> None:
        super().__init__()
        self.scores = scores

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function is scaled_dot_product_attention:
            return self._sliced(*args, **(kwargs or {}))
        return function(*args, **(kwargs or {}))

    def _sliced(
        self, query: Tensor, key: Tensor, value: Tensor, attn_mask: Any = None, **options: Any
    ) -> Tensor:
        of_one = query[..., :1, 0].numel() * key.shape[-2] * query.element_size()
        together = max(1, self.scores // of_one)
        if attn_mask is not None or options.get("is_causal") or together >= query.shape[-2]:
            return scaled_dot_product_attention(query, key, value, attn_mask, **options)
        result = query.new_empty(*query.shape[:-1], value.shape[-1])
        for first in range(0, query.shape[-2], together):
            some = query[..., first : first + together, :]
            result[..., first : first + together, :] = scaled_dot_product_attention(
                some, key, value, **options
            )
        return result


class FusedAttention(TorchFunctionMode):
    """For counting: attention takes the memory of its result and no more, and is not computed."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function is scaled_dot_product_attention:
            query, _, value = args[:3]
            return torch.empty(
                *query.shape[:-1], value.shape[-1], dtype=query.dtype, device=query.device
            )
        return function(*args, **(kwargs or {}))
