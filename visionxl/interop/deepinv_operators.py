"""Operators to and from deepinv, for visionxl.interop.deepinv, which states the conventions."""

# pyright: reportMissingImports=false

import copy
from typing import Any, Literal, get_args

import torch
from attrs import field, frozen
from deepinv.physics import GaussianNoise, LinearPhysics, ZeroNoise
from torch import Generator, Tensor

from visionxl.errors import InputError
from visionxl.operators import Composable, check_adjoint
from visionxl.protocols import ForwardOperator, Measurement, Video
from visionxl.validators import one_of

Layout = Literal["frames", "video"]
"""frames: each frame is an element of deepinv's batch; video: (1, channels, frames, ...)."""

EXACT = {torch.float32: 1e-6, torch.float64: 1e-10}  # above it an adjoint is wrong


def to_element(tensor: Tensor) -> Tensor:
    """Ours as one element of a batch: channels come before frames where there are frames."""
    return tensor.transpose(0, 1) if tensor.ndim == 4 else tensor


from_element = to_element  # it swaps two dimensions


@frozen(eq=False, repr=False)
class DeepinvOperator(Composable):
    """A linear physics of deepinv as an operator: ``A`` and ``A_adjoint``, without its noise.

    Made by :func:`from_deepinv`. If dtype or device differ from those of the physics, each call
    uses a converted copy.
    """

    physics: Any
    layout: Layout = field(default="frames", validator=one_of(*get_args(Layout)))

    def forward(self, video: Video) -> Measurement:
        return self._call("A", video)

    def adjoint(self, measurement: Measurement) -> Video:
        return self._call("A_adjoint", measurement)

    def _call(self, method: str, tensor: Tensor) -> Tensor:
        whole = self.layout == "video"
        given = to_element(tensor)[None] if whole else tensor
        answer = getattr(_converted(self.physics, tensor), method)(given)
        if not isinstance(answer, Tensor):
            raise InputError(
                f"physics {type(self.physics).__name__}: {method} returned "
                f"{type(answer).__name__}, expected one tensor; take the parts apart, each "
                "through from_deepinv, and join them with visionxl.operators.Stack"
            )
        return from_element(answer[0]) if whole else answer

    def __repr__(self) -> str:
        return f"DeepinvOperator(<{type(self.physics).__name__}>, layout={self.layout!r})"


def _converted(physics: Any, like: Tensor) -> Any:
    """The physics in the dtype and on the device of ``like``: itself, or a copy."""
    held = physics._device_holder  # deepinv's own record of where a physics is
    if held.dtype == like.dtype and held.device == like.device:
        return physics

    def convert(tensor: Tensor) -> Tensor:
        if tensor.is_complex():
            return tensor.to(like.device, like.dtype.to_complex())
        return tensor.to(like.device, like.dtype if tensor.is_floating_point() else None)

    return _copy(physics)._apply(convert)


def _copy(physics: Any) -> Any:
    # physics.clone() would do, but takes a second. Generators cannot be copied, and only noise
    # that is left behind draws from them.
    values = (value for module in physics.modules() for value in vars(module).values())
    return copy.deepcopy(physics, {id(v): v for v in values if isinstance(v, Generator)})


class OperatorPhysics(LinearPhysics):
    """One of our operators as a physics of deepinv. Made by :func:`to_deepinv`.

    ``A`` takes (batch, channels, frames, height, width). A measurement that is a video has the
    same order of dimensions; any other keeps its own, behind the batch.
    """

    def __init__(self, operator: ForwardOperator, noise_model: Any) -> None:
        super().__init__(noise_model=noise_model)
        self.operator = operator

    def A(self, x: Tensor, **keywords: Any) -> Tensor:  # noqa: N802 (deepinv's names)
        # deepinv hands the noise model's keywords to A as well: they are not for us.
        if x.ndim != 5:
            raise InputError(
                f"x of {tuple(x.shape)}: expected (batch, channels, frames, height, width); "
                "a picture is a video of one frame, x.unsqueeze(2)"
            )
        return _each(self.operator.forward, x)

    def A_adjoint(self, y: Tensor, **keywords: Any) -> Tensor:  # noqa: N802
        return _each(self.operator.adjoint, y)


