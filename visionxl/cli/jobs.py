"""What restore does with one measurement: as a whole, or a window at a time.

Both kinds have a ``problem``, a ``description``, and the same methods: ``checksum`` of the
measurement and the mask; ``truth``, which returns the original clip in the measured size, or its
path, with notes; ``run``, whose result has a ``record`` and ``notes``; and ``write``, which takes
the result and the truth, and returns the files that it wrote: the video, a picture, a page and the
record.
"""

import hashlib
from itertools import repeat
from pathlib import Path
from typing import Any

import torch
from attrs import evolve, frozen
from torch import Tensor

from visionxl.cli.checking import about_truth, check_original
from visionxl.cli.long import Long, about_windows, restored_in_windows, write_long
from visionxl.cli.measurement_options import (
    MeasurementOptions,
    outermost_mask,
    without_hidden,
)
from visionxl.cli.memory import check_memory
from visionxl.cli.outputs import Restored, write_all
from visionxl.cli.reading import measurement_in_frames
from visionxl.cli.running import Run, restored
from visionxl.errors import InputError
from visionxl.files import checksum_of
from visionxl.measurements import Description, generator_of
from visionxl.operators import Mask
from visionxl.operators.composition import find_parts
from visionxl.operators.reach import has_reach
from visionxl.protocols import ForwardOperator, InverseProblem, LatentPrior, Video
from visionxl.sizes import cover
from visionxl.solvers.loop import Sampler
from visionxl.solvers.windows import CONTEXT, CORE, LongProblem
from visionxl.streaming import TensorFrames, clip_in_pieces, masked
from visionxl.video import read_clip


def shown(frames: Any, operator: object) -> Any:
    """The measured frames, if they are more than two colour frames without holes; else None."""
    plain = len(frames.shape) == 4 and len(frames) > 2 and frames.shape[1] == 3
    return frames if plain and not find_parts(operator, Mask) else None


@frozen(eq=False)
class WholeClip:
    """A clip that is restored as a whole."""

    problem: InverseProblem
    description: Description

    @classmethod
    def of(cls, measurement: Path, options: MeasurementOptions, _: int | None) -> "WholeClip":
        frames, description = measurement_in_frames(measurement, options, kept=0)
        operator = description.operator(generator_of(description.seed))
        cut = isinstance(operator, ForwardOperator) and has_reach(operator)
        check_memory(*description.shape, windows=cut)  # before the frames are read
        values = without_hidden(frames[0 : len(frames)], operator)
        problem = InverseProblem(operator, values, description.noise_std)
        return cls(problem, description)

    def checksum(self, mask: Tensor | None) -> str:
        return checksum_of(self.problem.measurement, mask)

    def truth(self, path: Path | None) -> tuple[Video | None, list[str]]:
        if path is None:
            return None, []
        expected = self.description
        video = read_clip(path, expected.frames + 1).video
        check_original(f"--truth {path.name}", video)
        height, width = video.shape[-2:]
        notes = about_truth(len(video), (height, width), expected)
        return cover(video[: expected.frames], expected.height, expected.width), notes

    def run(self, prior: LatentPrior, sampler: Sampler, run: Run, truth: Any) -> Restored:
        run = evolve(run, task=self.description.task, truth=truth)
        return restored(self.problem, prior, sampler, run)

    def write(self, output: Path, answer: Any, truth: Any, overwrite: bool) -> list[Path]:
        return write_all(output, answer, self.problem, self.description, truth, overwrite)


def check_numbers(measurement: Path, frames: TensorFrames) -> None:
    """Raise InputError, before anything is restored, for a frame with a NaN or an infinity."""
    for frame in range(len(frames)):
        if not bool(frames[frame : frame + 1].isfinite().all()):
            raise InputError(
                f"measurement {str(measurement)!r} has NaN or infinity in frame {frame}: set such "
                "values to 0, and exclude them with a --mask that is black there"
            )


@frozen(eq=False)
class LongClip:
    """A clip that is restored a window at a time."""

    measurement: Path
    problem: LongProblem
    core: int
    description: Description

    @classmethod
    def of(cls, measurement: Path, options: MeasurementOptions, windows: int | None) -> "LongClip":
        core = windows or CORE
        kept = core + 2 * CONTEXT
        read, description = measurement_in_frames(measurement, options, kept)
        operator = description.operator(generator_of(description.seed))
        if not isinstance(operator, ForwardOperator):
            raise InputError(
                f"--windows {windows}: {operator!r} is not linear, and only linear operators "
                "are cut into windows; leave --windows out"
            )
        if isinstance(read, TensorFrames):  # a video has no other values than numbers
            check_numbers(measurement, read)
        source, mask = read, outermost_mask(operator)
        if mask is not None:
            mask.forward(torch.empty(read.shape, device="meta"))  # it has to fit
            source = masked(read, mask.mask)
        problem = LongProblem.of(operator, source, description.noise_std, core)
        return cls(measurement, problem, core, description)

    def checksum(self, mask: Tensor | None) -> str:
        """Of the file: its values would have to be read twice."""
        files = sorted(self.measurement.iterdir()) if self.measurement.is_dir() else []
        files = [file for file in files if file.is_file()]
        digest = hashlib.sha256(checksum_of(mask).encode())
        for path in files or [self.measurement]:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()

    def truth(self, path: Path | None) -> tuple[Path | None, list[str]]:
        if path is None:
            return None, []
        frames, height, width = 0, 0, 0
        for frame in clip_in_pieces(path, repeat(1), self.description.frames + 1):
            frames += 1
            check_original(f"--truth {path.name}", frame)
            height, width = frame.shape[-2:]
        return path, about_truth(frames, (height, width), self.description)

    def run(self, prior: LatentPrior, sampler: Sampler, run: Run, _: Any) -> Long:
        """Of a long clip only the result is measured against a truth, and not its steps."""
        run = evolve(run, task=self.description.task)
        long = restored_in_windows(self.problem, self.description, prior, sampler, run)
        long.notes.extend(about_windows(self.problem, self.core))
        return long

    def write(self, output: Path, answer: Any, truth: Any, overwrite: bool) -> list[Path]:
        return write_long(output, answer, self.problem, self.description, truth, overwrite)
