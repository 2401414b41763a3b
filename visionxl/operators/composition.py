"""``A @ B``: one operator after another."""

from collections.abc import Callable
from typing import Any, overload

from attrs import evolve, field, frozen
from torch import Tensor

from visionxl.errors import InputError, name_of
from visionxl.operators.factors import Factors, Shape, compose_factors, factors_of
from visionxl.operators.lifting import lift
from visionxl.operators.reach import Reach, reach_of
from visionxl.protocols import ForwardOperator, Measurement, NonlinearOperator, Video


class Composable:
    """Gives an operator ``@``, all that operators inherit in this library."""

    __slots__ = ()

    @overload
    def __matmul__(self, inner: ForwardOperator) -> "Composition": ...
    @overload
    def __matmul__(self, inner: NonlinearOperator) -> "NonlinearComposition": ...
    def __matmul__(self, inner: Any) -> Any:
        return _composed(self, inner)

    @overload
    def __rmatmul__(self, outer: ForwardOperator) -> "Composition": ...
    @overload
    def __rmatmul__(self, outer: NonlinearOperator) -> "NonlinearComposition": ...
    def __rmatmul__(self, outer: Any) -> Any:
        return _composed(outer, self)


class EachFrame(Composable):
    """A linear operator that sees each frame by itself."""

    __slots__ = ()

    def reach(self) -> Reach:
        return Reach()


class NonlinearComposable:
    """Gives a nonlinear operator ``@``, with any other operator."""

    __slots__ = ()

    def __matmul__(self, inner: ForwardOperator | NonlinearOperator) -> "NonlinearComposition":
        return NonlinearComposition(self, inner)

    def __rmatmul__(self, outer: ForwardOperator | NonlinearOperator) -> "NonlinearComposition":
        return NonlinearComposition(outer, self)


def _composed(outer: Any, inner: Any) -> Any:
    linear = [isinstance(part, ForwardOperator) for part in (outer, inner)]
    nonlinear = [isinstance(part, NonlinearOperator) for part in (outer, inner)]
    mixed = any(other and not same for same, other in zip(linear, nonlinear, strict=True))
    return NonlinearComposition(outer, inner) if mixed else Composition(outer, inner)


def is_operator(_: Any, attribute: Any, value: object) -> None:
    """attrs validator: a value with an operator's methods, linear or not."""
    if isinstance(value, type) or not isinstance(value, ForwardOperator | NonlinearOperator):
        raise _no_operator(attribute.name, value, ", or forward, linearize and lift")


def is_linear(_: Any, attribute: Any, value: object) -> None:
    """attrs validator: a value with a linear operator's methods."""
    if isinstance(value, type) or not isinstance(value, ForwardOperator):
        raise _no_operator(attribute.name, value)


def _no_operator(name: str, value: object, more: str = "") -> InputError:
    what = f"{value.__name__}, a class," if isinstance(value, type) else name_of(value)
    return InputError(
        f"{name} {what} is no operator: give a value with the methods forward and adjoint{more}"
    )


@frozen(repr=False)
class Composition(Composable):
    """``outer`` after ``inner``.

    Forward: ``outer(inner(x))``. Adjoint: ``inner^T(outer^T(y))``. Written ``outer @ inner``.
    """

    outer: Any = field(validator=is_linear)
    inner: Any = field(validator=is_linear)

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


@frozen(repr=False)
class NonlinearComposition(NonlinearComposable):
    """``outer`` after ``inner``, one of which is not linear.

    Forward: ``outer(inner(x))``. Jacobian: by the chain rule, that of ``outer`` at ``inner(x)``
    after that of ``inner`` at ``x``. Written ``outer @ inner``.
    """

    outer: Any = field(validator=is_operator)
    inner: Any = field(validator=is_operator)

    def forward(self, video: Video) -> Measurement:
        return self.outer.forward(self.inner.forward(video))

    def linearize(self, video: Video) -> ForwardOperator:
        outer = _jacobian(self.outer, self.inner.forward(video))
        return Composition(outer, _jacobian(self.inner, video))

    def lift(self, measurement: Measurement) -> Video:
        return lift(self.inner, lift(self.outer, measurement))

    def __repr__(self) -> str:
        return f"{name_of(self.outer)} @ {name_of(self.inner)}"


def _jacobian(operator: ForwardOperator | NonlinearOperator, video: Tensor) -> ForwardOperator:
    return operator if isinstance(operator, ForwardOperator) else operator.linearize(video)


def replace_part(operator: Any, kind: type, change: Callable[[Any], Any]) -> Any:
    """``operator`` with every part of class ``kind`` changed, through compositions."""
    if isinstance(operator, Composition | NonlinearComposition):
        outer, inner = (replace_part(o, kind, change) for o in (operator.outer, operator.inner))
        return evolve(operator, outer=outer, inner=inner)
    return change(operator) if isinstance(operator, kind) else operator


def find_parts(operator: Any, kind: type) -> list[Any]:
    """The parts of class ``kind`` in a composition, linear or not, from the outermost."""
    if isinstance(operator, Composition | NonlinearComposition):
        return find_parts(operator.outer, kind) + find_parts(operator.inner, kind)
    return [operator] if isinstance(operator, kind) else []
