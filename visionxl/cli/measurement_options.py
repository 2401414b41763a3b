"""What the options tell of a measurement, and what its file does."""

from math import prod
from pathlib import Path
from typing import Any

import torch
from attrs import evolve, frozen
from torch import Tensor

from visionxl.errors import InputError
from visionxl.measurements import (
    CODEC,
    MOST_TRIED,
    ROUNDING,
    Description,
    estimate_noise,
    least_noise,
)
from visionxl.operators import Composition, Mask
from visionxl.operators.reach import has_reach, reach_of
from visionxl.planning.plan import counted
from visionxl.protocols import ForwardOperator
from visionxl.streaming import FrameStream

ENOUGH = 25  # frames to estimate the noise from
DIMMED = 0.01  # of a white video: a grey level
MUCH = 2.0  # times the noise that was taken: worth a word


@frozen(eq=False)
class MeasurementOptions:
    """What the options tell of a measurement; None where they do not."""

    task: str | None = None
    noise: float | None = None
    seed: int = 0
    window: int | None = None
    mask: Tensor | None = None
    estimate_noise: bool = False

    def seeing(self, path: Path, measurement: Tensor | FrameStream) -> "MeasurementOptions":
        """With the noise of the first frames, if it is to be estimated; at least the format's."""
        if not self.estimate_noise:
            return self
        fits = self.mask is not None and self.mask.shape[-2:] == measurement.shape[-2:]
        found = noise_in(measurement, self.mask if fits else None)
        return evolve(self, noise=max(found, ROUNDING, least_noise(path)))


def noise_in(measurement: Tensor | FrameStream, known: Tensor | None = None) -> float:
    """What the first frames look like, where a pixel is known."""
    first = measurement[0 : min(ENOUGH, len(measurement))]
    known = known if known is None or known.ndim == 2 else known[: len(first)]
    if known is None or len(first) < 3:
        return estimate_noise(first, (0, -2, -1) if len(first) > 2 else (-2, -1), known)
    try:
        return estimate_noise(first, (0, -2, -1), known)
    except InputError:  # the mask changes: what is known lies side by side in a frame alone
        return estimate_noise(first, (-2, -1), known)


def about_measurement(
    path: Path,
    description: Description,
    operator: object,
    options: MeasurementOptions,
    *,
    frames: int,
    drawn: Tensor | None,
) -> list[str]:
    """Notes on what was assumed of a measurement, without a look into its file.

    Args:
        path: of its file.
        description: of it.
        operator: that measured it.
        options: that were given.
        frames: that were measured.
        drawn: a mask that was drawn, for a measurement whose file does not have it.
    """
    mask = None if options.mask is None else description.mask
    return [
        *about_time(operator, path),
        *about_light(operator, path, description.shape),
        *about_frames(path, description.frames, frames),
        *about_mask(mask, drawn, options.seed),
    ]


def about_mask(mask: Tensor | None, drawn: Tensor | None, seed: int) -> list[str]:
    """A word on the mask: how much of the picture it calls known.

    Args:
        mask: that was given.
        drawn: that was drawn, for a measurement whose file does not tell its own.
        seed: of that.
    """
    if mask is None and drawn is not None:
        return [
            f"no --mask: {drawn.float().mean().item():.1%} of the pixels count as known, drawn "
            f"from --seed {seed}; give the mask that was there"
        ]
    if mask is None:
        return []
    each = f" in {len(mask)} frames" if mask.ndim == 4 else ""
    return [
        f"--mask: {mask.float().mean().item():.1%} of the pixels{each} are known, the bright ones"
    ]


def about_time(operator: object, path: Path) -> list[str]:
    """A word where the operator goes round in time, and the measurement is a recording."""
    simulated = path.suffix.lower() == ".safetensors"
    if simulated or not has_reach(operator) or not reach_of(operator).circular:
        return []
    frames = 2 * reach_of(operator).frames + 1
    return [
        "the task takes the first frame to follow the last, as the paper's average does: of a "
        "recording the frames near both ends are restored wrongly; give --task FILE.py:FUNCTION, "
        f'with TemporalAverage({frames}, "reflect") in it'
    ]


