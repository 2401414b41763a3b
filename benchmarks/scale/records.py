"""What was measured, kept in a JSON file that is written whole after every row."""

import json
from pathlib import Path
from typing import Any

from attrs import asdict, field, fields, frozen
from attrs.validators import deep_mapping, instance_of, optional

from scale.watching import Stage
from visionxl import InputError
from visionxl.files import whole

COUNT, NUMBER, WORDS = instance_of(int), instance_of((int, float)), instance_of(str)


def _stages(told: dict[str, Any]) -> dict[str, Stage]:
    return {k: v if isinstance(v, Stage) else Stage(**v) for k, v in told.items()}


@frozen(kw_only=True)
class Setup:
    """What all rows of a file have in common.

    Args:
        device: in words.
        dtype: of the networks.
        toy: whether the networks are the miniature.
        frames_at_once: in one call of a network; the paper's row has one.
        vae_frames: of these, in one call of the full autoencoder.
        video_device: that keeps the videos; the paper's row has them on the device.
        compiled: whether the networks are, the paper's apart.
        version: of visionxl.
        torch: its version.
    """

    device: str = field(validator=WORDS)
    dtype: str = field(validator=WORDS)
    toy: bool = field(validator=instance_of(bool))
    frames_at_once: int = field(validator=COUNT)
    vae_frames: int = field(validator=COUNT)
    video_device: str = field(validator=WORDS)
    compiled: bool = field(validator=instance_of(bool))
    version: str = field(validator=WORDS)
    torch: str = field(validator=WORDS)


@frozen(kw_only=True)
class Record:
    """One row for one size and number of frames.

    Args:
        row: its name.
        height: in pixels.
        width: in pixels.
        frames: of the video.
        flop: of the networks, counted.
        matmul_rate: of large matrix products in the same process, in ``flop`` a second.
        warm_up_seconds: of the first calls, before the run and not part of it.
        iterations: of the consistency.
        stages: what each took.
        error: that ended the row, in words; None for a row that is whole.
    """

    row: str = field(validator=WORDS)
    height: int = field(validator=COUNT)
    width: int = field(validator=COUNT)
    frames: int = field(validator=COUNT)
    flop: int = field(validator=COUNT)
    matmul_rate: float = field(validator=NUMBER)
    warm_up_seconds: float = field(validator=NUMBER)
    iterations: int = field(validator=COUNT)
    stages: dict[str, Stage] = field(
        converter=_stages, validator=deep_mapping(WORDS, instance_of(Stage))
    )
    error: str | None = field(validator=optional(WORDS))

    @property
    def key(self) -> tuple[str, int, int, int]:
        return self.row, *self.case

    @property
    def case(self) -> tuple[int, int, int]:
        return self.height, self.width, self.frames

    @property
    def words(self) -> str:
        """What it is, and what it took."""
        named = f"{self.row} {self.frames} frames of {self.height}x{self.width}"
        return f"{named}: {self.error or f'{self.seconds:.2f} s'}"

    @property
    def floor_seconds(self) -> float:
        """``flop`` at the rate of large matrix products."""
        return self.flop / self.matmul_rate

    @property
    def seconds(self) -> float:
        return sum(stage.seconds for stage in self.stages.values())

    @property
    def peak_bytes(self) -> int | None:
        """None where the system does not tell."""
        return max((s.peak_bytes for s in self.stages.values() if s.peak_bytes), default=None)


def resume(path: Path, setup: Setup) -> list[Record]:
    """The whole rows of a file to go on with; none where there is no file yet.

    Raises:
        InputError: the file was made with another setup, or holds something else.
    """
    if not path.exists():
        return []
    try:
        told = json.loads(path.read_text())
        before = Setup(**told["setup"])
        records = [Record(**entry) for entry in told["records"]]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"--json {str(path)!r} holds no records of this benchmark: give another file"
        ) from error
    for one in fields(Setup):
        earlier, now = getattr(before, one.name), getattr(setup, one.name)
        if earlier != now:
            raise InputError(
                f"--json {str(path)!r} was made with {one.name} {earlier!r} and this run has "
                f"{now!r}: they do not go together; give another file"
            )
    return [record for record in records if record.error is None]


def save(path: Path, setup: Setup, records: list[Record], made: dict[str, Any]) -> None:
    """Write setup and records, one in a line.

    Args:
        path: of the file.
        setup: of all records.
        records: in any order.
        made: what else is told: the command, the commit.
    """
    lines = ",\n".join(json.dumps(asdict(record), allow_nan=False) for record in records)
    head = json.dumps({"setup": asdict(setup), **made}, allow_nan=False)
    with whole(path) as partial:
        partial.write_text(f'{head[:-1]}, "records": [\n{lines}\n]}}\n')
