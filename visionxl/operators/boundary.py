"""What lies beyond the border: the four extensions, as index maps."""

from typing import Literal, get_args

from visionxl.validators import Validator, one_of

Boundary = Literal["circular", "reflect", "replicate", "zero"]
"""circular: abcd|abcd|abcd; reflect: dcb|abcd|cba; replicate: aaa|abcd|ddd; zero: 000|abcd|000."""

OUTSIDE = -1
check_boundary: Validator = one_of(*get_args(Boundary))


def extension(size: int, before: int, after: int, boundary: Boundary) -> list[int]:
    """Source index of every position of an axis extended by ``before`` and ``after``.

    Any width is allowed: the reflection goes to and fro, the circle goes round, as often as it
    takes (as ``numpy.pad`` does it). A position outside a zero border is :data:`OUTSIDE`.
    """
    positions = range(-before, size + after)
    if boundary == "circular":
        return [p % size for p in positions]
    if boundary == "replicate":
        return [min(max(p, 0), size - 1) for p in positions]
    if boundary == "zero":
        return [p if 0 <= p < size else OUTSIDE for p in positions]
    if size == 1:
        return [0 for _ in positions]
    period = 2 * (size - 1)
    return [min(p % period, period - p % period) for p in positions]