def about_light(operator: Any, path: Path, shape: tuple[int, ...]) -> list[str]:
    """A word where an operator dims, and the measurement is a recording, in which black is no
    light.

    Args:
        operator: of the clip.
        path: of the measurement.
        shape: of the video.
    """
    linear = isinstance(operator, ForwardOperator)
    if path.suffix.lower() == ".safetensors" or not linear or prod(shape) > MOST_TRIED:
        return []
    white = operator.forward(torch.ones(shape))
    white = white[white != 0]  # what a mask hides is not dimmed
    if not len(white) or (white - 1).abs().max() < DIMMED:
        return []
    return [
        f"of a white video the task measures {white.min():.2g} to {white.max():.2g}, and not 1: "
        f"{path.name} was taken for what simulate writes, where grey is 0; of a camera's file, "
        "where black is no light, give --task FILE.py:FUNCTION with OnLight(...) around the "
        "operator, and --method gauss_newton"
    ]


def about_frames(path: Path, frames: int, measured: int) -> list[str]:
    """A word where a recording has fewer frames than the video that is restored of it: how many
    that had, only a file of simulate tells."""
    if path.suffix.lower() == ".safetensors" or frames == measured:
        return []
    return [
        f"{path.name} has {counted(measured)}, and the shortest video that is measured so has "
        f"{frames}: those were restored; a .safetensors file of simulate tells how many there were"
    ]


def about_noise(
    path: Path,
    noise: float,
    given: float | None,
    estimated: bool,
    measurement: Tensor | FrameStream | None = None,
) -> list[str]:
    """A word on the noise that was taken, where there is something to say.

    Args:
        path: of the measurement.
        noise: that was taken.
        given: by the option.
        estimated: whether ``--noise estimate`` was given.
        measurement: to say what it looks like, where only the file's format told.
    """
    least = least_noise(path)
    if estimated and noise == least == CODEC:
        return [
            f"noise {CODEC} was taken, for {path.name} went through a lossy codec: what was "
            "estimated is less, and its errors are not white"
        ]
    if estimated:
        return [f"noise {noise:.4g} was estimated: too much where fine texture moves"]
    if given is None and least == noise == CODEC:
        return [
            f"noise {CODEC} was taken: {path.name} went through a lossy codec, whose errors count "
            "as noise; from a lossless file more can be restored"
        ]
    if given is None and noise == ROUNDING:
        large = measurement is not None and min(measurement.shape[-2:]) > 2
        seen = noise_in(measurement) if measurement is not None and large else noise
        looks = f", and it looks like {seen:.2g}" if seen > MUCH * noise else ""
        return [
            f"noise {ROUNDING} was taken, the rounding of 8 bits{looks}: where there is more, give "
            "--noise, or --noise estimate to find it"
        ]
    if given is not None and given < least == CODEC:
        return [
            f"{path.name} went through a lossy codec, whose errors are not in --noise {given:g}: "
            f"the result may be worse than the measurement; leave it out, for {CODEC}"
        ]
    if given is not None and given < ROUNDING <= least:
        return [f"noise {ROUNDING} was taken, the rounding of 8 bits, and not --noise {given:g}"]
    return []


def without_hidden(measurement: Tensor, operator: object) -> Tensor:
    """A measurement that is given, 0 where its outermost mask lets nothing through."""
    mask = outermost_mask(operator)
    return measurement if mask is None else mask.forward(measurement)


def outermost_mask(operator: object) -> Mask | None:
    """What hides a part of the measurement: in a video that is given there may be something."""
    while isinstance(operator, Composition):
        operator = operator.outer
    return operator if isinstance(operator, Mask) else None
