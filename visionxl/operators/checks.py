"""Tools to examine an operator: the dot test, ``A^T A``, the norm."""

import math
from collections.abc import Callable, Sequence
from numbers import Integral

import torch
from torch import Generator, Tensor

from visionxl.errors import InputError, name_of
from visionxl.protocols import ForwardOperator, Video


def check_adjoint(
    operator: ForwardOperator,
    shape: Sequence[int],
    *,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
    seed: int = 0,
    trials: int = 3,
) -> float:
    """The dot test: how far ``<A x, y>`` and ``<x, A^T y>`` lie apart, for random x and y.

    Args:
        operator: ``A``.
        shape: (frames, channels, height, width) of the video.
        dtype: of the test; float64 shows a mistake most clearly.
        device: of the test.
        seed: of the random vectors.
        trials: how many pairs are tried.

    Returns:
        The largest ``|<Ax, y> - <x, A^T y>| / (|Ax| |y| + |x| |A^T y|)``, about 1e-16 for an
        exact adjoint in float64 and about 1e-7 in float32; infinite where forward or adjoint
        returns a value that is not finite.

    Raises:
        InputError: it is not a value with the methods forward and adjoint, or one of them changes
            its argument or returns complex numbers, or ``shape`` is not that of a video.
        ValueError: the adjoint does not return a video of ``shape``.
        TypeError: one of them returns no tensor.
    """
    for method in ("forward", "adjoint"):
        if isinstance(operator, type) or not callable(getattr(operator, method, None)):
            if isinstance(operator, type):
                name = operator.__name__
                raise InputError(f"operator {name} is a class: give a value of it, as {name}(...)")
            raise InputError(
                f"operator {name_of(operator)} has no method {method}: give a value with "
                "forward(video) and adjoint(measurement)"
            )
    check_video_shape(shape)
    generator = torch.Generator().manual_seed(seed)

    def random(size: Sequence[int]) -> Tensor:
        return torch.randn(
            *size, dtype=torch.float64, generator=generator, device=generator.device
        ).to(device, dtype)

    with torch.inference_mode(False):
        return max(0.0, *(_gap(operator, shape, random) for _ in range(trials)))


def check_video_shape(shape: object, least: int = 1) -> None:
    """Raise InputError for a shape that is not that of a video of ``least`` frames or more."""
    sizes = shape if isinstance(shape, Sequence) and not isinstance(shape, str) else ()
    if (
        len(sizes) != 4
        or not all(isinstance(size, Integral) and int(size) >= 1 for size in sizes)
        or int(sizes[0]) < least
    ):
        more = "" if least == 1 else f" with {least} frames or more"
        raise InputError(
            f"shape {name_of(shape)}: expected (frames, channels, height, width){more}"
        )


def _gap(
    operator: ForwardOperator, shape: Sequence[int], random: Callable[[Sequence[int]], Tensor]
) -> float:
    """``|<Ax, y> - <x, A^T y>| / (|Ax| |y| + |x| |A^T y|)`` of one pair."""
    video = random(shape)
    measured = _answer(operator, "forward", video)
    measurement = random(measured.shape)
    projected = _answer(operator, "adjoint", measurement)
    if projected.shape != video.shape:
        raise ValueError(
            f"adjoint of {name_of(operator)} returned {tuple(projected.shape)} for a video of "
            f"{tuple(video.shape)}: it has to return the shape that forward took"
        )
    left, right = _dot(measured, measurement), _dot(video, projected)
    sizes = [v.double().norm().item() for v in (measured, measurement, video, projected)]
    scale = sizes[0] * sizes[1] + sizes[2] * sizes[3]
    if not math.isfinite(scale):
        return math.inf
    return abs(left - right) / scale if scale else 0.0


def _answer(operator: ForwardOperator, method: str, argument: Tensor) -> Tensor:
    version = argument._version
    answer = getattr(operator, method)(argument)
    if argument._version != version:
        raise InputError(
            f"{method} of {name_of(operator)} changes its argument: make it return a new tensor, "
            "for instance by argument.clone()"
        )
    if not isinstance(answer, Tensor):
        raise TypeError(
            f"{method} of {name_of(operator)} returned {type(answer).__name__}: it has to return "
            "a tensor"
        )
    if answer.is_complex():
        raise InputError(
            f"{method} of {name_of(operator)} returned complex numbers: give real and imaginary "
            "part along a last axis of two, torch.view_as_real(...), and undo it in adjoint"
        )
    return answer


def normal(operator: ForwardOperator, video: Video) -> Video:
    """``A^T A x``."""
    return operator.adjoint(operator.forward(video))


def estimate_norm(
    operator: ForwardOperator,
    shape: Sequence[int],
    *,
    generator: Generator,
    iterations: int = 50,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> float:
    """The largest singular value of ``A``, by power iteration on ``A^T A``.

    It is approached from below; ``iterations`` (each one forward and one adjoint) decide how
    close it comes.
    """
    vector = torch.randn(*shape, dtype=dtype, generator=generator, device=generator.device)
    vector = vector.to(device)
    value = 0.0
    for _ in range(iterations):
        vector = vector / vector.norm()
        vector = normal(operator, vector)
        value = vector.norm().item()
        if value == 0:
            return 0.0
    return value**0.5


def _dot(left: Tensor, right: Tensor) -> float:
    return torch.dot(left.flatten().double(), right.flatten().double()).item()
