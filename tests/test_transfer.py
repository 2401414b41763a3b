"""Tensors written into the memory of another device, values and dtype as ``to`` has them."""

import pytest
import torch
from dense import generator

from visionxl.transfer import moved, room


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_room_is_like_its_model(device, dtype):
    like = torch.empty(2, dtype=dtype, device=device)
    made = room(like, 3, 4)
    assert (made.shape, made.dtype, made.device.type) == ((3, 4), dtype, device)


def test_moved_is_to():
    tensor = torch.randn(2, 3, 4, 5, generator=generator()).to(memory_format=torch.channels_last)
    for like in (torch.empty(1, dtype=torch.float64), torch.empty(1, device="meta")):
        got, wanted = moved(tensor, like), tensor.to(like)
        assert (got.dtype, got.device, got.shape) == (wanted.dtype, wanted.device, wanted.shape)
    assert torch.equal(moved(tensor, torch.empty(1, dtype=torch.float64)), tensor.double())


def test_from_another_device_into_host_memory():
    class Far(torch.Tensor):
        """A tensor that says it is elsewhere."""

        device = torch.device("meta")
        __torch_function__ = torch._C._disabled_torch_function_impl  # answers are plain tensors

    tensor = torch.randn(2, 3, 4, 5, generator=generator()).to(memory_format=torch.channels_last)
    got = moved(tensor.as_subclass(Far), torch.empty(1, dtype=torch.float64))
    assert got.device.type == "cpu"
    assert got.is_contiguous()
    assert torch.equal(got, tensor.double())


def test_without_pinned_memory_room_is_made_all_the_same(monkeypatch):
    asked = []

    def refuse(*shape, **how):
        asked.append(how.get("pin_memory"))
        raise RuntimeError("out of memory")

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch, "empty", refuse)
    like = torch.zeros(1)
    assert torch.equal(room(like, 2, 3), torch.zeros(2, 3))
    assert asked == [True]
    monkeypatch.setattr("visionxl.transfer.PINNED", 23)
    assert torch.equal(room(like, 2, 3), torch.zeros(2, 3))
    assert asked == [True]  # six values are too many to pin
