"""Operators that gradients come through, by their adjoint."""

from collections.abc import Callable
from typing import Any

import torch
from attrs import frozen
from torch import Tensor

from visionxl.protocols import ForwardOperator, Measurement, Video

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


def by_adjoint(x: Tensor, there: Map, back: Map) -> Tensor:
    """``there(x)``, a linear map that may work in place; gradients come back by ``back``."""
    return _Linear.apply(x, there, back)


@frozen(eq=False)
class Differentiable:
    """``operator`` for automatic differentiation: the gradient of ``A x`` comes back by ``A^T``.

    The operator itself may work in place, in numpy, or on another machine.
    """

    operator: ForwardOperator

    def forward(self, video: Video) -> Measurement:
        return by_adjoint(video, self.operator.forward, self.operator.adjoint)

    def adjoint(self, measurement: Measurement) -> Video:
        return by_adjoint(measurement, self.operator.adjoint, self.operator.forward)
