"""The one error for input that cannot be used."""

import difflib
import re
from collections.abc import Iterable


class InputError(ValueError):
    """Something the caller gave cannot be used.

    The message names the argument, the value, what was expected and the way out.
    """


class NotFiniteError(InputError):
    """A stage of a run answered NaN or infinity.

    Args:
        stage: start, denoise, decode, consistency, low-pass, encode or renoise, or the part before
            a network, which was given it.
        frame: the first frame that has such a value; None where it is not known.
        dtype: that the stage computes in.
        way_out: what to do.
        step: of the loop, from 0, where it is known.
    """

    def __init__(
        self, stage: str, frame: int | None, dtype: str, way_out: str, step: int | None = None
    ) -> None:
        self.stage: str = stage
        self.frame: int | None = frame
        self.dtype: str = dtype
        self.way_out: str = way_out
        self.step: int | None = step
        where = "" if step is None else f"step {step}, "
        where += "" if frame is None else f"frame {frame}, "
        super().__init__(f"{stage} answered NaN or infinity ({where}{dtype}): {way_out}")

    def at_step(self, step: int) -> "NotFiniteError":
        """The same error, with the step it happened in."""
        return NotFiniteError(self.stage, self.frame, self.dtype, self.way_out, step)


def name_of(part: object) -> str:
    """What a message calls a part of somebody's own: its representation, if it has a short one."""
    kind = type(part)
    if kind.__repr__ is object.__repr__:
        return kind.__name__
    text = repr(part)
    return text if len(text) <= 200 else f"{kind.__name__}(...)"


def told_of(part: object) -> str:
    """A part in words that are the same in every run: without addresses in memory."""
    text = re.sub(r"<(?:[\w<>]+\.)*(\w+) object at 0x[0-9a-f]+>", r"\1", repr(part))
    return re.sub(r" at 0x[0-9a-f]+", "", text)


def nearest(name: str, known: Iterable[str]) -> str:
    """Words for an unknown ``name``: those it begins, the nearest known one, or all of them."""
    known = sorted(known)
    close = [other for other in known if name and other.startswith(name)]
    close = close or difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if not close:
        return f"known are {', '.join(known)}"
    return f"did you mean {' or '.join(map(repr, close))}?"
