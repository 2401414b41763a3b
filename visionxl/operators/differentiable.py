"""Operators that gradients come through, by their adjoint."""

from collections.abc import Callable
from typing import Any

import torch
from attrs import frozen
from torch import Tensor

from visionxl.errors import InputError
from visionxl.protocols import ForwardOperator, Measurement, NonlinearOperator, Video

Map = Callable[[Tensor], Tensor]


class _Linear(torch.autograd.Function):
    """A linear map: its gradient is the adjoint, whatever the map is written with."""

    @staticmethod
    def forward(x: Tensor, there: Map, back: Map) -> Tensor:
        return there(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Map, Map], output: Tensor) -> None:
        _, ctx.there, ctx.back = inputs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _Linear.apply(gradients[0], ctx.back, ctx.there), None, None


class _Curve(torch.autograd.Function):
    """A map that is not linear: its gradient is the adjoint of its Jacobian."""

    @staticmethod
    def forward(x: Tensor, operator: NonlinearOperator) -> Tensor:
        return operator.forward(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, NonlinearOperator], output: Tensor) -> None:
        x, ctx.operator = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return ctx.operator.linearize(x).adjoint(gradients[0]), None


def by_adjoint(x: Tensor, there: Map, back: Map) -> Tensor:
    """``there(x)``, a linear map that may work in place; gradients come back by ``back``."""
    return _Linear.apply(x, there, back)


@frozen(eq=False)
class Differentiable:
    """``operator`` for automatic differentiation: gradients pass through ``A x`` by ``A^T``.

    The operator itself may work in place, in numpy, or on another machine. If it is not linear,
    gradients pass through ``forward`` by the adjoint of its Jacobian, and there is no ``adjoint``.
    """

    operator: ForwardOperator | NonlinearOperator

    def forward(self, video: Video) -> Measurement:
        if isinstance(self.operator, NonlinearOperator):
            return _Curve.apply(video, self.operator)
        return by_adjoint(video, self.operator.forward, self.operator.adjoint)

    def adjoint(self, measurement: Measurement) -> Video:
        if not isinstance(self.operator, ForwardOperator):
            raise InputError(f"{self.operator!r} is not linear: it has no adjoint")
        return by_adjoint(measurement, self.operator.adjoint, self.operator.forward)
