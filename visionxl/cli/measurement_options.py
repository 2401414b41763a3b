"""What the options and the file say about a measurement."""

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
    described_in,
    estimate_noise,
    least_noise,
)
from visionxl.operators import BlockCosine, Composition, Mask, Snapshot
from visionxl.operators.composition import find_parts
from visionxl.operators.reach import has_reach, reach_of
from visionxl.planning.plan import counted
from visionxl.protocols import ForwardOperator
from visionxl.streaming import FrameStream

ENOUGH = 25  # frames to estimate the noise from
DIMMED = 0.01  # of a white video: a grey level
DRAWN = ("inpaint", "inpaint+")  # tasks with a random mask
MUCH = 2.0  # times the noise that was taken: worth a word


@frozen(eq=False)
class MeasurementOptions:
    """What the options say about a measurement; None where they say nothing."""

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
    """The noise estimated from the first frames, where pixels are known."""
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
) -> list[str]:
    """Notes on what was assumed of a measurement, without a look into its file.

    Args:
        path: of its file.
        description: of it.
        operator: that measured it.
        options: that were given.
        frames: that were measured.
    """
    mask = None if options.mask is None else description.mask
    return [
        *about_time(operator, path),
        *about_light(operator, path, description.shape),
        *about_frames(path, operator, description.frames, frames),
        *about_mask(mask, drawn_mask(operator, path, description), options.seed),
    ]


def drawn_mask(operator: object, path: Path, description: Description) -> Tensor | None:
    """The mask that was drawn for a measurement whose file does not have it."""
    told = description.mask is not None or path.suffix.lower() == ".safetensors"
    if told or description.task not in DRAWN:
        return None
    return find_parts(operator, Mask)[0].mask


def about_mask(mask: Tensor | None, drawn: Tensor | None, seed: int) -> list[str]:
    """A note on the mask: how much of the picture it marks as known.

    Args:
        mask: that was given.
        drawn: that was drawn, for a measurement whose file does not tell its own.
        seed: of that.
    """
    if mask is None and drawn is not None:
        return [
            f"no --mask: {drawn.float().mean().item():.1%} of the pixels count as known, drawn "
            f"from --seed {seed}; give --mask if another one was used"
        ]
    if mask is None:
        return []
    each = f" in {len(mask)} frames" if mask.ndim == 4 else ""
    return [
        f"--mask: {mask.float().mean().item():.1%} of the pixels{each} are known, the bright ones"
    ]


def about_time(operator: object, path: Path) -> list[str]:
    """A note if the operator is circular in time and the measurement is a recording."""
    simulated = path.suffix.lower() == ".safetensors"
    if simulated or not has_reach(operator) or not reach_of(operator).circular:
        return []
    frames = 2 * reach_of(operator).frames + 1
    return [
        "the task takes the first frame to follow the last, as the paper's average does: in a "
        "recording, the frames near both ends are restored wrongly; give --task FILE.py:FUNCTION, "
        f'with TemporalAverage({frames}, "reflect") in it'
    ]


def about_light(operator: Any, path: Path, shape: tuple[int, ...]) -> list[str]:
    """A note if the operator dims and the measurement is a recording, in which black is no light.

    Args:
        operator: of the clip.
        path: of the measurement.
        shape: of the video.
    """
    linear = isinstance(operator, ForwardOperator)
    coded = find_parts(operator, BlockCosine)  # no pictures, but coefficients
    if path.suffix.lower() == ".safetensors" or not linear or coded or prod(shape) > MOST_TRIED:
        return []
    white = operator.forward(torch.ones(shape))
    white = white[white != 0]  # what a mask hides is not dimmed
    if not len(white) or (white - 1).abs().max() < DIMMED:
        return []
    return [
        f"the task measures a white video as {white.min():.2g} to {white.max():.2g}, not as 1: "
        f"{path.name} was assumed to be like a file from simulate, where grey is 0; for a camera's "
        "file, where black means no light, give --task FILE.py:FUNCTION with OnLight(...) around "
        "the operator, and --method gauss_newton"
    ]


def about_frames(path: Path, operator: object, frames: int, measured: int) -> list[str]:
    """A note if a recording may be of a longer video than the shortest, which is restored: only a
    file from simulate states the number."""
    same = frames == measured and not find_parts(operator, Snapshot)
    if path.suffix.lower() == ".safetensors" or same:
        return []
    return [
        f"{path.name} has {counted(measured)}, and the shortest video with such a measurement has "
        f"{frames}: that many were restored; a .safetensors file from simulate knows the number"
    ]


def about_noise(
    path: Path,
    noise: float,
    given: float | None,
    estimated: bool,
    measurement: Tensor | FrameStream | None = None,
) -> list[str]:
    """A note on the assumed noise, if there is something to say.

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
            f"noise {CODEC} was assumed, because {path.name} went through a lossy codec: the "
            "estimate is less, but the codec's errors are not white"
        ]
    if estimated:
        return [f"noise {noise:.4g} was estimated, which is too much where fine texture moves"]
    if given is None and least == noise == CODEC:
        return [
            f"noise {CODEC} was assumed: {path.name} went through a lossy codec, whose errors "
            "count as noise; from a lossless file more can be restored"
        ]
    silent = path.suffix.lower() == ".safetensors" and given is None and not noise
    if silent and path.is_file() and described_in(path)[1] is None:
        return [
            f"{path.name} does not say how noisy it is: no noise was assumed; else give --noise"
        ]
    if given is None and noise == ROUNDING:
        large = measurement is not None and min(measurement.shape[-2:]) > 2
        seen = noise_in(measurement) if measurement is not None and large else noise
        looks = f", but it looks like {seen:.2g}" if seen > MUCH * noise else ""
        return [
            f"noise {ROUNDING} was assumed, the rounding of 8 bits{looks}: if there is more, give "
            "--noise, or --noise estimate to find it"
        ]
    if given is not None and given < least == CODEC:
        return [
            f"{path.name} went through a lossy codec, whose errors are not in --noise {given:g}: "
            f"the result may be worse than the measurement; leave it out to assume {CODEC}"
        ]
    if given is not None and given < ROUNDING <= least:
        return [f"noise {ROUNDING}, the rounding of 8 bits, was assumed, not --noise {given:g}"]
    return []


def without_hidden(measurement: Tensor, operator: object) -> Tensor:
    """A given measurement, set to 0 where its outermost mask is 0."""
    mask = outermost_mask(operator)
    return measurement if mask is None else mask.forward(measurement)


def outermost_mask(operator: object) -> Mask | None:
    """The outermost mask, which hides part of the measurement: a given video may not be 0 there."""
    while isinstance(operator, Composition):
        operator = operator.outer
    return operator if isinstance(operator, Mask) else None
