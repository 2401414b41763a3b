"""The error of a contract test, and the laws that every part keeps."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from visionxl.errors import InputError, name_of
from visionxl.protocols import LatentPrior

Answer = TypeVar("Answer")


class ContractError(AssertionError):
    """A part breaks a law of its protocol.

    Args:
        part: that was examined.
        law: that it breaks, a sentence.
        seen: what it did instead.
        way_out: what to change.
    """

    def __init__(self, part: object, law: str, seen: str, way_out: str) -> None:
        self.part: object = part
        self.law: str = law
        self.seen: str = seen
        self.way_out: str = way_out
        super().__init__(f"{name_of(part)} breaks a law: {law}. Seen: {seen}. Way out: {way_out}")


def require(kept: bool, part: object, law: str, seen: str, way_out: str) -> None:
    """Raise ContractError where a law is not kept."""
    if not kept:
        raise ContractError(part, law, seen, way_out)


def check_value(part: object, *methods: str) -> None:
    """Raise ContractError for a class where a value is wanted, or for one that lacks a method."""
    if isinstance(part, type):
        name = part.__name__
        raise ContractError(part, "a part is a value", f"{name} is a class", f"give {name}(...)")
    missing = [name for name in methods if not hasattr(part, name)]
    require(
        not missing,
        part,
        f"a part has what its protocol names: {', '.join(methods)}",
        f"{type(part).__name__} lacks {', '.join(missing)}",
        "write it; nothing has to be inherited",
    )


def only(answer: object) -> tuple[object, ...]:
    """The tensors of an answer that is one tensor."""
    return (answer,)


def ask(
    part: object,
    method: str,
    question: Callable[[], Answer],
    given: Tensor,
    *others: Tensor,
    tensors: Callable[[Answer], Sequence[object]] = only,
    tolerance: float = 0.0,
    where: str = "",
) -> Answer:
    """Call a part's method, and check the laws that hold for every output.

    The output consists of finite tensors of the dtype and on the device of the argument; arguments
    are not changed; a second call returns the same.

    Args:
        part: whose method is called.
        method: of the part, by name.
        question: the call.
        given: the argument that determines dtype and device.
        others: arguments that must not be changed either.
        tensors: those of an output.
        tolerance: share by which two outputs may differ.
        where: the circumstances, to continue the message.
    """
    watched, chance = (given, *others), torch.get_rng_state()
    before = [tensor.clone() for tensor in watched]
    try:
        answer = question()
    except (InputError, ContractError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # whatever somebody's own part may raise
        raise ContractError(
            part,
            f"{method} answers for {given.dtype} tensors of shape {tuple(given.shape)}{where}",
            f"{type(error).__name__}: {error}",
            _way_out(part, error),
        ) from error
    first = [_sound(part, method, given, value).clone() for value in tensors(answer)]
    for tensor, copy in zip(watched, before, strict=True):
        require(
            torch.equal(tensor, copy),
            part,
            f"{method} leaves its arguments alone",
            f"the call changed values of a tensor of {tuple(tensor.shape)} that it was given",
            "work on a copy (tensor.clone()), and avoid methods that end in _",
        )
    for one, again in zip(first, tensors(question()), strict=True):
        assert isinstance(again, Tensor)  # it was the first time
        far = apart(one, again)
        require(
            far <= tolerance,
            part,
            f"{method} gives the same answer to the same question",
            f"a second call gave an answer that is {far:.1e} away, as a share of its size",
            "draw random numbers only from a generator that is an argument, and keep no state",
        )
    require(
        torch.equal(torch.get_rng_state(), chance),
        part,
        f"{method} leaves the global random numbers alone",
        "it drew from them, or set their seed, which others in the program rely on",
        "draw random numbers only from a generator that is an argument: torch.randn(shape, "
        "generator=generator)",
    )
    return answer


def _way_out(part: object, error: Exception) -> str:
    said = str(error).lower()
    if any(word in said for word in ("dtype", "device", "same type", "scalar type")):
        return "bring constants to the argument's dtype and device: constant.to(video)"
    if isinstance(error, AttributeError | NameError):
        return "mend the name; the traceback above has the line"
    if isinstance(error, TypeError) and "argument" in said:
        return "take the arguments that its protocol names"
    if isinstance(error, ZeroDivisionError):
        return "guard the division: a measurement may have no noise (noise_std 0)"
    wraps = isinstance(part, LatentPrior)
    padded = " (visionxl.Padded wraps a prior that wants other sizes)" if wraps else ""
    return (
        "see the line in the traceback above; where it cannot take this shape, examine it with one "
        f"that it can{padded}"
    )


def apart(left: Tensor, right: Tensor) -> float:
    """``|left - right| / |left|``; 0 where they are equal, and infinity where shapes differ."""
    if left.shape != right.shape:
        return float("inf")
    if torch.equal(left, right):
        return 0.0
    left, right = left.double(), right.double()
    return ((left - right).norm() / (left.norm() + 1e-300)).item()


def _sound(part: object, method: str, given: Tensor, value: object) -> Tensor:
    law = f"{method} returns a tensor of its argument's dtype and device"
    if not isinstance(value, Tensor):
        seen = f"it returned {type(value).__name__}"
        raise ContractError(part, law, seen, "return a torch.Tensor")
    if value.is_complex():
        way_out = "return real numbers: torch.view_as_real(z), and undo it in adjoint"
        raise ContractError(part, law, f"it returned {value.dtype}", way_out)
    require(
        value.dtype == given.dtype and value.device == given.device,
        part,
        law,
        f"it returned {value.dtype} on {value.device} for {given.dtype} on {given.device}",
        "bring constants to the argument first: constant.to(argument)",
    )
    require(
        bool(value.isfinite().all()),
        part,
        f"{method} returns finite numbers for finite numbers",
        f"{int((~value.isfinite()).sum())} of {value.numel()} were NaN or infinity",
        "look for a division by 0, a root of a negative number, or memory that was never filled",
    )
    return value


def check_shape(
    part: object, method: str, value: Tensor, shape: Sequence[int], words: str, way_out: str
) -> None:
    """Raise ContractError for a value that is not of ``shape``, which ``words`` name."""
    require(
        tuple(value.shape) == tuple(shape),
        part,
        f"{method} returns {words}",
        f"it returned {tuple(value.shape)} where {tuple(shape)} was expected",
        way_out,
    )


class Draws:
    """Tensors of white noise, one after another, the same ones for the same seed."""

    def __init__(self, seed: int, dtype: torch.dtype, device: torch.device | str) -> None:
        self.generator: torch.Generator = torch.Generator().manual_seed(seed)
        self.dtype: torch.dtype = dtype
        self.device: torch.device | str = device

    def noise(self, shape: Sequence[int]) -> Tensor:
        """Of unit variance."""
        drawn = torch.randn(
            tuple(shape),
            generator=self.generator,
            dtype=torch.float64,
            device=self.generator.device,
        )
        return drawn.to(self.device, self.dtype)

    def video(self, shape: Sequence[int]) -> Tensor:
        """Of values in [-1, 1]."""
        return self.noise(shape).tanh()
