"""Whether an operator, cut in time, is the operator."""

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

LARGEST = 10**8  # values of a video that is measured as a whole, to be compared


def check_pieces(operator: Any, shape: Sequence[int], like: Tensor) -> None:
    """Raise InputError for an operator whose pieces, some frames at a time, are not the operator.

    Two frames' times are compared. Of an operator that is not the library's the whole measurement
    is, of noise, unless the video is very large.

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
    """Whether a part of an operator is somebody's own, and no part of the library."""
    modules = (type(part).__module__ for part in find_parts(operator, object))
    return any(module.partition(".")[0] != "visionxl" for module in modules)


def _check_same(operator: Any, one: Tensor, same: Tensor) -> None:
    if (one - same).norm() > max(1e-5, 10 * torch.finfo(one.dtype).eps) * one.norm():
        raise InputError(
            f"{name_of(operator)} does not measure some frames as it measures them in the whole "
            "clip, so a clip cannot be cut: its reach() tells fewer frames than it sees, or it "
            "measures otherwise at another time and lacks at(frames, count), which tells it for "
            "some frames, or that is wrong (visionxl.testing.check_operator, with as many frames "
            "as the clip has, examines it)"
        )
