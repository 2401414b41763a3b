"""Checks of a problem and a method before a run."""

import math
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from visionxl.errors import InputError, name_of
from visionxl.protocols import (
    DataConsistency,
    ForwardOperator,
    Initializer,
    InverseProblem,
    NonlinearOperator,
    State,
)
from visionxl.solvers.answers import check_answer
from visionxl.solvers.cg import dot
from visionxl.solvers.finite import is_finite
from visionxl.solvers.gain import gain_of
from visionxl.validators import left_alone

LARGE = 8.0  # times what a video of ones is measured as


def check_problem(problem: InverseProblem) -> float:
    """The operator's gain (:func:`~visionxl.solvers.gain.gain_of`).

    Raises InputError, naming a fix, for an unusable operator or measurement, and warns of an
    adjoint that is not the transpose of forward, tested by ``|A^T y|^2 = <A A^T y, y>``.
    """
    operator, measurement = problem.operator, problem.measurement
    if isinstance(operator, type):
        raise InputError(f"operator {operator.__name__} is a class: make a value of it")
    if not isinstance(operator, ForwardOperator | NonlinearOperator):
        raise InputError(
            f"operator {name_of(operator)} is no forward operator: it needs the methods "
            "forward(video) and adjoint(measurement), or forward, linearize and lift"
        )
    if measurement.dtype.itemsize < 4:
        raise InputError(
            f"measurement is {measurement.dtype}, too coarse to solve for a video: give "
            "measurement.float(); the prior's networks may have any dtype"
        )
    if not measurement.numel():
        raise InputError(
            f"measurement of shape {tuple(measurement.shape)} has no values: give some frames"
        )
    if not is_finite(measurement):
        wrong = ~torch.isfinite(measurement)
        frame = int(wrong.reshape(len(wrong), -1).any(1).nonzero()[0]) if wrong.ndim else 0
        raise InputError(
            f"measurement has {int(wrong.sum())} values that are not finite (NaN or infinity), the "
            f"first in frame {frame}: set them to 0 (torch.nan_to_num), and exclude them with a "
            "Mask that is 0 there"
        )
    back = "adjoint" if isinstance(operator, ForwardOperator) else "lift"
    with left_alone(operator, back, "measurement", measurement):
        video = getattr(operator, back)(measurement)
    check_answer(operator, back, measurement, video)
    _check_sound(operator, back, video)
    if video.ndim != 4:
        raise InputError(
            f"{name_of(operator)}: {back} returned shape {tuple(video.shape)}; make it return a "
            "video of 4 dimensions (frames, channels, height, width)"
        )
    if video.shape[-1] in (1, 3) and video.shape[1] > 4:
        raise InputError(
            f"measurement of shape {tuple(measurement.shape)} is of a video of "
            f"{tuple(video.shape)}: expected (frames, channels, height, width); use "
            "permute(0, 3, 1, 2) where channels are last"
        )
    with left_alone(operator, "forward", "video", video):
        again = operator.forward(video)
    check_answer(operator, "forward", measurement, again)
    _check_sound(operator, "forward", again)
    if again.shape != measurement.shape:
        y, made = tuple(measurement.shape), tuple(again.shape)
        gray = len(y) == len(made) == 4 and y[1] == 3 and made[1] == 1
        if gray and (y[0], *y[2:]) == (made[0], *made[2:]):
            raise InputError(
                f"measurement has shape {y}, and {name_of(operator)} measures one channel: a gray "
                "file is read as three equal ones, so give measurement[:, :1]; for restore write "
                "that as .safetensors (write_clip)"
            )
        raise InputError(
            f"measurement has shape {tuple(measurement.shape)}, but forward of {name_of(operator)} "
            f"turns a video of {tuple(video.shape)}, which its {back} made from it, into "
            f"{tuple(again.shape)}: give a measurement of this operator, or fix forward and "
            f"{back} so that their shapes agree"
        )
    if isinstance(operator, ForwardOperator):
        _check_transpose(operator, measurement, video, again)
    gain = gain_of(operator, video)
    _check_range(measurement, gain)
    _check_noise(problem.noise_std, gain)
    return gain


def _check_range(measurement: Tensor, gain: float) -> None:
    """Warn of a measurement that no video in [-1, 1] has, such as one in grey levels."""
    size = math.sqrt(dot(measurement, measurement) / measurement.numel())
    if size > LARGE * gain:
        warnings.warn(
            f"measurement has the root mean square {size:.4g}, but for videos in [-1, 1] it is "
            "about 1 at most: for values from 0 to 255 give measurement / 127.5 - 1, or make the "
            "operator measure in the measurement's unit (Scale(127.5) @ ...)",
            stacklevel=5,
        )


def _check_noise(noise_std: float, gain: float) -> None:
    """Warn of noise that would drown every video, such as that of grey levels."""
    if noise_std > gain:
        warnings.warn(
            f"noise {noise_std:g} is more than the measurement of a video of ones ({gain:.4g}): "
            "it is a standard deviation in the measurement's own unit; for 8-bit grey levels give "
            f"noise / 127.5, here {noise_std / 127.5:.2g}",
            stacklevel=5,
        )


