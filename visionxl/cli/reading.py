"""From the words of the command line to values."""

import re
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch
from attrs import evolve
from jaxtyping import Float
from torch import Tensor

from visionxl.cli.checking import check_there
from visionxl.cli.measurement_options import MeasurementOptions
from visionxl.cli.memory import check_memory
from visionxl.cli.own import Own, is_own
from visionxl.cli.own_tasks import find_task
from visionxl.errors import InputError
from visionxl.measurements import (
    ROUNDING,
    Description,
    described_in,
    generator_of,
    least_noise,
)
from visionxl.operators import lift
from visionxl.protocols import ForwardOperator, NonlinearOperator, Video
from visionxl.sizes import cover
from visionxl.streaming import FrameStream, TensorFrames, VideoFrames, covering
from visionxl.video import RATE, clip_pictures, read_clip, to_video


class ClipStream(NamedTuple):
    frames: FrameStream
    rate: Fraction
    sound: Path | None


MOST_TIMES = 8  # the frames of a video, for each that a measurement has
REFUSALS = (InputError, RuntimeError, ValueError, IndexError)  # of frames that an operator lacks
KNOWN_AS = {"task": "task", "noise": "noise_std", "window": "window"}  # option: description


def resized(
    video: Video, size: str | None
) -> Float[Tensor, "frames channels new_height new_width"]:
    """The video scaled to cover HEIGHTxWIDTH, and centre-cropped to it."""
    return video if size is None else cover(video, *size_of(size))


def height_and_width(words: str) -> tuple[int, int]:
    """Of ``--size``."""
    parsed = re.fullmatch(r"([1-9]\d*)[xX]([1-9]\d*)", words)
    if parsed is None:
        raise InputError(
            f"--size {words!r} is not HEIGHTxWIDTH, both at least 1: write it like 384x640"
        )
    return int(parsed[1]), int(parsed[2])


def size_of(words: str) -> tuple[int, int]:
    """Height and width that ``--size`` tells, of a frame that fits in memory."""
    height, width = height_and_width(words)
    check_memory(1, 3, height, width)
    return height, width


def clip_in_frames(path: Path, frames: int | None, size: str | None = None) -> ClipStream:
    """A clip whose frames are read when they are asked for.

    Args:
        path: of a video, folder of images, image or safetensors file.
        frames: at most so many.
        size: HEIGHTxWIDTH to scale and crop them to.
    """
    if path.suffix.lower() == ".safetensors":
        rate, sound = read_clip(path, 1).rate, None  # says what is wrong with it
        source: TensorFrames | VideoFrames = TensorFrames(path, "video", frames)
    else:
        source = VideoFrames(path, kept=0, most=frames)
        rate, sound = source.rate, source.sound
    return ClipStream(source if size is None else covering(source, *size_of(size)), rate, sound)


def read_mask(path: Path | None, frames: int | None = None) -> Tensor | None:
    """A picture as a mask, brighter than half being known; or one for each frame, in a clip."""
    if path is None:
        return None
    check_there("--mask", path)
    pictures = islice(clip_pictures(path, frames)[0], frames)
    # One by one: as floating point numbers they are 12 times as large.
    masks = torch.cat([to_video([p]).mean(dim=1, keepdim=True) > 0 for p in pictures])
    if not bool(masks.any()):
        raise InputError(f"--mask {str(path)!r} has no bright pixel: make known pixels white")
    return masks[0, 0] if len(masks) == 1 else masks


def measurement_in_frames(
    path: Path, options: MeasurementOptions, kept: int
) -> tuple[FrameStream, Description]:
    """A measurement whose frames are read when they are asked for, and how it was made: from its
    file, or from the options for any video.

    Args:
        path: of the measurement.
        options: of the command.
        kept: frames of a video file that stay in memory.
    """
    if path.suffix.lower() != ".safetensors":
        video = VideoFrames(path, kept)
        options = options.seeing(path, video)
        return video, described(path, None, video.shape, video.rate, video.sound, options)
    name, stored = described_in(path)
    frames = TensorFrames(path, name)
    return frames, described(path, stored, frames.shape, RATE, None, options.seeing(path, frames))


