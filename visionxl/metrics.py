"""Metrics of a restoration against the truth; each docstring has the definition."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from visionxl.errors import InputError
from visionxl.protocols import Video

RANGE = 2.0  # of values in [-1, 1]
WINDOW = 11  # pixels a side that SSIM looks at
ALEXNET = 31  # pixels a side, of which its strides and pools leave one value


def check_same_shape(video: Tensor, truth: Tensor) -> None:
    """Raise InputError where two videos cannot be compared."""
    for name, given in (("video", video), ("truth", truth)):
        if not isinstance(given, Tensor):
            raise InputError(
                f"{name} is a {type(given).__name__}: expected a tensor (frames, channels, height, "
                "width)"
            )
        if given.ndim != 4 or not given.is_floating_point():
            raise InputError(
                f"{name} is {given.dtype} of shape {tuple(given.shape)}: expected floating point "
                "numbers in [-1, 1], (frames, channels, height, width)"
            )
    if video.shape != truth.shape:
        raise InputError(
            f"video of {tuple(video.shape)} and truth of {tuple(truth.shape)}: expected the same "
            "frames, channels, height and width; for a measurement use visionxl.operators.lift("
            "operator, measurement), and cut or resize a video (visionxl.sizes)"
        )


def psnr(video: Video, truth: Video) -> float:
    """Peak signal-to-noise ratio in dB, averaged over the frames.

    For each frame it is ``10 log10(2^2 / mean square error)``; both are clipped to [-1, 1] first.
    """
    check_same_shape(video, truth)
    return _peak_ratio(_apart(video, truth).square().mean(dim=(1, 2, 3)))


def difference_psnr(video: Video, truth: Video) -> float:
    """Flicker: the PSNR, in dB, of the differences between consecutive frames.

    ``x[t+1] - x[t]`` is compared with that of the truth, both clipped to [-1, 1] first; NaN for a
    single frame.
    """
    check_same_shape(video, truth)
    if len(video) < 2:
        return float("nan")
    difference = _apart(video, truth).diff(dim=0)
    return _peak_ratio(difference.square().mean(dim=(1, 2, 3)))


def _apart(video: Video, truth: Video) -> Video:
    return _fine(video).clamp(-1, 1).sub_(_fine(truth).clamp(-1, 1))


def _peak_ratio(errors: Tensor) -> float:
    return (10 * torch.log10(RANGE**2 / errors.double())).mean().item()


def ssim(video: Video, truth: Video) -> float:
    """Structural similarity (Wang et al. 2004), -1 to 1, averaged over the frames.

    It uses the Gaussian window of 11 pixels, sigma 1.5, on values shifted to [0, 2].
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    check_same_shape(video, truth)
    if min(video.shape[-2:]) < WINDOW:
        raise InputError(
            f"video has frames of {video.shape[-2]}x{video.shape[-1]}: SSIM looks at {WINDOW} "
            "pixels a side at once; give larger ones"
        )
    if not len(video):
        return float("nan")
    values = [
        structural_similarity_index_measure(
            frame.clamp(-1, 1).add(1).unsqueeze(0),
            true.clamp(-1, 1).add(1).unsqueeze(0),
            data_range=RANGE,
        )
        for frame, true in zip(_fine(video), _fine(truth), strict=True)
    ]
    return float(torch.stack([torch.as_tensor(value) for value in values]).mean())


def _fine(video: Video) -> Video:
    """In float32, where it is in half precision: squares underflow, and variances cancel."""
    video = video.detach()
    return video.float() if video.dtype.itemsize < 4 else video


def lpips(video: Video, truth: Video) -> float | None:
    """Learned perceptual distance (Zhang et al. 2018, AlexNet), averaged over the frames.

    It is 0 for equal videos; gray frames are used as three equal channels. None if the weights are
    not on this machine, because nothing is downloaded, and for frames that the network does not
    take: below 31 pixels a side, or with other than 1 or 3 channels.
    """
    weights = Path(torch.hub.get_dir()) / "checkpoints"
    measure = _lpips_network() if list(weights.glob("alexnet-owt-*.pth")) else None
    if measure is None:
        return None
    check_same_shape(video, truth)
    if min(video.shape[-2:]) < ALEXNET or video.shape[1] not in (1, 3):
        return None
    values = [
        measure(_for_alexnet(frame), _for_alexnet(true)).mean().item()
        for frame, true in zip(video, truth, strict=True)
    ]
    return sum(values) / len(values) if values else float("nan")


def _for_alexnet(frame: Tensor) -> Tensor:
    """One frame where the network is, in its dtype and channels."""
    return frame.to("cpu", torch.float32).clamp(-1, 1).expand(1, 3, -1, -1)


@cache
def _lpips_network() -> Callable[[Tensor, Tensor], Tensor] | None:
    try:
        from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

        return LearnedPerceptualImagePatchSimilarity("alex")
    except ImportError:  # torchvision is missing
        return None