def _check_sound(operator: object, method: str, answer: Tensor) -> None:
    if not is_finite(answer):
        raise InputError(
            f"{name_of(operator)}: {method} returned values that are not finite (NaN or infinity) "
            "for finite ones: look for a division by 0 in it, or for memory that it never writes"
        )


def _check_transpose(operator: ForwardOperator, y: Tensor, back: Tensor, again: Tensor) -> None:
    left, right = dot(again, y), dot(back, back)
    if _near(left, right, again, y):
        # An adjoint that loses a border, a frame or a colour passes that test, but not this one.
        ones = torch.ones_like(back)
        rounding = 100 * torch.finfo(y.dtype).eps * math.sqrt(ones.numel() * dot(back, back))
        right, ones = dot(ones, back), operator.forward(ones)
        left = dot(ones, y)
        # For an operator that maps ones to 0, such as differences, both are 0 up to rounding.
        if abs(left - right) <= rounding or _near(left, right, ones, y):
            return
        told = f"<A 1, y> is {left:.6g} and the sum of A^T y is {right:.6g}"
    else:
        told = f"<A A^T y, y> is {left:.6g} and |A^T y|^2 is {right:.6g}"
    warnings.warn(
        f"adjoint of {name_of(operator)} is not the transpose of its forward: {told}, which would "
        "be equal; or its forward is not linear (adds a constant, or clips): "
        "visionxl.testing.check_operator says what to fix",
        stacklevel=5,
    )


def _near(left: float, right: float, answer: Tensor, y: Tensor) -> bool:
    size = math.sqrt(dot(answer, answer) * dot(y, y)) + abs(right)
    return abs(left - right) <= max(1e-3, torch.finfo(y.dtype).eps ** 0.5) * size


def check_given(**parts: tuple[object, type, str]) -> None:
    """Raise InputError for an argument that is not of its kind, or is a class and no value.

    Args:
        parts: by the argument's name: what was given, its kind, and what to give instead.
    """
    for name, (given, kind, way_out) in parts.items():
        if isinstance(given, type):
            what = given.__name__
            raise InputError(f"{name} {what} is a class, not a value of it: {way_out}")
        if not isinstance(given, kind):
            wanted = sorted(getattr(kind, "__abstractmethods__", ()))
            missing = ", ".join(member for member in wanted if not hasattr(given, member))
            lacks = f", as it has no {missing}" if missing else ""
            what = getattr(given, "__name__", type(given).__name__)
            raise InputError(f"{name} {what} is no {kind.__name__}{lacks}: {way_out}")


def check_parts(sampler: object) -> None:
    """Raise InputError for a part of a method that is not of its kind."""
    kinds = {"initializer": Initializer, "consistency": DataConsistency, "finish": DataConsistency}
    for name, kind in kinds.items():
        part = getattr(sampler, name)
        if isinstance(part, type):
            raise InputError(f"{name} {part.__name__} is a class: add ()")
        if not isinstance(part, kind) and not (name == "finish" and part is None):
            method = "start" if kind is Initializer else "correct"
            raise InputError(
                f"{name} {name_of(part)} has no method {method}: give a value with one"
            )
    nothing = {
        "low_pass": "unfiltered",
        "renoise": "DDIMNoise(0.0)",
        "condition": "unconditioned",
    }
    for name, none in nothing.items():
        part = getattr(sampler, name)
        if isinstance(part, type) or not callable(part):
            what = getattr(part, "__name__", name_of(part))
            raise InputError(
                f"{name} {what} is no function: give one, or visionxl.solvers.{none} for none"
            )


def check_linear(problem: InverseProblem, part: object, way: str = "") -> None:
    """Raise InputError for an operator that is not linear, if a part needs a linear one.

    A consistency that does not sets ``takes_nonlinear = True``, as :class:`Linearized` does.

    Args:
        problem: with the operator.
        part: that is to solve it.
        way: further advice, appended to the message.
    """
    operator = problem.operator
    linear = isinstance(operator, ForwardOperator)
    if not linear and not getattr(part, "takes_nonlinear", False):
        raise InputError(
            f"{name_of(operator)} is not linear, and {type(part).__name__} needs one that is: use "
            "the method gauss_newton, or vision_xl(consistency=GaussNewton()); a part of your own "
            f"that calls operator.linearize itself needs takes_nonlinear = True{way}"
        )


def check_state(state: object, times: Sequence[float], frames: int) -> None:
    """Raise InputError for a state that belongs to a run of other times or of other frames."""
    if not isinstance(state, State):
        raise InputError(
            f"state {type(state).__name__} is no State: give a step's attribute following, or None"
        )
    if len(state.latent) != frames:
        raise InputError(
            f"state has latents of {len(state.latent)} frames, and the problem {frames}: give a "
            "state of a run of this problem"
        )
    if not 0 <= state.index < len(times):
        raise InputError(
            f"state is before step {state.index}, and the sampler has the steps 0 to "
            f"{len(times) - 1}: give a state of a run of this sampler"
        )
    if state.time != times[state.index]:
        raise InputError(
            f"state is at time {state.time:g}, and step {state.index} of the sampler at "
            f"{times[state.index]:g}: give a state of a run of this sampler"
        )
