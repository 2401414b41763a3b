"""The benchmark's records: what was measured of one method on one case, kept in a JSON file."""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from attrs import asdict, field, fields, frozen
from attrs.validators import in_, instance_of, optional

import visionxl
from visionxl import InputError
from visionxl.files import whole
from visionxl.operators import TASKS

WORDS, NUMBER, COUNT = instance_of(str), instance_of((int, float)), instance_of(int)

KEY = ("clip", "task", "noise", "method", "seed", "height", "width", "frames")
"""What two records of the same measurement have in common."""


def key_of(told: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(told[name] for name in KEY)


def number(value: float | None, digits: int) -> float | None:
    """Rounded to ``digits`` decimals; None, JSON's null, for what is not a finite number."""
    return None if value is None or not math.isfinite(value) else round(float(value), digits)


@frozen(kw_only=True)
class Record:
    """One method on one case. A measure is None where it is no finite number or cannot be had.

    Args:
        clip: its name.
        task: one of ``visionxl.operators.TASKS``.
        noise: standard deviation of the measurement's noise, in units of the range [-1, 1].
        method: its name.
        seed: of the mask, the noise and the method.
        height: of the clip, in pixels.
        width: of the clip, in pixels.
        frames: of the clip.
        psnr: in dB.
        ssim: structural similarity.
        lpips: None where its weights are not on this machine.
        difference_psnr: PSNR of the frame differences, in dB; None for a single frame.
        residual: root mean square of ``y - A x`` divided by ``noise``, or by 1 without noise.
        evaluations: of the denoising network, for one frame.
        seconds: that the method took.
        peak_bytes: the most memory of the process, or of a GPU's allocator, while the method ran;
            None where the system does not tell.
        note: what an oracle chose.
        diverged: the result is not finite, or its PSNR is more than 1 dB below that of the
            back-projection of the same case.
        version: of visionxl.
        commit: of the repository, ``-dirty`` where files differ from it; None outside git.
        command: that made the record.
        device: where the method ran, such as ``cpu`` or ``cuda``.
    """

    clip: str = field(validator=WORDS)
    task: str = field(validator=in_(tuple(TASKS)))
    noise: float = field(validator=NUMBER)
    method: str = field(validator=WORDS)
    seed: int = field(validator=COUNT)
    height: int = field(validator=COUNT)
    width: int = field(validator=COUNT)
    frames: int = field(validator=COUNT)
    psnr: float | None = field(validator=optional(NUMBER))
    ssim: float | None = field(validator=optional(NUMBER))
    lpips: float | None = field(validator=optional(NUMBER))
    difference_psnr: float | None = field(validator=optional(NUMBER))
    residual: float | None = field(validator=optional(NUMBER))
    evaluations: int = field(validator=COUNT)
    seconds: float = field(validator=NUMBER)
    peak_bytes: int | None = field(validator=optional(COUNT))
    note: str = field(validator=WORDS)
    diverged: bool = field(validator=instance_of(bool))
    version: str = field(validator=WORDS)
    commit: str | None = field(validator=optional(WORDS))
    command: str = field(validator=WORDS)
    device: str = field(validator=WORDS)

    @property
    def key(self) -> tuple[Any, ...]:
        return key_of(asdict(self))


def load(path: Path) -> list[Record]:
    """The records of a file.

    Raises:
        InputError: it cannot be read, or holds something else.
    """
    names = [one.name for one in fields(Record)]
    try:
        entries = json.loads(path.read_text())
        if not isinstance(entries, list):
            raise TypeError(f"it holds a {type(entries).__name__}")
        for entry in entries:
            missing = [n for n in names if n not in entry] if isinstance(entry, dict) else names
            if missing:
                raise TypeError(f"an entry has no {missing[0]!r}")
        return [Record(**entry) for entry in entries]
    except (OSError, ValueError, TypeError) as error:
        # attrs puts more into its errors than their first line.
        told = error if isinstance(error, OSError | UnicodeError) else error.args[0]
        reason = str(told).splitlines()[0]
        raise InputError(
            f"{str(path)!r} cannot be used ({reason}): expected a list of this benchmark's "
            "records in JSON; give another file"
        ) from error


def resume(path: Path) -> list[Record]:
    """The records of a file to go on with; none where there is no file yet.

    Raises:
        InputError: another version of visionxl made it, or it holds something else.
    """
    if not path.exists():
        return []
    records = load(path)
    for record in records:
        if record.version != visionxl.__version__:
            raise InputError(
                f"{str(path)!r} holds records of visionxl {record.version} and this is "
                f"{visionxl.__version__}: they do not go together; give another file"
            )
    return records


def save(path: Path, records: Iterable[Record]) -> None:
    """Write the records whole, one in a line."""
    lines = [json.dumps(asdict(record), allow_nan=False) for record in records]
    with whole(path) as partial:
        partial.write_text("[\n" + ",\n".join(lines) + "\n]\n" if lines else "[]\n")


def merged(paths: Iterable[Path]) -> list[Record]:
    """The records of several files. Raises InputError where two tell of the same measurement."""
    found: dict[tuple[Any, ...], Path] = {}
    records = []
    for path in paths:
        for record in load(path):
            if record.key in found:
                raise InputError(
                    f"{str(path)!r} and {str(found[record.key])!r} both have {record.method} on "
                    f"{record.clip}, {record.task}, noise {record.noise:g}, seed {record.seed}: "
                    "leave one of them out"
                )
            found[record.key] = path
            records.append(record)
    return records
