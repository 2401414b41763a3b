"""The one error for input that cannot be used."""

import difflib
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """Something the caller gave cannot be used.

    The message names the argument, the value, what was expected and the way out.
    """


class NotFiniteError(InputError):
    """A stage of a run returned NaN or infinity.

    Args:
        stage: lift, start, denoise, decode, consistency, low-pass, encode or renoise; or "the part
            before" a network whose input already had such a value.
        frame: the first frame with such a value; None where it is not known.
        dtype: in which the stage computes, of torch or by its name.
        way_out: what to do.
        step: of the loop, from 0, where it is known.
        window: of a long clip, from 0, where it is in several.
    """

    def __init__(
        self,
        stage: str,
        frame: int | None,
        dtype: object,
        way_out: str,
        step: int | None = None,
        window: int | None = None,
    ) -> None:
        self.stage: str = stage
        self.frame: int | None = frame
        self.dtype: str = str(dtype).removeprefix("torch.")
        self.way_out: str = way_out
        self.step: int | None = step
        self.window: int | None = window
        places = {"window": window, "step": step, "frame": frame}
        where = [f"{name} {number}" for name, number in places.items() if number is not None]
        where = ", ".join([*where, self.dtype])
        super().__init__(f"{stage} answered NaN or infinity ({where}): {way_out}")

    def at(self, **places: int | None) -> "NotFiniteError":
        """The same error with another ``frame``, ``step`` or ``window``, as far as it is given."""
        known = {"frame": self.frame, "step": self.step, "window": self.window, **places}
        return NotFiniteError(self.stage, dtype=self.dtype, way_out=self.way_out, **known)


@contextmanager
def located(frame: Callable[[int], int] | None = None, **places: int) -> Iterator[None]:
    """Adds to a NotFiniteError that is raised inside where that was.

    Args:
        frame: its number for other people, from the one that it has inside.
        places: ``step`` and ``window``.
    """
    try:
        yield
    except NotFiniteError as error:
        if frame is not None and error.frame is not None:
            places["frame"] = frame(error.frame)
        raise error.at(**places) from None


def name_of(part: object) -> str:
    """The name of a user-defined part in messages: its ``repr``, if it has a short one."""
    kind = type(part)
    if kind.__repr__ is object.__repr__:
        return kind.__name__
    text = repr(part)
    return text if len(text) <= 200 else f"{kind.__name__}(...)"


def told_of(part: object) -> str:
    """A part's ``repr`` without memory addresses, so that it is the same in every run."""
    text = re.sub(r"<(?:[\w<>]+\.)*(\w+) object at 0x[0-9a-f]+>", r"\1", repr(part))
    return re.sub(r" at 0x[0-9a-f]+", "", text)


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for an unknown ``name``: known names that it begins, the nearest one, or all."""
    known = sorted(known)
    close = [other for other in known if name and other.startswith(name)]
    close = close or difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if not close:
        return f"known are {', '.join(known)}"
    return f"did you mean {' or '.join(map(repr, close))}?"
