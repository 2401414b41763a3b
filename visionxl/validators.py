"""attrs validators that values all over the package share."""

import math
from typing import Any

from visionxl.errors import InputError


def from_one(_: object, attribute: Any, value: int) -> None:
    """A whole number from 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InputError(f"{attribute.name} {value!r} is not a whole number from 1")


def from_zero(_: object, attribute: Any, value: Any) -> None:
    """A finite number from 0."""
    if not 0 <= value < math.inf:
        raise InputError(f"{attribute.name} {value} is not a number from 0")


def share(_: object, attribute: Any, value: Any) -> None:
    """A number from 0 to 1."""
    if not 0 <= value <= 1:
        raise InputError(f"{attribute.name} {value} is not a number from 0 to 1")


def above_zero(_: object, attribute: Any, value: Any) -> None:
    """A finite number above 0."""
    if not 0 < value < math.inf:
        raise InputError(f"{attribute.name} {value} is not a number above 0")
