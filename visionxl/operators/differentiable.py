"""Operators that gradients come through, by their adjoint."""

from typing import Any

import torch
from attrs import frozen
from torch import Tensor

from visionxl.protocols import ForwardOperator, Measurement, Video


class _Linear(torch.autograd.Function):
    """A linear map: its gradient is the adjoint, whatever the map is written with."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, there: Any, back: Any) -> Tensor:
        ctx.there, ctx.back = there, back
        return there(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _Linear.apply(gradients[0], ctx.back, ctx.there), None, None


@frozen(eq=False)
class Differentiable:
    """``operator`` for automatic differentiation: the gradient of ``A x`` comes back by ``A^T``.

    The operator itself may work in place, in numpy, or on another machine.
    """

    operator: ForwardOperator

    def forward(self, video: Video) -> Measurement:
        return _Linear.apply(video, self.operator.forward, self.operator.adjoint)

    def adjoint(self, measurement: Measurement) -> Video:
        return _Linear.apply(measurement, self.operator.adjoint, self.operator.forward)
