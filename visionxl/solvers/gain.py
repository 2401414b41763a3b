"""The gain of an operator, the unit of a measurement, and whether it shows fine detail."""

import math

import torch
from torch import Tensor

from visionxl.operators.finite import unsolved
from visionxl.protocols import ForwardOperator, NonlinearOperator, Video
from visionxl.randomness import draw_noise

BLIND = 1e-5  # times what white noise is measured as: less is rounding error of a cancellation
PROBE = 1728  # a seed not used for masks: noise drawn with a mask's seed would depend on it


def gain_of(operator: ForwardOperator | NonlinearOperator, video: Video) -> float:
    """The operator's gain: the root mean square of what a video of ones is measured as.

    1 for a blur, an average, a pooling or an orthonormal transform, the root of the known share for
    a mask, 127.5 times as much where values are counted in grey levels. Where ``A`` takes a video
    of ones to 0, as one of differences does, white noise is measured instead; for ``A = 0`` it is
    1.
    """
    even = _size(operator, torch.ones_like(video))
    if isinstance(operator, NonlinearOperator):  # which need not take values beyond [-1, 1]
        return even or 1.0
    noise = _size(operator, _still_noise(video))
    return (even if even > BLIND * noise else noise) or 1.0


def unit_of(operator: ForwardOperator | NonlinearOperator, video: Video) -> float:
    """The measurement's unit: :func:`gain_of` over the values that see any of the video.

    So it is 1 for a mask, too.

    For an operator that is not linear it is that of the derivative at the video: 1 where a clipping
    does not clip.
    """
    if isinstance(operator, NonlinearOperator):
        operator = operator.linearize(video)
    gain = gain_of(operator, video)
    seeing = operator.forward(_still_noise(video)) != 0
    size = _root_mean_square(operator.forward(torch.ones_like(video))[seeing])
    return size if size >= gain else gain


def is_fine(operator: ForwardOperator, video: Video, gain: float) -> bool:
    """Whether fine detail is measured: white noise more than a third as strongly as an even grey.

    The noise is the same in all frames. A mask or an average over time measures it as strongly, a
    pooling of 4 x 4 pixels a quarter as strongly, a blur of 3 pixels a tenth.

    Args:
        operator: of the measurement.
        video: for its size.
        gain: the operator's (:func:`gain_of`).
    """
    return _size(operator, _still_noise(video)) > gain / 3


def _still_noise(video: Video) -> Video:
    """White noise of the video's size, the same in all frames and in every run."""
    noise = draw_noise(video, 1, torch.Generator().manual_seed(PROBE))
    return noise.expand_as(video).contiguous()  # operators may view what they measure


def _size(operator: ForwardOperator | NonlinearOperator, video: Video) -> float:
    """The root mean square of what a video is measured as, which is finite."""
    size = _root_mean_square(operator.forward(video))
    if not math.isfinite(size):
        raise unsolved(operator, video)
    return size


def _root_mean_square(measured: Tensor) -> float:
    return measured.norm().item() / math.sqrt(max(measured.numel(), 1))
