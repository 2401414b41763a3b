"""How much memory was taken, and how much a calculation takes, counted without a device."""

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, no_type_check
from weakref import finalize

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

RAN_OUT = re.compile(
    "out of memory|not enough memory|can't allocate|ALLOC_FAILED|unable to find an engine",
    re.IGNORECASE,
)  # the last is cuDNN's, where there is no room for what a convolution needs beside its result


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether an error tells that memory ran out, on any device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and RAN_OUT.search(str(error)) is not None


@no_type_check  # whoever checks types while it runs would do so at every operation
class LiveBytes(TorchDispatchMode):
    """Counts the bytes of the tensors that come into being inside it, and the most at once.

    On PyTorch's meta device nothing is computed and no memory is taken, so the count of a
    full-size network costs seconds anywhere.

    Args:
        device: the kind of device that counts, such as ``meta``; None for all.

    Attributes:
        now: bytes of the counted tensors that are alive.
        peak: the most that were alive at once.
    """

    def __init__(self, device: str | None = None) -> None:
        super().__init__()
        self._device = device
        self.now: int = 0
        self.peak: int = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        answer = function(*args, **kwargs)
        for tensor in _tensors(answer):
            storage = tensor.untyped_storage()
            if storage._cdata in self._known or self._device not in (None, tensor.device.type):
                continue
            # It may be part of what is given, or that itself: made before the count began.
            values = (*args, *kwargs.values())
            given = [x for value in values for x in _tensors(value)]
            if all(x.untyped_storage()._cdata != storage._cdata for x in given):
                self._add(storage)
        return answer

    def _add(self, storage: Any) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        finalize(storage, self._drop, key, size)

    def _drop(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


@no_type_check
def _tensors(values: Any) -> list[Tensor]:
    """The tensors in what an operation is given or returns: one, or lists and tuples of them."""
    if isinstance(values, Tensor):
        return [values]
    if isinstance(values, list | tuple):
        return [x for value in values for x in _tensors(value)]
    return []


def peak_bytes_of(action: Callable[[], object], device: str | None = None) -> int:
    """The most bytes alive at once among the tensors that ``action`` makes, its result included.

    Args:
        action: what is done, without gradients.
        device: the kind of device that counts; None for all.
    """
    with torch.no_grad(), LiveBytes(device) as live:
        result = action()
        peak = live.peak
        del result
    return peak


def machine_memory() -> int | None:
    """Bytes of memory in this machine; None where the system does not tell (Windows)."""
    if not hasattr(os, "sysconf"):
        return None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def peak_bytes(device: torch.device) -> int:
    """The high-water mark of memory so far: the CUDA allocator's, or the process's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count what a parent process used before this one began
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows has no such count
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
