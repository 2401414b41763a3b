"""Correlation along one axis or two, and its exact adjoint.

A separable correlation is a product with a matrix per axis, frame by frame: quicker than a shifted
addition for each of the many taps of a blur, most so on small frames. Others are shifted additions,
in place.
"""

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from visionxl.operators.boundary import OUTSIDE, Boundary, extension
from visionxl.operators.differentiable import by_adjoint

Taps = Sequence[float]


@lru_cache(maxsize=64)  # every frame asks for them, and a GPU would wait for each
def _places(index: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """The source of every position, 0 outside; the positions outside; and those inside."""
    inside = [k for k, i in enumerate(index) if i != OUTSIDE]
    outside = [k for k, i in enumerate(index) if i == OUTSIDE]
    with torch.inference_mode(False):
        sources, *places = (
            torch.tensor(numbers, dtype=torch.long, device=device)
            for numbers in ([max(i, 0) for i in index], outside, inside)
        )
    return sources, places[0], places[1]


def extend(tensor: Tensor, dim: int, index: Sequence[int]) -> Tensor:
    """``tensor`` with ``index`` as the source of every position along ``dim``."""
    sources, outside, _ = _places(tuple(index), tensor.device)
    extended = tensor.index_select(dim, sources)
    return extended.index_fill_(dim, outside, 0) if len(outside) else extended


def fold(extended: Tensor, dim: int, index: Sequence[int], size: int) -> Tensor:
    """The adjoint of :func:`extend`: every position is added to its source."""
    sources, outside, kept = _places(tuple(index), extended.device)
    if len(outside):
        extended, sources = extended.index_select(dim, kept), sources[kept]
    shape = list(extended.shape)
    shape[dim] = size
    return extended.new_zeros(shape).index_add_(dim, sources, extended)


def correlate_frames(video: Tensor, taps: Taps, boundary: Boundary) -> Tensor:
    """Correlation along time: ``out[t] = sum_k taps[k] * video[t + k - centre]``."""
    return _both_ways(video, _frames, _frames_adjoint, taps, boundary)


def correlate_frames_adjoint(video: Tensor, taps: Taps, boundary: Boundary) -> Tensor:
    """The adjoint of :func:`correlate_frames`."""
    return _both_ways(video, _frames_adjoint, _frames, taps, boundary)


def correlate_separable(video: Tensor, taps: Taps, boundary: Boundary) -> Tensor:
    """The same taps along height and then width, frame by frame."""
    return _both_ways(video, _separable, _separable_adjoint, taps, boundary)


def correlate_separable_adjoint(video: Tensor, taps: Taps, boundary: Boundary) -> Tensor:
    """The adjoint of :func:`correlate_separable`."""
    return _both_ways(video, _separable_adjoint, _separable, taps, boundary)


def correlate_plane(video: Tensor, kernel: Sequence[Taps], boundary: Boundary) -> Tensor:
    """A two-dimensional kernel (rows of taps, both sizes odd), frame by frame; zeros are free."""
    return _both_ways(video, _plane, _plane_adjoint, kernel, boundary)


def correlate_plane_adjoint(video: Tensor, kernel: Sequence[Taps], boundary: Boundary) -> Tensor:
    """The adjoint of :func:`correlate_plane`."""
    return _both_ways(video, _plane_adjoint, _plane, kernel, boundary)


def _both_ways(video: Tensor, there: Any, back: Any, taps: Any, boundary: Boundary) -> Tensor:
    # In-place operations cannot be differentiated automatically: gradients use the adjoint.
    there, back = (partial(way, taps=taps, boundary=boundary) for way in (there, back))
    return by_adjoint(video, there, back)


def _frames(video: Tensor, taps: Taps, boundary: Boundary, *, adjoint: bool = False) -> Tensor:
    index = extension(len(video), len(taps) // 2, len(taps) // 2, boundary)
    result = torch.zeros_like(video)
    for t in range(len(video)):
        for k, tap in enumerate(taps):
            if index[t + k] != OUTSIDE:
                target, source = (index[t + k], t) if adjoint else (t, index[t + k])
                result[target].add_(video[source], alpha=tap)
    return result


_frames_adjoint = partial(_frames, adjoint=True)


def correlation_matrix(taps: Taps, size: int, boundary: Boundary) -> Tensor:
    """The matrix of a correlation along an axis of ``size`` positions, in float64."""
    reach = len(taps) // 2
    index = torch.tensor(extension(size, reach, reach, boundary))
    sources = index.unfold(0, size, 1)  # of tap k, for every position
    values = torch.tensor(taps, dtype=torch.float64)[:, None].where(sources != OUTSIDE, 0.0)
    places = torch.arange(size).expand_as(sources), sources.clamp(min=0)
    matrix = torch.zeros(size, size, dtype=torch.float64)
    return matrix.index_put_(places, values, accumulate=True)


@lru_cache(maxsize=16)  # a varying blur has several
def matrix_on(
    taps: tuple[float, ...],
    size: int,
    boundary: Boundary,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    """:func:`correlation_matrix` in a dtype and on a device, and kept."""
    return correlation_matrix(taps, size, boundary).to(device, dtype)


def _separable(video: Tensor, taps: Taps, boundary: Boundary, *, adjoint: bool = False) -> Tensor:
    rows, columns = (
        matrix_on(tuple(taps), size, boundary, video.dtype, video.device)
        for size in video.shape[-2:]
    )
    rows, columns = (rows.T, columns) if adjoint else (rows, columns.T)
    result = torch.empty_like(video)
    for frame, out in zip(video, result, strict=True):
        out.copy_(rows @ (frame @ columns))
    return result


_separable_adjoint = partial(_separable, adjoint=True)


def _plane(video: Tensor, taps: Sequence[Taps], boundary: Boundary) -> Tensor:
    (height, width), (up, left) = video.shape[-2:], (len(taps) // 2, len(taps[0]) // 2)
    rows = extension(height, up, up, boundary)
    columns = extension(width, left, left, boundary)
    result = torch.zeros_like(video)
    for frame, out in zip(video, result, strict=True):
        extended = extend(extend(frame, -2, rows), -1, columns)
        for i, row in enumerate(taps):
            for j, tap in enumerate(row):
                if tap != 0:
                    out.add_(extended[..., i : i + height, j : j + width], alpha=tap)
    return result


def _plane_adjoint(video: Tensor, taps: Sequence[Taps], boundary: Boundary) -> Tensor:
    (height, width), (up, left) = video.shape[-2:], (len(taps) // 2, len(taps[0]) // 2)
    rows = extension(height, up, up, boundary)
    columns = extension(width, left, left, boundary)
    result = torch.empty_like(video)
    for frame, out in zip(video, result, strict=True):
        extended = frame.new_zeros(*frame.shape[:-2], len(rows), len(columns))
        for i, row in enumerate(taps):
            for j, tap in enumerate(row):
                if tap != 0:
                    extended[..., i : i + height, j : j + width].add_(frame, alpha=tap)
        out.copy_(fold(fold(extended, -1, columns, width), -2, rows, height))
    return result
