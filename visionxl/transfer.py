"""Tensors from one device into the memory of another.

A copy into host memory that is fresh from the system waits for every page of it, one after the
other, several times as long as for the copy itself. A GPU copies straight to and from pinned
memory, which PyTorch keeps for the next tensor; other memory is filled with zeros first, by all
cores.
"""

import math

import torch
from torch import Tensor

PINNED = 2**31  # bytes of a tensor: larger ones are not kept. PyTorch rounds up to a power of two


def room(like: Tensor, *shape: int) -> Tensor:
    """A tensor of that shape to write into, of the dtype and on the device of ``like``."""
    if like.device.type != "cpu":
        return like.new_empty(shape)
    if torch.cuda.is_initialized() and like.element_size() * math.prod(shape) <= PINNED:
        try:
            return torch.empty(shape, dtype=like.dtype, pin_memory=True)
        except RuntimeError:  # the system allows no more of it
            pass
    return like.new_zeros(shape)


def pinned(tensor: Tensor) -> Tensor:
    """A tensor in host memory, in pinned memory where that can be had and it is not there yet."""
    if not torch.cuda.is_initialized() or tensor.device.type != "cpu" or tensor.is_pinned():
        return tensor
    there = room(tensor, *tensor.shape)
    return there.copy_(tensor) if there.is_pinned() else tensor


def moved(tensor: Tensor, like: Tensor) -> Tensor:
    """``tensor`` with the dtype and on the device of ``like``."""
    if tensor.device.type == "cpu" or like.device.type != "cpu":
        return tensor.to(like)
    if tensor.is_cuda:  # of two dtypes the copy would go by way of memory that is not pinned
        tensor = tensor.to(like.dtype)
    return room(like, *tensor.shape).copy_(tensor)
