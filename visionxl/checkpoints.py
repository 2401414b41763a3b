"""Checkpoints: the finished parts of a run on disk, so that it can go on where it stopped."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import asdict, field, frozen
from torch import Tensor

from visionxl.errors import InputError
from visionxl.files import remove, save_tensors, whole
from visionxl.protocols import State, StepRecord

FORMAT = "visionxl checkpoint 1"
STATES_KEPT = 2  # states: the last, and the one before it in case the last is damaged


@frozen(eq=False)
class Part:
    """A finished part: its tensors, and facts that JSON can hold."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]


@frozen
class CheckpointFolder:
    """A folder of parts, each ``NAME.safetensors`` with ``NAME.json``, which has its checksum.

    A part is there once its JSON is, which is written last; both are written whole and forced to
    the disk.

    Args:
        path: of the folder; made with the first part.
    """

    path: Path = field(converter=Path)

    def save(self, name: str, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Write a part. Raises InputError where the disk does not take it."""
        self.path.mkdir(exist_ok=True)
        data = self.path / f"{name}.safetensors"
        with whole(data) as partial:
            save_tensors(partial, dict(tensors), {})
        stored = {"format": FORMAT, "sha256": _checksum(data), "facts": facts}
        with whole(self.path / f"{name}.json") as partial:
            partial.write_text(json.dumps(stored, indent=1))

    def facts(self, name: str) -> dict[str, Any] | None:
        """A part's facts alone, without a look at its tensors; None where they cannot be read."""
        try:
            stored = json.loads((self.path / f"{name}.json").read_text())
            return stored["facts"] if stored["format"] == FORMAT else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def load(self, name: str) -> Part | None:
        """Read a part; None where it is damaged: truncated, changed, or of another format."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        data = self.path / f"{name}.safetensors"
        try:
            stored = json.loads((self.path / f"{name}.json").read_text())
            if stored["format"] != FORMAT or stored["sha256"] != _checksum(data):
                return None
            return Part(load_file(data), stored["facts"])
        except (OSError, ValueError, KeyError, TypeError, SafetensorError):
            return None

    def names(self, kind: str) -> list[str]:
        """The parts whose name begins with ``kind``, in the order of their names."""
        return sorted(file.stem for file in self.path.glob(f"{kind}*.json"))

    def drop(self, name: str) -> None:
        """Remove a part."""
        for suffix in (".json", ".safetensors"):
            (self.path / f"{name}{suffix}").unlink(missing_ok=True)


def save_state(folder: CheckpointFolder, kind: str, state: State, trace: list[StepRecord]) -> None:
    """Keep where a run stands and the records of its steps, and drop all but the one before.

    Args:
        folder: of the run.
        kind: what the names of these states begin with, such as ``step``.
        state: after the last record.
        trace: of the run from its beginning.
    """
    tensors = {"latent": state.latent, "chance": state.chance}
    facts = {"index": state.index, "time": state.time, "trace": [asdict(r) for r in trace]}
    folder.save(f"{kind}-{state.index:04d}", tensors, facts)
    for name in folder.names(f"{kind}-")[:-STATES_KEPT]:
        folder.drop(name)


def last_state(
    folder: CheckpointFolder, kind: str
) -> tuple[State | None, list[StepRecord], list[str]]:
    """The last state that is sound, the records before it, and words on those that are damaged."""
    words = []
    for name in reversed(folder.names(f"{kind}-")):
        part = folder.load(name)
        if part is None:
            words.append(f"checkpoint {folder.path.name}/{name} is damaged and was left out")
            continue
        trace = [
            StepRecord(**{**r, "residuals": tuple(r["residuals"])}) for r in part.facts["trace"]
        ]
        latent, chance = part.tensors["latent"], part.tensors["chance"]
        state = State(part.facts["index"], latent, chance, part.facts["time"])
        return state, trace, words
    return None, [], words


@contextmanager
def only_run(folder: Path, output: Path) -> Iterator[None]:
    """Holds ``folder`` for this process alone, until the block or the process ends.

    A folder that nothing was written into is removed again. Raises InputError where another
    process has it.
    """
    from filelock import FileLock, Timeout

    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(
            f"output {str(output)!r}: no folder for checkpoints can be made beside it ({error}); "
            "write somewhere else"
        ) from error
    file = folder / "lock"
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
        if not file.exists():  # the other run ended, and removed it, just now
            raise Timeout(str(file))
    except Timeout:
        raise InputError(
            f"output {str(output)!r} is being written by another run: wait for it to end, or "
            "choose another output"
        ) from None
    try:
        yield
    finally:
        if folder.exists() and not any(folder.glob("*.safetensors")):
            remove(folder)
        lock.release()


def begin(folder: CheckpointFolder, run: Mapping[str, Any], output: Path) -> None:
    """Write down what run the folder belongs to, or check that it belongs to this one.

    Args:
        folder: of the run.
        run: what decides the result, as JSON holds it.
        output: for words.
    """
    file = folder.path / "run.json"
    if not file.exists():
        with whole(file) as partial:
            partial.write_text(json.dumps({"format": FORMAT, "run": run}, indent=1))
        return
    try:
        before = json.loads(file.read_text())["run"]
    except (ValueError, KeyError, TypeError, OSError):
        before = {}
    other = difference(before, run)
    if other is not None:
        raise InputError(
            f"--resume: {output.name} was begun with {other}: give the same command again, or "
            "--overwrite without --resume, to begin anew"
        )


def difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """The first thing in which two runs differ, in words; None where they are alike."""
    now = json.loads(json.dumps(now))
    for name in {**now, **before}:
        if now.get(name) != before.get(name):
            return f"{name} {before.get(name)!r}, and this command has {now.get(name)!r}"
    return None


def begun(folder: Path) -> bool:
    """Whether there is an interrupted run."""
    return (folder / "run.json").exists()


def empty(folder: Path) -> None:
    """Remove all but the lock, first of all what run it is: without that nobody goes on from the
    rest, where this is interrupted."""
    (folder / "run.json").unlink(missing_ok=True)
    for file in folder.iterdir():
        if file.name != "lock":
            remove(file)


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