def described(
    path: Path,
    stored: Description | None,
    shape: tuple[int, ...],
    rate: Fraction,
    sound: Path | None,
    options: MeasurementOptions,
) -> Description:
    """How a measurement of that shape was made: as its file tells, or else the options."""
    found = None if options.task is None else find_task(options.task)
    if stored is not None:
        if is_own(stored.task):
            stored = _with_code(path, stored, found)
            options = evolve(options, task=None)
        given = {name: getattr(options, name) for name in KNOWN_AS} | {"mask": options.mask}
        for name, value in given.items():
            if value is not None and (name == "mask" or value != getattr(stored, KNOWN_AS[name])):
                own = None if name == "mask" else getattr(stored, KNOWN_AS[name])
                which = f"with {name} {own}" if own is not None else f"with its own {name}"
                meant = "; --windows is for long clips" if name == "window" else ""
                raise InputError(
                    f"--{name} given, but {path.name} knows how it was measured, {which}: leave "
                    f"it out; to try another, make an InverseProblem in Python{meant}"
                )
        return stored
    if found is None:
        raise InputError(
            f"--task is missing: {path.name} does not say how it was measured; "
            "choose a task (visionxl info lists them)"
        )
    if len(shape) != 4 or 0 in shape:
        raise InputError(
            f"measurement {path.name} has shape {shape}: task {options.task!r} expects "
            "(frames, channels, height, width)"
        )
    noise = options.noise
    if noise is None:
        noise = least_noise(path)
    elif path.suffix.lower() != ".safetensors":
        noise = max(noise, ROUNDING)
    frames, height, width = _video_of(found, shape, options.seed)
    mask = options.mask if options.mask is None or options.mask.ndim == 2 else options.mask[:frames]
    return Description(
        task=found.name,
        frames=frames,
        height=height,
        width=width,
        noise_std=noise,
        seed=options.seed,
        window=options.window,
        rate=rate,
        mask=mask,
        sound=sound,
        make=found.make,
        code=found.code,
    )


def _with_code(path: Path, stored: Description, found: Own | None) -> Description:
    """What a measurement's file tells of a task of one's own, and the code, which it has not."""
    if found is None:
        raise InputError(
            f"{path.name} was measured by {stored.task}, whose code is not in it: give the same "
            f"--task {stored.task}, with the path of its file"
        )
    if found.name != stored.task:
        raise InputError(
            f"--task {found.name!r} given, but {path.name} was measured by {stored.task!r}: give "
            "that"
        )
    if found.code != stored.code and stored.answers is None:  # else they are compared
        raise InputError(
            f"{stored.task.partition(':')[0]} has changed since {path.name} was measured: "
            "simulate again, or undo the change"
        )
    return evolve(stored, make=found.make, code=found.code)


def _video_of(found: Own, shape: tuple[int, ...], seed: int) -> tuple[int, int, int]:
    """Frames, height and width of the shortest video whose measurement has that shape."""
    measured, channels, height, width = shape
    refused: Exception | None = None
    for frames in range(measured, MOST_TIMES * measured + 1):
        operator = found.make(frames, height, width, generator_of(seed))
        try:
            return _lifted_shape(operator, shape)
        except REFUSALS as error:
            video = torch.zeros(frames, channels, height, width)
            # Others than those that lose frames have another reason, which more will not mend.
            if refused is None and len(operator.forward(video)) >= measured:
                raise
            refused = refused or error
    assert refused is not None  # there is at least one frame
    raise refused


def _lifted_shape(
    operator: ForwardOperator | NonlinearOperator, shape: tuple[int, ...]
) -> tuple[int, int, int]:
    """Frames, height and width of the video that an operator makes of a measurement."""
    try:
        one = lift(operator, torch.zeros(1, *shape[1:]))
    except REFUSALS:  # it needs all frames
        one = None
    each = one is not None and len(one) == 1
    video = one if one is not None and each else lift(operator, torch.zeros(shape))
    height, width = video.shape[-2:]
    return shape[0] if each else len(video), height, width
