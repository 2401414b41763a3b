"""Observing a run: a look at every step, and where its time goes."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from attrs import asdict, frozen

from visionxl.checkpoints import CheckpointFolder
from visionxl.files import checksum_of
from visionxl.memory import peak_bytes
from visionxl.metrics import psnr
from visionxl.protocols import LatentPrior, Step, StepRecord, Video
from visionxl.report.media import thumbnail
from visionxl.solvers import Around

LOOK = "look"  # what checkpoints of looks are called
REST = "consistency and the rest"
STAGES = ("denoise", "decode", REST, "encode")


@frozen
class Spent:
    """The cost of a stage: seconds, and bytes by which it raised the peak memory."""

    seconds: float = 0.0
    bytes: int = 0


@frozen(eq=False)
class Look:
    """A step, as stored for the page.

    Args:
        index: of the step, from 0.
        estimate: the middle frame of the prior's estimate, as a small picture.
        corrected: the same after the consistency.
        stages: the cost of each of ``STAGES``.
        psnr: of the whole estimate before and after the correction, in dB; None if no truth was
            given, or they are equal to it.
    """

    index: int
    estimate: bytes
    corrected: bytes
    stages: dict[str, Spent]
    psnr: tuple[float, float] | None = None


@frozen
class _Call:
    stage: str
    spent: Spent
    ended: float


class Album:
    """Records a look at every step of a run, and stores it beside the run's checkpoints.

    Args:
        device: of the prior's outputs; it is synchronized before times are taken.
        kept: where the looks survive an interruption; None to keep them in memory only.
        done: steps that an earlier run has finished: their looks are read from ``kept``, where
            present.
        truth: reference for the PSNR of the steps; None for no PSNR. Figures of an earlier run
            against another truth are left out.

    Attributes:
        looks: at the steps so far.
        missing: indices of the ``done`` steps without an intact look.
    """

    def __init__(
        self,
        device: torch.device,
        kept: CheckpointFolder | None = None,
        done: int = 0,
        truth: Video | None = None,
    ) -> None:
        self._device, self._kept, self._truth = device, kept, truth
        self._calls: list[_Call] = []
        self._began, self._peak = time.perf_counter(), peak_bytes(device)
        self.start_seconds: float | None = None
        against = None if truth is None else checksum_of(truth)
        self._against = against
        found = [] if kept is None else [_load(kept, index, against) for index in range(done)]
        self.looks: list[Look] = [look for look in found if look is not None]
        self.missing: list[int] = [i for i, look in enumerate(found) if look is None]

    def timed(self, prior: LatentPrior) -> LatentPrior:
        """The prior, with its calls timed by this album."""
        return Around(prior, self.stage)

    @contextmanager
    def stage(self, name: str, frames: int) -> Iterator[None]:
        """A call of a network, of so many frames."""
        self._settle()
        before, began = peak_bytes(self._device), time.perf_counter()
        yield
        self._settle()
        ended = time.perf_counter()
        spent = Spent(ended - began, peak_bytes(self._device) - before)
        self._calls.append(_Call(name, spent, ended))

    def observe(self, step: Step) -> None:
        """Record the look. Call it right after the step: network calls that ended since the step
        began are counted as the step's."""
        record, middle = step.record, len(step.decoded) // 2
        stages = self._stages(record, time.perf_counter() - record.seconds)
        look = Look(
            record.index,
            thumbnail(step.decoded[middle : middle + 1]),
            thumbnail(step.corrected[middle : middle + 1]),
            stages,
            self._psnr(step),
        )
        self.looks.append(look)

    def _psnr(self, step: Step) -> tuple[float, float] | None:
        if self._truth is None:
            return None
        estimate, corrected = (
            psnr(video.to(self._truth), self._truth) for video in (step.decoded, step.corrected)
        )
        return (estimate, corrected) if math.isfinite(estimate + corrected) else None

    def again(self, done: int, device: torch.device) -> None:
        """Go on after the first ``done`` steps, perhaps repeating some, with videos on a device."""
        self.looks = [look for look in self.looks if look.index < done]
        self._calls.clear()
        self._device, self._peak = device, peak_bytes(device)

    def keep(self) -> None:
        """Write the last look beside the checkpoints: after the state that the run goes on from."""
        if self._kept is not None:
            _save(self._kept, self.looks[-1], self._against)

    def stages(self, steps: int) -> list[dict[str, Any] | None]:
        """For each step the cost of its stages, as JSON values; None if it was not stored."""
        known = {look.index: look.stages for look in self.looks}
        stages = [known.get(index) for index in range(steps)]
        return [s and {name: asdict(spent) for name, spent in s.items()} for s in stages]

    def psnr(self, steps: int) -> list[tuple[float, float] | None]:
        """For each step the PSNR before and after the correction; None if not known."""
        known = {look.index: look.psnr for look in self.looks}
        return [known.get(index) for index in range(steps)]

    def _stages(self, record: StepRecord, began: float) -> dict[str, Spent]:
        """The calls since ``began`` belong to the step, and those before it to the start."""
        if self.start_seconds is None:
            self.start_seconds = max(0.0, began - self._began)
        own = [call for call in self._calls if call.ended > began]
        spent = {name: _sum(call.spent for call in own if call.stage == name) for name in STAGES}
        in_calls = _sum(call.spent for call in self._calls)
        spent[REST] = Spent(
            max(0.0, record.seconds - sum(s.seconds for s in spent.values())),
            max(0, record.peak_bytes - self._peak - in_calls.bytes),
        )
        self._calls.clear()
        self._peak = max(self._peak, record.peak_bytes)
        return spent

    def _settle(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        elif self._device.type == "mps":
            torch.mps.synchronize()


def _sum(spent: Iterator[Spent]) -> Spent:
    listed = list(spent)
    return Spent(sum((s.seconds for s in listed), 0.0), sum(s.bytes for s in listed))


def _save(folder: CheckpointFolder, look: Look, against: str | None) -> None:
    pictures = {
        name: torch.frombuffer(bytearray(getattr(look, name)), dtype=torch.uint8)
        for name in ("estimate", "corrected")
    }
    stages = {name: asdict(spent) for name, spent in look.stages.items()}
    facts = {"stages": stages, "psnr": look.psnr, "truth": against}
    folder.save(f"{LOOK}-{look.index:04d}", pictures, facts)


def _load(folder: CheckpointFolder, index: int, against: str | None) -> Look | None:
    part = folder.load(f"{LOOK}-{index:04d}")
    if part is None:
        return None
    stages = {name: Spent(**spent) for name, spent in part.facts["stages"].items()}
    estimate, corrected = (
        part.tensors[name].numpy().tobytes() for name in ("estimate", "corrected")
    )
    found = part.facts.get("psnr") if part.facts.get("truth") == against else None
    return Look(index, estimate, corrected, stages, found and (found[0], found[1]))
