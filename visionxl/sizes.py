"""Sizes of frames: the next multiple, fitting a video to a size, and covering one."""

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from visionxl.errors import InputError
from visionxl.operators.boundary import extension
from visionxl.operators.filtering import extend
from visionxl.protocols import Video
from visionxl.validators import check_count


def next_multiple(size: int, multiple: int) -> int:
    """The smallest multiple of ``multiple`` that is at least ``size``."""
    return -(-size // multiple) * multiple


def fit_to(
    video: Video, height: int, width: int
) -> Float[Tensor, "frames channels new_height new_width"]:
    """Centre-crop what is too large, and reflect beyond the bottom and right what is too small.

    Args:
        video: (frames, channels, height, width).
        height: wanted, in pixels.
        width: wanted, in pixels.
    """
    for name, wanted in (("height", height), ("width", width)):
        check_count(name, wanted)
    if not isinstance(video, Tensor) or video.ndim != 4:
        seen = tuple(video.shape) if isinstance(video, Tensor) else type(video).__name__
        raise InputError(f"video {seen}: expected a tensor (frames, channels, height, width)")
    for dim, wanted in ((-2, height), (-1, width)):
        size = video.shape[dim]
        if size > wanted:
            video = video.narrow(dim, (size - wanted) // 2, wanted)
        elif size < wanted:
            video = extend(video, dim, extension(size, 0, wanted - size, "reflect"))
    return video


def cover(
    video: Video, height: int, width: int
) -> Float[Tensor, "frames channels new_height new_width"]:
    """Scale until the frames cover a size, and centre-crop them to it.

    The scaling is bicubic and antialiased, one factor for both axes; values are clipped to
    [-1, 1] after it.

    Args:
        video: (frames, channels, height, width) in [-1, 1].
        height: wanted, in pixels.
        width: wanted, in pixels.
    """
    if video.shape[-2:] == (height, width):
        return video
    scale = max(height / video.shape[-2], width / video.shape[-1])
    covering = [max(1, round(size * scale)) for size in video.shape[-2:]]
    scaled = interpolate(video, covering, mode="bicubic", antialias=True)
    return fit_to(scaled.clamp(-1, 1), height, width)
