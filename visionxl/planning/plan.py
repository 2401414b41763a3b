"""How a run uses memory, as a value."""

from typing import Any

import torch
from attrs import evolve, field, frozen
from attrs.validators import optional

from visionxl.errors import InputError
from visionxl.solvers.placing import DEVICE_CORE
from visionxl.validators import flag, from_one, one_of

ATTENTION = ("fused", "sliced")
LEAST_TILE = 64  # rows: smaller strips save nothing worth having
MOST_TILE = 256


def _dtype(_: object, __: object, value: object) -> None:
    if value is None or (isinstance(value, torch.dtype) and value.is_floating_point):
        return
    raise InputError(f"dtype {value!r} is no floating point type: give torch.bfloat16, or None")


def _device(value: Any) -> torch.device:
    try:
        return torch.device(value)
    except (RuntimeError, TypeError):
        raise InputError(f"video_device {value!r} is no device: give 'cpu' or 'cuda'") from None


@frozen
class MemoryPlan:
    """How a run uses memory.

    Only ``dtype`` and videos in host memory change the result by more than rounding: with the
    latter a GPU computes the total variation in windows (:func:`~visionxl.solvers.hosted`).

    ``attrs.evolve(plan, frames_at_once=2)`` overrides a choice, and
    :func:`~visionxl.planning.estimate` counts the memory of the changed plan.

    Args:
        frames_at_once: frames in one call of a network.
        vae_tile: rows of pixels that the autoencoder processes at a time
            (:class:`~visionxl.priors.tiling.StripedAutoencoder`); None for whole frames.
        offload: whether denoiser and autoencoder take turns on the device, each waiting in host
            memory.
        video_device: of the videos and latents outside the networks; set by the measurement's
            device.
        dtype: of the networks; None leaves each as it is. They are converted in a copy, and the
            originals are not counted: if memory is short, load them in that dtype.
        attention: ``fused`` relies on PyTorch's kernels not to store the scores; ``sliced`` stores
            those of a few queries at a time.
        vae_frames: frames in one call of the autoencoder, which takes far more memory per frame
            than the U-Net and gains less from more frames; None for ``frames_at_once``.
        core: with videos in host memory, the frames that the total variation corrects at once on
            the device, besides those on either side of them (:func:`~visionxl.solvers.hosted`).
    """

    frames_at_once: int = field(default=1, validator=from_one)
    vae_tile: int | None = field(default=None, validator=optional(from_one))
    offload: bool = field(default=False, validator=flag)
    video_device: torch.device = field(factory=lambda: torch.device("cpu"), converter=_device)
    dtype: torch.dtype | None = field(default=None, validator=_dtype)
    attention: str = field(default="fused", validator=one_of(*ATTENTION))
    vae_frames: int | None = field(default=None, validator=optional(from_one))
    core: int = field(default=DEVICE_CORE, validator=from_one)

    def __str__(self) -> str:
        """The plan, for people."""
        parts = [f"{counted(self.frames_at_once)} at once"]
        if self.vae_frames is not None and self.vae_frames < self.frames_at_once:
            parts[0] += f", {self.vae_frames} in the autoencoder"
        if self.dtype is not None:
            parts.append(f"networks in {str(self.dtype).removeprefix('torch.')}")
        if self.vae_tile is not None:
            parts.append(f"autoencoder in strips of {self.vae_tile} rows")
        if self.offload:
            parts.append("denoiser and autoencoder take turns on the device")
        if self.attention == "sliced":
            parts.append("attention in slices")
        where = self.video_device
        parts.append(f"videos {'in host memory' if where.type == 'cpu' else f'on {where}'}")
        if self.core != DEVICE_CORE:
            parts.append(f"total variation of {self.core} frames at once")
        return ", ".join(parts)

    def on_host(self) -> "MemoryPlan | None":
        """The plan with its videos in host memory, in the smallest windows; None if they are
        there already."""
        if self.video_device.type == "cpu":
            return None
        return evolve(self, video_device="cpu", core=DEVICE_CORE)

    def smaller(
        self, *, tiles: bool = True, offload: bool = True, autoencoder: bool = True
    ) -> "MemoryPlan | None":
        """The next plan with the same result that takes less memory; None if there is none.

        First single frames in the autoencoder, then fewer frames at once, then offloading, then
        the autoencoder in strips and smaller ones.

        Args:
            tiles: whether strips are possible.
            offload: whether offloading saves anything.
            autoencoder: whether there is one that can take single frames.
        """
        if self.frames_at_once > 1 and self.vae_frames is None and autoencoder:
            return evolve(self, vae_frames=1)
        if self.frames_at_once > 1:
            return evolve(self, frames_at_once=(self.frames_at_once + 1) // 2)
        if offload and not self.offload:
            return evolve(self, offload=True)
        if tiles and self.vae_tile is None:
            return evolve(self, vae_tile=MOST_TILE)
        if tiles and self.vae_tile is not None and self.vae_tile > LEAST_TILE:
            return evolve(self, vae_tile=max(LEAST_TILE, self.vae_tile // 2))
        return None


def counted(frames: int) -> str:
    """Frames for people: ``25 frames``, ``1 frame``."""
    return f"{frames} frame{'' if frames == 1 else 's'}"


def gigabytes(count: int) -> str:
    """Bytes for people: ``7.9 GB``, ``79 MB``."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
