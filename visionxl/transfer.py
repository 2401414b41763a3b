"""Tensors from one device into the memory of another.

A copy into host memory that is fresh from the system waits for every page of it, one after the
other, several times as long as for the copy itself. A GPU copies straight to and from pinned
memory, which PyTorch keeps for the next tensor; other memory is filled with zeros first, by all
cores.
"""

import math
from collections import deque
from typing import Any

import torch
from torch import Tensor

from visionxl.memory import machine_memory

PINNED = 2**32  # bytes of a tensor at most, and a part of the memory that there is:
PART = 1 / 32  # PyTorch rounds up to a power of two, and a run has several as large


def room(like: Tensor, *shape: int) -> Tensor:
    """A tensor of that shape to write into, of the dtype and on the device of ``like``."""
    if like.device.type != "cpu":
        return like.new_empty(shape)
    if torch.cuda.is_initialized() and like.element_size() * math.prod(shape) <= _most():
        try:
            return torch.empty(shape, dtype=like.dtype, pin_memory=True)
        except RuntimeError:  # the system allows no more of it
            pass
    return like.new_zeros(shape)


def _most() -> int | float:
    """Bytes of a tensor that may be pinned."""
    return min(PINNED, PART * (machine_memory() or math.inf))


def pinned(tensor: Tensor) -> Tensor:
    """A tensor in host memory, in pinned memory where that can be had and it is not there yet."""
    if not torch.cuda.is_initialized() or tensor.device.type != "cpu" or tensor.is_pinned():
        return tensor
    there = room(tensor, *tensor.shape)
    return there.copy_(tensor) if there.is_pinned() else tensor


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on a device. From pinned memory a GPU fetches it before what is computed next, and
    nobody waits for that: it must not be written to until something else was waited for."""
    unwatched = torch.cuda.is_initialized() and tensor.is_pinned()
    return tensor.to(device, non_blocking=unwatched)


class Downloads:
    """Copies from a GPU into host memory, made while the GPU computes what is copied next.

    ``with Downloads() as copies`` ends when all are made. Anywhere else they are made at once.
    """

    def __init__(self) -> None:
        self._stream: Any = None
        self._under_way: deque[tuple[Any, Tensor]] = deque()

    def __enter__(self) -> "Downloads":
        return self

    def __exit__(self, *_: object) -> None:
        while self._under_way:
            self._wait()

    def add(self, target: Tensor, source: Tensor) -> None:
        """Copy ``source`` into ``target``, of the same shape and dtype, after what is computed."""
        if not source.is_cuda or target.device.type != "cpu" or source.requires_grad:
            target.copy_(source)
            return
        # Else the copy would make one, in memory that no other stream can use again.
        source = source.contiguous()
        if self._stream is None:
            self._stream = torch.cuda.Stream(source.device)
        self._stream.wait_stream(torch.cuda.current_stream(source.device))
        with torch.cuda.stream(self._stream):
            target.copy_(source, non_blocking=True)
        # The source stays until it is copied, and so that there are few, the second is waited for.
        self._under_way.append((self._stream.record_event(), source))
        if len(self._under_way) > 1:
            self._wait()

    def _wait(self) -> None:
        event, _ = self._under_way.popleft()
        event.synchronize()


def moved(tensor: Tensor, like: Tensor) -> Tensor:
    """``tensor`` with the dtype and on the device of ``like``."""
    if tensor.device.type == "cpu" or like.device.type != "cpu":
        return tensor.to(like)
    if tensor.is_cuda:  # of two dtypes the copy would go by way of memory that is not pinned
        tensor = tensor.to(like.dtype)
    return room(like, *tensor.shape).copy_(tensor)