def _each(action: Any, batch: Tensor) -> Tensor:
    answers = [to_element(action(from_element(element))) for element in batch]
    return answers[0][None] if len(answers) == 1 else torch.stack(answers)


def from_deepinv(
    physics: Any,
    layout: Layout = "frames",
    *,
    shape: tuple[int, int, int, int] | None = None,
) -> ForwardOperator:
    """A linear physics of deepinv as an operator on videos.

    The operator keeps a copy, so later changes of the physics do not affect it. Noise
    and sensor model are dropped (:func:`problem_from_deepinv` keeps the noise). For a physics of
    :func:`to_deepinv` the original operator is returned.

    Args:
        physics: a ``deepinv.physics.LinearPhysics``.
        layout: "frames" for a physics of images, (batch, channels, height, width), which is then
            applied to each frame; "video" for one of (1, channels, frames, height, width).
        shape: (frames, channels, height, width) of a video on which the adjoint is checked;
            default, two frames of the physics' ``img_size``, or else of 3 x 64 x 64.

    Raises:
        InputError: the physics is not linear, or its ``A_adjoint`` is not the adjoint of its
            ``A`` (above 1e-6 of :func:`~visionxl.operators.check_adjoint`, 1e-10 in float64).
    """
    if isinstance(physics, OperatorPhysics):
        return physics.operator
    name = type(physics).__name__
    if not isinstance(physics, LinearPhysics):
        raise InputError(
            f"physics {name} is no deepinv LinearPhysics: expected a linear one, with A and "
            "A_adjoint; linearise it first"
        )
    operator = DeepinvOperator(_copy(physics), layout)
    checked = shape or _default_shape(physics, layout)
    held: Any = physics._device_holder
    dtype: torch.dtype = held.dtype if held.dtype in EXACT else torch.float32
    try:
        with torch.no_grad():
            wrong = check_adjoint(operator, checked, dtype=dtype, device=held.device, trials=1)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"physics {name} cannot take a video of {checked} in the layout {layout!r} "
            f"({error}): give from_deepinv the shape and layout of yours"
        ) from error
    if wrong > EXACT[dtype]:
        raise InputError(
            f"physics {name}: A_adjoint is not the adjoint of A (dot test {wrong:.1e}, expected "
            f"at most {EXACT[dtype]:.0e}); take the one that deepinv derives from A, "
            "deepinv.physics.LinearPhysics(A=physics.A, img_size=(channels, height, width))"
        )
    return operator


def _default_shape(physics: Any, layout: Layout) -> tuple[int, ...]:
    size: tuple[int, ...] = (
        getattr(physics, "img_size", None) or getattr(physics, "imsize", None) or ()
    )
    if layout == "video" and len(size) == 4:  # (channels, frames, height, width)
        return (size[1], size[0], *size[2:])
    return (2, *size) if len(size) == 3 else (2, 3, 64, 64)


def to_deepinv(
    operator: ForwardOperator, noise_std: float = 0.0, *, generator: Generator | None = None
) -> LinearPhysics:
    """An operator as a ``deepinv.physics.LinearPhysics`` with its noise model.

    ``A`` takes (batch, channels, frames, height, width): every video is one element of the
    batch. An operator of :func:`from_deepinv` is wrapped like any other.

    Args:
        operator: ``A``.
        noise_std: in our units; deepinv's ``GaussianNoise`` gets half of it, and 0 is its
            ``ZeroNoise``.
        generator: of the noise; without it deepinv draws from torch's global one.
    """
    if not isinstance(operator, ForwardOperator):
        raise InputError(
            f"operator {operator!r} is no forward operator: it needs the methods "
            "forward(video) and adjoint(measurement)"
        )
    noise = GaussianNoise(noise_std / 2, rng=generator) if noise_std else ZeroNoise()
    return OperatorPhysics(operator, noise)
