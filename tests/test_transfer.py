"""Tensors written into the memory of another device, values and dtype as ``to`` has them."""

from contextlib import nullcontext

import pytest
import torch
from dense import generator

from visionxl.transfer import Downloads, moved, room


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


class OnGPU(torch.Tensor):
    """A tensor that says it is on a GPU."""

    is_cuda = True
    __torch_function__ = torch._C._disabled_torch_function_impl


class Stream:
    """One that tells what it is asked."""

    def __init__(self, device=None):
        self.told = []

    def wait_stream(self, other):
        self.told.append("waits for the computation")

    def record_event(self):
        number = sum(word == "waits for the computation" for word in self.told)
        told = self.told

        class Event:
            def synchronize(self):
                told.append(f"copy {number} awaited")

        return Event()


@pytest.fixture
def streams(monkeypatch):
    made = []
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: made.append(Stream()) or made[-1])
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: None)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    return made


def test_downloads_are_made_beside_the_computation_and_all_awaited(streams):
    values, target = torch.randn(3, 4, generator=generator()), torch.zeros(3, 4)
    with Downloads() as copies:
        for row, value in zip(target, values, strict=True):
            copies.add(row, value.as_subclass(OnGPU))
    (stream,) = streams
    begins = "waits for the computation"
    assert stream.told == [
        *[begins, begins, "copy 1 awaited"],  # at most two are under way
        *[begins, "copy 2 awaited"],
        "copy 3 awaited",
    ]
    assert torch.equal(target, values)


def test_downloads_are_awaited_where_the_computation_fails(streams):
    def fails():
        with Downloads() as copies:
            copies.add(torch.zeros(2), torch.ones(2).as_subclass(OnGPU))
            raise RuntimeError("of the computation")

    with pytest.raises(RuntimeError, match="of the computation"):
        fails()
    assert streams[0].told[-1] == "copy 1 awaited"


def test_elsewhere_and_for_gradients_downloads_are_plain_copies(streams):
    target, followed = torch.zeros(2), torch.ones(2, requires_grad=True)
    with Downloads() as copies:
        copies.add(target, torch.full((2,), 3.0))
        assert torch.equal(target, torch.full((2,), 3.0))
        copies.add(target, followed)
    target.sum().backward()
    assert torch.equal(followed.grad, torch.ones(2))
    assert not streams


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
