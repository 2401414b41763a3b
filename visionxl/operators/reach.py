"""How far an operator sees along time: what it takes to cut a long clip."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from attrs import field, frozen

from visionxl.errors import InputError, name_of
from visionxl.protocols import ForwardOperator
from visionxl.validators import count, flag


@frozen
class Reach:
    """How far an operator sees along time.

    Args:
        frames: how many frames a measured frame depends on, on each side of its own.
        circular: whether the clip's first frame follows its last.
    """

    frames: int = field(default=0, validator=count)
    circular: bool = field(default=False, kw_only=True, validator=flag)


@runtime_checkable
class Reaching(Protocol):
    """An operator that states how far it sees along time.

    Its measurement has one frame for each of the video's. Away from the ends, frame ``t`` depends
    on the video's frames from ``t - reach`` to ``t + reach``, in the same way for every ``t`` and
    any number of frames; otherwise it is :class:`ByFrame`, too.
    """

    @abstractmethod
    def reach(self) -> Reach:
        """How far it sees along time."""
        ...


@runtime_checkable
class ByFrame(Protocol):
    """An operator that is not the same for all frames, such as a mask of each."""

    @abstractmethod
    def at(self, frames: Sequence[int], count: int) -> ForwardOperator:
        """The operator for some frames, given by number, of a video of ``count`` frames.

        Raises InputError if it was made for another count.
        """
        ...


def reach_of(operator: object) -> Reach:
    """How far an operator sees along time.

    Raises InputError for one that does not tell, which cannot be cut into windows.
    """
    if not isinstance(operator, Reaching):
        raise unknown(operator)
    reach: object = operator.reach()
    if not isinstance(reach, Reach):
        raise InputError(
            f"reach() of {name_of(operator)} returned {reach!r}: return "
            "visionxl.operators.Reach(frames), with circular=True if the first frame follows the "
            "last"
        )
    return reach


def has_reach(operator: object) -> bool:
    """Whether an operator, with all its parts, states how far it sees."""
    try:
        reach_of(operator)
    except InputError:
        return False
    return True


def unknown(operator: object) -> InputError:
    """The error for an operator that cannot be cut."""
    return InputError(
        f"{name_of(operator)} cannot be cut into windows, because it does not say how far it sees "
        "along time: restore the clip as a whole, or, if it measures one frame per video frame, "
        "give it a method reach() that returns Reach(frames, circular=...), and a method "
        "at(frames, count) if it treats frames differently"
    )
