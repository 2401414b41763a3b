"""Tensors from one device into the memory of another.

A copy into host memory that is fresh from the system waits for every page of it, one after the
other, several times as long as for the copy itself. So here the memory is filled with zeros first,
by all cores.
"""

from torch import Tensor


def room(like: Tensor, *shape: int) -> Tensor:
    """A tensor of that shape to write into, of the dtype and on the device of ``like``."""
    return like.new_zeros(shape) if like.device.type == "cpu" else like.new_empty(shape)


def moved(tensor: Tensor, like: Tensor) -> Tensor:
    """``tensor`` with the dtype and on the device of ``like``."""
    if tensor.device.type == "cpu" or like.device.type != "cpu":
        return tensor.to(like)
    return room(like, *tensor.shape).copy_(tensor)
