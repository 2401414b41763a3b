"""Seconds, peak memory and frames of every stage of a run."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from attrs import define, frozen
from measuring import begin_peak

from visionxl import Correction, InverseProblem, LatentPrior, NoiseLevel, Video
from visionxl.memory import peak_bytes
from visionxl.protocols import DataConsistency
from visionxl.solvers import Around

REST = "rest"


@define
class Stage:
    """What a stage took so far.

    Args:
        frames: that went through it.
        seconds: in all.
        peak_bytes: the most memory while it ran; None where the system does not tell.
    """

    frames: int = 0
    seconds: float = 0.0
    peak_bytes: int | None = None


class Watch:
    """Every moment from its making on belongs to one stage, at most to the rest.

    Memory is the CUDA allocator's on a GPU, else the resident memory of the process.

    Args:
        device: that is waited for at the end of every stage, and whose memory is watched.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stages: dict[str, Stage] = {}
        self._since = self._begin()

    @property
    def seconds(self) -> float:
        """Of all stages."""
        return sum(stage.seconds for stage in self.stages.values())

    @property
    def peak_bytes(self) -> int | None:
        """The most of any stage."""
        return max((s.peak_bytes for s in self.stages.values() if s.peak_bytes), default=None)

    @contextmanager
    def stage(self, name: str, frames: int) -> Iterator[None]:
        """What happens inside belongs to stage ``name``; what came before, to the rest."""
        self.end(REST)
        yield
        self.end(name, frames)

    def end(self, name: str, frames: int = 0) -> None:
        """Count what happened since the last end to stage ``name``."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        stage = self.stages.setdefault(name, Stage())
        stage.frames += frames
        stage.seconds += time.perf_counter() - self._since
        if self._can_tell:
            stage.peak_bytes = max(stage.peak_bytes or 0, peak_bytes(self.device))
        self._since = self._begin()

    def _begin(self) -> float:
        self._can_tell = begin_peak(self.device)
        return time.perf_counter()


def watched(prior: LatentPrior, watch: Watch, kind: str = "") -> LatentPrior:
    """A prior whose calls are stages.

    Args:
        prior: to watch.
        watch: of the run.
        kind: before the names of the autoencoder's stages, such as ``"tiny "``.
    """
    return Around(
        prior,
        lambda stage, frames: watch.stage(("" if stage == "denoise" else kind) + stage, frames),
    )


@frozen
class WatchedConsistency:
    """A consistency that is a stage.

    Args:
        consistency: to watch.
        watch: of the run.
    """

    consistency: DataConsistency
    watch: Watch

    def correct(self, estimate: Video, problem: InverseProblem, level: NoiseLevel) -> Correction:
        with self.watch.stage("consistency", len(estimate)):
            return self.consistency.correct(estimate, problem, level)
