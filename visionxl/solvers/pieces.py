"""Whether an operator measures the pieces of a clip as it measures the whole."""

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Generator, Tensor

from visionxl.errors import InputError, name_of
from visionxl.operators.composition import find_parts
from visionxl.operators.cutting import operator_at, uncut
from visionxl.operators.reach import reach_of
from visionxl.randomness import draw_uniform
from visionxl.solvers.hosted_operator import HostedOperator

LARGEST = 10**8  # values: a larger video is not measured as a whole for comparison


def check_pieces(operator: Any, shape: Sequence[int], like: Tensor) -> None:
    """Raise InputError for an operator that measures a piece differently from the whole clip.

    One frame, measured in two pieces that begin a frame apart, is compared; of an operator that is
    not the library's also the whole measurement, of noise, unless the video is very large.

    Args:
        operator: of the clip, whose reach in time is known.
        shape: of the clip's video.
        like: a tensor of the dtype to compute in.
    """
    operator, _ = uncut(operator)
    count, chance = shape[0], Generator().manual_seed(0)
    reach = reach_of(operator).frames
    frames = 2 * reach + 2
    if count >= frames:
        video = draw_uniform(chance, frames, *shape[1:]).to(like)
        parts = (operator_at(operator, range(first, frames), count) for first in (0, 1))
        whole, later = (part.forward(x) for part, x in zip(parts, (video, video[1:]), strict=True))
        _check_same(operator, whole[reach + 1], later[reach])
    if not is_own(operator) or prod(shape) > LARGEST:
        return
    video = draw_uniform(chance, *shape).to(like)
    whole = operator.forward(video)
    for some, piece in HostedOperator(operator, str(like.device)).pieces(video):
        _check_same(operator, whole[some], piece)


def is_own(operator: Any) -> bool:
    """Whether any part of an operator is user-defined, not the library's."""
    modules = (type(part).__module__ for part in find_parts(operator, object))
    return any(module.partition(".")[0] != "visionxl" for module in modules)


def _check_same(operator: Any, one: Tensor, same: Tensor) -> None:
    if (one - same).norm() > max(1e-5, 10 * torch.finfo(one.dtype).eps) * one.norm():
        raise InputError(
            f"{name_of(operator)} does not measure some frames as it measures them in the whole "
            "clip, so a clip cannot be cut: its reach() gives fewer frames than it sees, or it "
            "measures differently at another time and lacks at(frames, count), which returns the "
            "operator for some frames, or that is wrong (visionxl.testing.check_operator, with as "
            "many frames as the clip has, checks it)"
        )
