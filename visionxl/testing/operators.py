"""The contract test of operators: linear ones, and those with a derivative."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from attrs import fields, has
from torch import Tensor

from visionxl.errors import InputError, name_of
from visionxl.operators import Factored, check_adjoint, lift
from visionxl.operators.checks import check_video_shape
from visionxl.operators.composition import find_parts
from visionxl.operators.cutting import operator_at
from visionxl.operators.factors import FROZEN
from visionxl.operators.reach import ByFrame, Reach, Reaching, reach_of
from visionxl.protocols import ForwardOperator, NonlinearOperator
from visionxl.solvers.decomposition import along
from visionxl.solvers.windows import windows_of
from visionxl.testing.laws import (
    ContractError,
    Draws,
    apart,
    ask,
    check_shape,
    check_value,
    require,
)

KINKS = 0.002  # share of a nonlinear operator's values that may lie where it has no derivative


def check_operator(
    operator: object,
    shape: Sequence[int],
    *,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
    refused: Sequence[Sequence[int]] = (),
    seed: int = 0,
) -> None:
    """Test an operator against the laws of its protocol.

    A :class:`~visionxl.protocols.ForwardOperator`: ``forward`` is linear, ``adjoint`` is its
    transpose (the dot test) and returns videos of the shape that was measured; both keep dtype and
    device, change nothing in place and return the same again. The lift is such a video too, and
    factors, if the operator has them, are those of ``forward``; a reach, if it has one, is at
    least as far as ``forward`` sees.

    A :class:`~visionxl.protocols.NonlinearOperator`: ``linearize`` returns the derivative, compared
    with central differences, as a linear operator that keeps the laws above.

    Args:
        operator: to test.
        shape: (frames, channels, height, width) of videos that it takes.
        dtype: of the arithmetic; float64 distinguishes a mistake from rounding most clearly. That
            dtypes are kept is tested in float32 as well.
        device: of the tensors.
        refused: shapes that ``forward`` cannot take, and has to refuse with InputError.
        seed: of the random videos.

    Raises:
        InputError: the shape is not that of a video.
        ContractError: a law is broken.
    """
    linear = not isinstance(operator, NonlinearOperator) and not hasattr(operator, "linearize")
    check_value(operator, *(("forward", "adjoint") if linear else ("forward", "linearize", "lift")))
    check_video_shape(shape)
    check = _check_linear if linear else _check_nonlinear
    for kind in dict.fromkeys((dtype, torch.float32)):
        _check_kind(operator, Draws(seed, kind, device).video(shape))
    check(operator, shape, Draws(seed, dtype, device), seed)
    for wrong in refused:
        _check_refusal(operator, Draws(seed, dtype, device).video(wrong))


def rounding(dtype: torch.dtype) -> float:
    """The share that counts as rounding: 1e-10 in float64, 1e-5 in float32."""
    return {torch.float64: 1e-10, torch.float32: 1e-5}.get(dtype, torch.finfo(dtype).eps * 10)


def _check_kind(operator: Any, video: Tensor) -> None:
    same = rounding(video.dtype)
    measured = ask(operator, "forward", lambda: operator.forward(video), video, tolerance=same)
    linear = isinstance(operator, ForwardOperator)
    back, ways = (operator.adjoint, "adjoint") if linear else (operator.lift, "lift")
    measurement = measured.clone()
    answer = ask(operator, ways, lambda: back(measurement), measurement, tolerance=same)
    shape, words = video.shape, "a video of the shape that was measured"
    way_out = f"make {ways} turn a measurement into a video of that shape"
    check_shape(operator, ways, answer, shape, words, way_out)
    lifted = ask(operator, "lift", lambda: lift(operator, measurement), measurement, tolerance=same)
    check_shape(operator, "lift", lifted, shape, words, "see visionxl.operators.lift")
    noisy = measured + measured.std(correction=0) * torch.linspace(
        -1, 1, measured.numel(), dtype=measured.dtype, device=measured.device
    ).view_as(measured)
    require(
        bool(lift(operator, noisy).isfinite().all()),
        operator,
        "lift takes any measurement, noisy ones too",
        "it returned values that are not finite for values that forward itself never returns",
        "clamp the measurement first to the range in which lift is defined",
    )


def _check_linear(operator: Any, shape: Sequence[int], draws: Draws, seed: int) -> None:
    enough = rounding(draws.dtype)
    video, other = draws.noise(shape), draws.noise(shape)
    measured, also = operator.forward(video), operator.forward(other)
    sum_of_both = operator.forward(2 * video - 3 * other)
    size = (2 * measured.double().norm() + 3 * also.double().norm()).item() or 1.0
    error = (sum_of_both - (2 * measured - 3 * also)).double().norm().item() / size
    require(
        error <= enough,
        operator,
        "forward is linear, A (a x + b z) = a A x + b A z",
        f"the two sides lie {error:.1e} apart, as a share of their size; rounding is {enough:.0e}",
        "leave out clipping, rounding and added constants (put a constant into the measurement), "
        "or write a NonlinearOperator with linearize",
    )
    _check_transpose(operator, video, measured, draws, seed)
    if isinstance(operator, Factored):
        _check_factors(operator, video, measured, enough)
    _check_reach(operator, video, draws, enough)


def _check_reach(operator: Any, video: Tensor, draws: Draws, enough: float) -> None:
    """What a window measures is what the whole does there."""
    linear: Any = operator  # beside the protocols that are asked for
    by_frame = find_parts(operator, ByFrame)  # type: ignore[type-abstract]
    any_number = all(_is_alike(part) for part in by_frame)
    law = "reach returns how far it sees along time, as a Reach"
    way = "return visionxl.operators.Reach(frames), with circular=True where time goes round"
    try:
        with _told(operator, law, way):
            answer: object = operator.reach() if isinstance(operator, Reaching) else None
    except InputError:  # a part of it does not tell
        answer = None
    if answer is None:
        return
    require(isinstance(answer, Reach), operator, law, f"it returned {answer!r}", way)
    reach = reach_of(operator)
    least = 2 * reach.frames + 2
    count = max(len(video), least + 2) if any_number else len(video)
    if count < least:
        raise InputError(
            f"shape {tuple(video.shape)}: expected {least} frames or more, because "
            f"{name_of(operator)} sees {reach.frames} on each side and differs between frames"
        )
    whole = draws.noise((count, *video.shape[1:]))
    law = f"a frame of the measurement sees at most {reach.frames} frames on each side of its own"
    law += f"{', and time goes round' if reach.circular else ''}: {reach}"
    way = (
        "make reach return more frames, or circular=True where the first frame follows the last; "
        "an operator that differs from frame to frame has at(frames, count), which returns the "
        "operator for some frames"
    )
    with _told(operator, law, way):
        measured = linear.forward(whole)
        for window in windows_of(operator, count, 1, reach.frames):
            part = window.problem(linear, measured, 0.0)
            error = apart(part.operator.forward(window.cut(whole)), part.measurement)
            seen = (
                f"computed from those frames alone, frame {window.first} changes by a share of "
                f"{error:.1e}; rounding is {enough:.0e}"
            )
            require(error <= enough, operator, law, seen, way)
        if not any_number:
            some = operator_at(operator, range(1, count), count)
            _check_some_frames(some, whole[1:], draws, enough)


def _is_alike(part: Any) -> bool:
    """Whether a part that could differ from frame to frame is the same for all."""
    try:
        return part.at((0,), 1) is part
    except Exception:  # it has some number of frames, or at is wrong, which is looked at later
        return False


@contextmanager
def _told(operator: object, law: str, way_out: str) -> Iterator[None]:
    """What somebody's own part raises is a broken law."""
    try:
        yield
    except (InputError, ContractError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise ContractError(operator, law, f"{type(error).__name__}: {error}", way_out) from error


def _check_some_frames(part: Any, video: Tensor, draws: Draws, enough: float) -> None:
    """An operator cut to some frames keeps the laws of operators, too."""
    measured = part.forward(video)
    _check_transpose(part, video, measured, draws, 0)
    if isinstance(part, Factored):
        _check_factors(part, video, measured, enough)


def _check_transpose(
    operator: Any, video: Tensor, measured: Tensor, draws: Draws, seed: int
) -> None:
    enough = rounding(draws.dtype)
    gap = check_adjoint(operator, video.shape, dtype=draws.dtype, device=draws.device, seed=seed)
    if gap <= enough:
        return
    factors = []
    for y in (measured, draws.noise(measured.shape)):
        left = (measured.double() * y.double()).sum()
        factors.append((left / (video.double() * operator.adjoint(y).double()).sum()).item())
    # Nearly equal sides have nearly equal factors, whatever is wrong.
    seen = f"the two sides lie {gap:.1e} apart, as a share of their size"
    if abs(factors[0] - factors[1]) <= 1e-4 * abs(factors[0] - 1):
        seen = f"the first is {factors[0]:.4g} times the second, for any video and measurement"
        way_out = f"multiply adjoint by {factors[0]:.10g}, the factor between the two sides"
    else:
        way_out = (
            "write adjoint as forward's steps in reverse order, each transposed: what forward "
            "gathers, adjoint scatters, with the same weights, borders included "
            "(visionxl.operators.check_adjoint measures the gap)"
        )
        if gap < 1e-5:
            way_out = f"use forward's weights unrounded (weights.float() rounds them); or {way_out}"
    raise ContractError(
        operator,
        "adjoint is the transpose of forward, <A x, y> = <x, A^T y>",
        f"{seen}; rounding is {enough:.0e}",
        way_out,
    )


def _check_factors(operator: Any, video: Tensor, measured: Tensor, enough: float) -> None:
    law = "factors are those of forward, A = mask * (T (x) C (x) H (x) W)"
    way_out = (
        "return Factors((T, C, H, W), mask): float64 matrices, measured size x video size, None "
        "for an axis that forward leaves alone; or return None"
    )
    with _told(operator, law, way_out):
        factors = operator.factors(tuple(video.shape))
    if factors is None:
        return
    try:
        product = _product(factors, video)
    except (AttributeError, RuntimeError, TypeError, ValueError) as error:
        sizes = [m if m is None else tuple(m.shape) for m in getattr(factors, "axes", ())]
        seen = f"{type(factors).__name__} of matrices {sizes} for a video of {tuple(video.shape)}"
        raise ContractError(operator, law, f"{seen} ({error})", way_out) from error
    require(
        product.shape == measured.shape,
        operator,
        law,
        f"their product has shape {tuple(product.shape)}, and forward {tuple(measured.shape)}",
        way_out,
    )
    error = apart(measured, product)
    seen = f"their product lies {error:.1e} away from forward, as a share of its size"
    require(error <= enough, operator, law, seen, way_out)
    try:
        hash(operator)
    except TypeError as error:
        raise ContractError(
            operator,
            "an operator with factors has a hash, for its decomposition is kept",
            str(error),
            FROZEN,
        ) from error
    # What has a shape is a tensor or an array: a decomposition depends on it.
    hidden = [n for n in _not_compared(operator) if hasattr(getattr(operator, n, None), "shape")]
    require(
        not hidden,
        operator,
        "operators with factors that are equal measure alike, for a decomposition is kept",
        f"{', '.join(hidden)} is left out of the comparison",
        "compare the whole value by identity, attrs.frozen(eq=False) or dataclass(eq=False), or "
        "write __eq__ and __hash__",
    )


def _not_compared(operator: Any) -> Iterator[str]:
    """The fields in which two equal values may differ."""
    kind = type(operator)
    if kind.__eq__ is object.__eq__:  # equal is itself alone
        return
    if has(kind):
        yield from (field.name for field in fields(kind) if not field.eq)
    elif dataclasses.is_dataclass(kind):
        yield from (field.name for field in dataclasses.fields(kind) if not field.compare)


def _product(factors: Any, video: Tensor) -> Tensor:
    product = video
    for axis, matrix in enumerate(factors.axes):
        if matrix is not None:
            product = along(product, axis, matrix.to(video))
    return product if factors.mask is None else product * factors.mask.to(video)


def _check_nonlinear(operator: Any, shape: Sequence[int], draws: Draws, seed: int) -> None:
    video, direction = 0.5 * draws.noise(shape), draws.noise(shape)
    before = video.clone()
    jacobian = operator.linearize(video)
    require(
        torch.equal(video, before),
        operator,
        "linearize leaves its video alone",
        "the call changed its values",
        "work on a copy (video.clone()), and avoid methods that end in _",
    )
    require(
        isinstance(jacobian, ForwardOperator),
        operator,
        "linearize returns a linear operator",
        f"it returned {type(jacobian).__name__}",
        "return an object with the methods forward and adjoint",
    )
    step = torch.finfo(draws.dtype).eps ** (1 / 3)
    ahead, behind = (
        operator.forward(video + step * direction),
        operator.forward(video - step * direction),
    )
    # Where the curve has a kink, as that of a sensor which saturates, a few values straddle it.
    slopes, found = (ahead - behind) / (2 * step), jacobian.forward(direction)
    require(
        bool((ahead != behind).any()) or not bool(found.any()),
        operator,
        "linearize is the derivative, f(x + h v) = f(x) + h J v + ...",
        "forward answers the same near a video, so it is constant in pieces, and J v is not 0",
        "leave rounding out of forward, and count it as noise: steps of d are d / sqrt(12)",
    )
    require(
        bool(slopes.isfinite().all()) and bool(found.isfinite().all()),
        operator,
        "forward and linearize are finite a little beyond [-1, 1] too, where estimates go",
        "for values up to 3 they answered NaN or infinity",
        "go on beyond the range as visionxl.operators.Gamma does, by the tangent at its end",
    )
    off = (slopes - found).abs().flatten()
    kinks = max(KINKS, 4 * step)  # a longer step straddles more
    smooth = off.argsort()[: len(off) - math.ceil(kinks * len(off))]
    enough, error = step**1.2, apart(slopes.flatten()[smooth], found.flatten()[smooth])
    require(
        error <= enough,
        operator,
        "linearize is the derivative, f(x + h v) = f(x) + h J v + ...",
        f"J v lies {error:.1e} away from central differences, as a share of their size, where "
        f"{enough:.0e} is their own error",
        "derive forward again, at the video that linearize is given",
    )
    operator.linearize(0.5 * video)
    require(
        torch.equal(jacobian.forward(direction), found),
        operator,
        "a derivative stays that at its own video",
        "after linearize was called for another video, the first derivative answers otherwise",
        "give the derivative what it needs, and keep nothing of a video in the operator",
    )
    for kind in dict.fromkeys((draws.dtype, torch.float32)):
        _check_kind(operator.linearize(video.to(kind)), video.to(kind))
    _check_linear(jacobian, shape, draws, seed)


def _check_refusal(operator: Any, video: Tensor) -> None:
    law = "forward refuses a shape that it cannot take with InputError"
    way_out = "raise visionxl.errors.InputError, and name the shape and what is expected"
    shape = tuple(video.shape)
    try:
        operator.forward(video)
    except InputError:
        return
    except Exception as error:
        seen = f"it raised {type(error).__name__} for {shape}"
        raise ContractError(operator, law, seen, way_out) from error
    raise ContractError(operator, law, f"it took {shape}", way_out)
