"""The one error for input that cannot be used."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Something the caller gave cannot be used.

    The message names the argument, the value, what was expected and the way out.
    """


def nearest(name: str, known: Iterable[str]) -> str:
    """Words for an unknown ``name``: the nearest known one, or all of them."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
