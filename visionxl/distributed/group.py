"""The processes of one run, as torchrun or accelerate start them."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from importlib import import_module
from typing import Any

import torch
import torch.distributed as dist
from attrs import field, frozen
from torch import Tensor

from visionxl.errors import InputError

PATIENCE = 3.0  # seconds in which the survivors of a failure find one another
POLL = 0.2  # seconds between two looks for a word
GRACE = 0.2  # seconds in which gloo's threads drop what they hold
FAILED = "failed"


class ProcessError(InputError):
    """Another process of the run failed or is gone: this one cannot go on."""


@frozen(eq=False)
class Processes:
    """The processes of a run, seen from one of them; by default there is only one.

    Every process calls the same methods in the same order. If one of them raises, all do.

    Args:
        rank: of this process, from 0.
        size: how many there are.
        device: of this process.
        store: through which they report failures and signal one another.
    """

    rank: int = field(default=0, repr=False)  # what is alike in all of them is the representation
    size: int = 1
    device: str = field(default="cpu", repr=False)
    store: dist.Store | None = field(default=None, repr=False)

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and prints."""
        return self.rank == 0

    def part(self, count: int, rank: int | None = None) -> slice:
        """The frames of a process out of ``count``: contiguous, their counts differ by 1 at most.

        Some processes have none if there are fewer frames than processes.
        """
        rank = self.rank if rank is None else rank
        return slice(-(-count * rank // self.size), -(-count * (rank + 1) // self.size))

    def exchange(self, value: Any = None, failure: Exception | None = None) -> list[Any]:
        """The values of all processes, by rank: small values that can be pickled.

        A ``failure`` is raised here, and as a :class:`ProcessError` in the other processes.
        """
        if self.size == 1:
            if failure is not None:
                raise failure
            return [value]
        answers: list[Any] = [None] * self.size
        given = value if failure is None else None
        with self._company():
            dist.all_gather_object(answers, (given, None if failure is None else in_words(failure)))
        if failure is not None:
            raise failure
        for rank, (_, words) in enumerate(answers):
            if words is not None:
                raise ProcessError(f"process {rank} of {self.size} failed: {words}")
        return [given for given, _ in answers]

    def share(self, value: Any = None) -> Any:
        """The first process's value, in all of them."""
        if self.size == 1:
            return value
        carrier = [value]
        with self._company():
            dist.broadcast_object_list(carrier, src=0, device=torch.device("cpu"))
        return carrier[0]

    def wait_for(self, word: str) -> None:
        """Wait until the first process gives ``word``, however long that takes.

        If a process fails meanwhile, a :class:`ProcessError` is raised here.
        """
        if self.store is None:
            return
        with self._company():
            while not self.store.check([word]):
                if self.store.check([FAILED]):
                    raise ProcessError(self.store.get(FAILED).decode())
                time.sleep(POLL)

    def give(self, word: str) -> None:
        """Release the processes that wait for ``word``."""
        if self.store is not None:
            with self._company():
                self.store.set(word, "")

    def check_same(self, **facts: str | float) -> None:
        """Raise InputError, in all processes, for the first fact in which they differ."""
        answers = self.exchange(facts)
        for name in facts:
            values = [theirs[name] for theirs in answers]
            if any(value != values[0] for value in values):
                raise InputError(
                    f"{name} is not the same in all processes ({', '.join(map(str, values))}): "
                    "start them with the same command, files and versions"
                )

    def gather(self, part: Tensor, count: int) -> Tensor:
        """The parts of all processes in one tensor of ``count`` frames.

        They are sent as bytes, so every dtype is kept, and directly into the result, so no other
        buffer is needed. A process without frames passes an empty part of the right shape.
        """
        if self.size == 1:
            return part
        whole = part.new_empty(count, *part.shape[1:])
        whole[self.part(count)] = part
        octets = whole.flatten(1).view(torch.uint8)
        with self._company():
            pending = [
                dist.broadcast(octets[frames], rank, async_op=True)
                for rank in range(self.size)
                if len(octets[frames := self.part(count, rank)])
            ]
            for work in pending:
                if work is not None:
                    work.wait()
        return whole

    def total(self, value: float) -> float:
        """The sum of a number over all processes, the same to the last bit in every one."""
        if self.size == 1:
            return value
        numbers = [torch.zeros(1, dtype=torch.float64) for _ in range(self.size)]
        with self._company():
            dist.all_gather(numbers, torch.tensor([value], dtype=torch.float64))
        return sum(number.item() for number in numbers)

    def send(self, messages: list[dist.P2POp]) -> None:
        """Send and receive, until all of it is done."""
        with self._company():
            for work in dist.batch_isend_irecv(messages) if messages else ():
                work.wait()

    def tell_failure(self, error: BaseException) -> None:
        """Tell the others why this process ends."""
        if self.store is not None and not isinstance(error, ProcessError):
            words = f"process {self.rank} of {self.size} failed: {in_words(error)}"
            with suppress(RuntimeError):  # the store may be gone, with the process that kept it
                self.store.set(FAILED, words)

    @contextmanager
    def _company(self) -> Iterator[None]:
        """Turns an error of torch.distributed, when a process is gone, into one that names it."""
        try:
            yield
        except RuntimeError as error:
            raise ProcessError(self._why(error)) from error

    def _why(self, error: Exception) -> str:
        lost = f"process {self.rank} of {self.size} lost the others"
        if self.store is None:
            return f"{lost} ({in_words(error)})"
        missing, until = list(range(self.size)), time.monotonic() + PATIENCE
        try:
            self.store.set(f"alive {self.rank}", "")
            while missing and time.monotonic() < until:
                if self.store.check([FAILED]):
                    return self.store.get(FAILED).decode()
                missing = [r for r in missing if not self.store.check([f"alive {r}"])]
                time.sleep(0.05)
        except RuntimeError:  # the store went with the process that kept it
            return f"{lost}, and process 0 is gone ({in_words(error)})"
        if not missing:
            return f"{lost}, which are all there: is the network slow or cut? ({in_words(error)})"
        names = " and ".join(f"process {rank} of {self.size}" for rank in missing)
        return (
            f"{names} gave no sign of life: killed, out of memory, or stuck longer than the "
            "timeout; this run ends"
        )


def in_words(error: BaseException) -> str:
    """An error's kind, where it is not the user's, and its first line."""
    line = (str(error).strip().splitlines() or [""])[0]
    return line if isinstance(error, InputError) else f"{type(error).__name__}: {line}"


@contextmanager
def processes(device: str = "cpu", *, timeout: float = 1800.0) -> Iterator[Processes]:
    """The group of processes that torchrun, accelerate or the environment has started.

    Videos and latents on a GPU are sent by NCCL, all else by gloo. In a single process it does
    nothing. A process that fails inside tells the others, so that each ends and says why.

    Args:
        device: ``cuda`` takes the GPU of this process's local rank on its machine.
        timeout: seconds that processes wait for one another: more than the longest delay between
            two of them, such as for loading weights.

    Raises:
        InputError: the environment is incomplete, or there are fewer GPUs than processes.
        ProcessError: another process failed.
    """
    size = _number("WORLD_SIZE", 1)
    if size == 1:
        yield Processes(device=device)
        return
    device = _own_device(device, _number("LOCAL_RANK"))
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        _read(name)
    patience = timedelta(seconds=timeout)
    # On import it stores the current group as a default argument, which keeps gloo's threads alive:
    # so it is imported before there is one, as transformers may import it later.
    import_module("torch.distributed.nn.functional")
    store, rank, size = next(dist.rendezvous("env://", timeout=patience))
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo",
        store=store,
        rank=rank,
        world_size=size,
        timeout=patience,
    )
    together = Processes(rank, size, device, dist.PrefixStore("visionxl", store))
    try:
        yield together
        together.exchange()  # nobody leaves while another still needs it
    except BaseException as error:
        together.tell_failure(error)
        # NCCL could wait here for the others; and so could gloo for what an interrupt cut off.
        if isinstance(error, Exception) and not device.startswith("cuda"):
            _leave()
        raise
    _leave()


def _leave() -> None:
    """Destroy the group; else gloo's threads could outlive Python, which aborts."""
    # They may still hold tensors of the last exchange, and to drop them they need the interpreter's
    # lock. Some versions of torch, such as 2.7, keep it while they wait for these threads to end.
    time.sleep(GRACE)
    dist.destroy_process_group()


def _read(name: str) -> str:
    if name not in os.environ:
        raise InputError(
            f"WORLD_SIZE is {os.environ.get('WORLD_SIZE')} and {name} is not set on "
            f"{socket.gethostname()}: start with torchrun or accelerate launch, which set both"
        )
    return os.environ[name]


def _number(name: str, default: int | None = None) -> int:
    words = _read(name) if default is None else os.environ.get(name, str(default))
    if not words.isdecimal():
        raise InputError(f"{name} is {words!r} in the environment: expected a whole number")
    return int(words)


def _own_device(device: str, number: int) -> str:
    if not device.startswith("cuda"):
        return device
    if device != "cuda":
        raise InputError(f"device {device!r} for several processes: give cuda, each takes its own")
    if number >= torch.cuda.device_count():
        if not torch.cuda.device_count():
            raise InputError("device cuda: this machine has no GPU; leave it out for the CPU")
        raise InputError(
            f"process {number} of this machine has no GPU, for there are "
            f"{torch.cuda.device_count()}: start as many processes as GPUs, and let each see all "
            "of them (CUDA_VISIBLE_DEVICES; Slurm's --gpus-per-node and not --gpus-per-task)"
        )
    torch.cuda.set_device(number)
    return f"cuda:{number}"
