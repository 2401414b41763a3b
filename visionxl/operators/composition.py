"""``A @ B``: one operator after another."""

from collections.abc import Callable
from typing import Any

from attrs import evolve, field, frozen
from torch import Tensor

from visionxl.errors import InputError, name_of
from visionxl.operators.factors import Factors, Shape, compose_factors, factors_of
from visionxl.operators.lifting import lift
from visionxl.operators.reach import Reach, reach_of
from visionxl.protocols import ForwardOperator, Measurement, Video


class Composable:
    """Gives an operator ``@``. It is the only thing a base class of this library supplies."""

    __slots__ = ()

    def __matmul__(self, inner: ForwardOperator) -> "Composition":
        return Composition(self, inner)

    def __rmatmul__(self, outer: ForwardOperator) -> "Composition":
        return Composition(outer, self)


def _is_operator(_: Any, attribute: Any, value: object) -> None:
    if isinstance(value, type) or not isinstance(value, ForwardOperator):
        name = f"{value.__name__}, a class," if isinstance(value, type) else name_of(value)
        raise TypeError(
            f"{attribute.name} {name} is no operator: give a value with the methods forward and "
            "adjoint"
        )


class Composed:
    """One operator, ``outer``, after another, ``inner``."""

    __slots__ = ()

    outer: Any
    inner: Any


@frozen(repr=False)
class Composition(Composable, Composed):
    """``outer`` after ``inner``.

    Forward: ``outer(inner(x))``. Adjoint: ``inner^T(outer^T(y))``. Written ``outer @ inner``.
    """

    outer: Any = field(validator=_is_operator)
    inner: Any = field(validator=_is_operator)

    def forward(self, video: Video) -> Measurement:
        video = self.inner.forward(video)  # the name lets go of a video that nobody else has
        return self.outer.forward(video)

    def adjoint(self, measurement: Measurement) -> Video:
        measurement = self.outer.adjoint(measurement)
        return self.inner.adjoint(measurement)

    def lift(self, measurement: Tensor) -> Tensor:
        return lift(self.inner, lift(self.outer, measurement))

    def reach(self) -> Reach:
        """The sum of both; InputError where they cannot be cut into windows."""
        outer, inner = reach_of(self.outer), reach_of(self.inner)
        if outer.frames and inner.frames and outer.circular != inner.circular:
            raise InputError(
                f"{self!r} is circular in time in one part and not in the other: give both the "
                "same boundary, or restore the clip as a whole"
            )
        return Reach(outer.frames + inner.frames, circular=outer.circular or inner.circular)

    def factors(self, shape: Shape) -> Factors | None:
        inner = factors_of(self.inner, shape)
        outer = factors_of(self.outer, inner.measured(shape)) if inner else None
        return compose_factors(outer, inner) if outer and inner else None

    def __repr__(self) -> str:
        return f"{name_of(self.outer)} @ {name_of(self.inner)}"


def replace_part(operator: Any, kind: type, change: Callable[[Any], Any]) -> Any:
    """``operator`` with every part of class ``kind`` changed, through compositions.

    Raises InputError where it has no such part.
    """
    if not find_parts(operator, kind):
        raise InputError(f"{operator!r} has no {kind.__name__} to change")
    return _replaced(operator, kind, change)


def _replaced(operator: Any, kind: type, change: Callable[[Any], Any]) -> Any:
    if isinstance(operator, Composed):
        outer, inner = (_replaced(o, kind, change) for o in (operator.outer, operator.inner))
        return evolve(operator, outer=outer, inner=inner)
    return change(operator) if isinstance(operator, kind) else operator


def find_parts(operator: Any, kind: type) -> list[Any]:
    """The parts of class ``kind`` in a composition, linear or not, from the outermost."""
    if isinstance(operator, Composed):
        return find_parts(operator.outer, kind) + find_parts(operator.inner, kind)
    return [operator] if isinstance(operator, kind) else []
