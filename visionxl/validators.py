"""attrs validators that values all over the package share."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from numbers import Integral
from typing import Any, TypeVar

import torch
from torch import Tensor

from visionxl.errors import InputError, name_of, nearest

Entry = TypeVar("Entry")
Validator = Callable[[object, Any, object], None]
"""Of attrs: (value, attribute, what is given) -> None, or an error."""


def from_one(_: object, attribute: Any, value: Any) -> None:
    """A whole number from 1."""
    check_count(attribute.name, value)


def count(_: object, attribute: Any, value: object) -> None:
    """A whole number from 0."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 0:
        raise InputError(f"{attribute.name} {value!r} is not a whole number from 0")


def from_zero(_: object, attribute: Any, value: Any) -> None:
    """A finite number from 0."""
    check_number(attribute.name, value, lambda v: 0 <= v < math.inf, "a number from 0")


def finite(_: object, attribute: Any, value: Any) -> None:
    """A finite number."""
    check_number(attribute.name, value, lambda v: -math.inf < v < math.inf, "a finite number")


def share(_: object, attribute: Any, value: Any) -> None:
    """A number from 0 to 1."""
    check_number(attribute.name, value, lambda v: 0 <= v <= 1, "a number from 0 to 1")


def above_zero(_: object, attribute: Any, value: Any) -> None:
    """A finite number above 0."""
    check_number(attribute.name, value, lambda v: 0 < v < math.inf, "a number above 0")


def flag(_: object, attribute: Any, value: object) -> None:
    """True or False."""
    if not isinstance(value, bool):
        raise InputError(f"{attribute.name} {value!r} is neither True nor False")


def whole_number(_: object, attribute: Any, value: object) -> None:
    """A whole number."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise InputError(f"{attribute.name} {value!r} is not a whole number")


def one_of(*known: str) -> Validator:
    """One of the names."""

    def check(_: object, attribute: Any, value: object) -> None:
        if value not in known:
            raise InputError(f"{attribute.name} {value!r} is unknown: {nearest(str(value), known)}")

    return check


def of_kind(*kinds: type) -> Validator:
    """A value, and no class, of one of the kinds."""

    def check(_: object, attribute: Any, value: object) -> None:
        if isinstance(value, type) or not isinstance(value, kinds):
            names = " or ".join(kind.__name__ for kind in kinds)
            given = f"the class {value.__name__}" if isinstance(value, type) else repr(value)
            raise InputError(f"{attribute.name} {given}: expected a value that is a {names}")

    return check


def entries(name: str, values: Any, of: Callable[[Any], Entry], expected: str) -> tuple[Entry, ...]:
    """Every one of some values, converted. Raises InputError where that cannot be."""
    try:
        return tuple(of(value) for value in values)
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"{name} {values!r}: expected {expected}") from None


def array(name: str, value: Any, expected: str, dtype: torch.dtype | None = None) -> Tensor:
    """A tensor of an array of numbers. Raises InputError where that cannot be."""
    try:
        return torch.as_tensor(value, dtype=dtype)
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"{name} {name_of(value)}: expected {expected}") from None


def check_number(name: str, value: Any, holds: Callable[[Any], bool], expected: str) -> None:
    """Raise InputError unless ``value`` is a number for which ``holds`` is true."""
    try:
        if holds(value):
            return
    except (TypeError, ValueError, RuntimeError):  # what cannot be compared is no number
        pass
    raise InputError(f"{name} {name_of(value)} is not {expected}")


def check_count(name: str, value: Any) -> None:
    """Raise InputError for what is no whole number from 1."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise InputError(f"{name} {name_of(value)} is not a whole number from 1")


@contextmanager
def left_alone(part: object, method: str, name: str, given: Tensor) -> Iterator[None]:
    """Raise InputError where a part's method writes into its argument, which others still need."""
    version = None if given.is_inference() else given._version
    yield
    if version is not None and given._version != version:
        raise InputError(
            f"{name_of(part)}: {method} changed its {name} in place, but it is needed unchanged: "
            f"work on {name}.clone()"
        )
