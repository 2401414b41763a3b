"""Checkpoints: the finished parts of a run on disk, so that it can go on where it stopped."""

import hashlib
import json
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from attrs import asdict, field, frozen
from attrs.validators import instance_of
from torch import Tensor

from visionxl.errors import InputError
from visionxl.files import remove, save_tensors, whole
from visionxl.protocols import State, StepRecord
from visionxl.solvers.sweep import WindowState

FORMAT = "visionxl checkpoint 1"
STATES_KEPT = 2  # states: the last, and the one before it in case the last is damaged
RUN, LOCK, WRITING = "run.json", "lock", "writing"
OURS = re.compile(  # the files of such a folder, and what a writer of one that was killed leaves
    r"lock|writing|run\.json|[a-z]+-\d+(-\d+)?\.(json|safetensors)"
    r"|\.(run|[a-z]+-\d+(-\d+)?)\.\d+\.part\.(json|safetensors)"
    r"|\.tmp\w{6}"  # safetensors' own, while it writes
)


@frozen(eq=False)
class Part:
    """A finished part: its tensors, and facts that JSON can hold."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]


@frozen
class CheckpointFolder:
    """A folder of parts, each ``NAME.safetensors`` with ``NAME.json``, which has its checksum.

    A part exists once its JSON does, which is written last; both are written whole and synced to
    the disk.

    Args:
        path: of the folder; made with the first part.
        run: identifies the run; if it is given, parts of another run count as damaged.
    """

    path: Path = field(converter=Path)
    run: str = ""

    def save(self, name: str, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Write a part. Raises InputError where the disk does not take it."""
        self.path.mkdir(parents=True, exist_ok=True)
        data = self.path / f"{name}.safetensors"
        with whole(data) as partial:
            save_tensors(partial, tensors)
        facts = {"run": self.run, "sha256": _checksum(data), **facts}
        with whole(self.path / f"{name}.json") as partial:
            partial.write_text(_sealed(facts))

    def facts(self, name: str) -> dict[str, Any] | None:
        """A part's facts alone, without a look at its tensors; None where they are damaged."""
        facts = _unsealed(self.path / f"{name}.json")
        return None if facts is None or self.run not in ("", facts.get("run")) else facts

    def load(self, name: str) -> Part | None:
        """Read a part; None where it is damaged: truncated, changed, or of another format."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        data, facts = self.path / f"{name}.safetensors", self.facts(name)
        try:
            if facts is None or facts["sha256"] != _checksum(data):
                return None
            return Part(load_file(data), facts)
        except (OSError, KeyError, SafetensorError):
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
    _save(folder, f"{kind}-{state.index:04d}", state, trace)
    for name in folder.names(f"{kind}-")[:-STATES_KEPT]:
        folder.drop(name)


def last_state(
    folder: CheckpointFolder, kind: str
) -> tuple[State | None, list[StepRecord], list[str]]:
    """The last undamaged state, the records before it, and notes on damaged ones."""
    words = []
    for name in reversed(folder.names(f"{kind}-")):
        part = folder.load(name)
        if part is None:
            words.append(f"checkpoint {folder.path.name}/{name} is damaged and was left out")
            continue
        return *_state_of(part), words
    return None, [], words


def _save(folder: CheckpointFolder, name: str, state: State, trace: Sequence[StepRecord]) -> None:
    tensors = {"latent": state.latent, "chance": state.chance}
    facts = {"index": state.index, "time": state.time, "trace": [asdict(r) for r in trace]}
    folder.save(name, tensors, facts)


def _state_of(part: Part) -> tuple[State, list[StepRecord]]:
    records = [{**r, "residuals": tuple(r["residuals"])} for r in part.facts["trace"]]
    latent, chance = part.tensors["latent"], part.tensors["chance"]
    state = State(part.facts["index"], latent, chance, part.facts["time"])
    return state, [StepRecord(**record) for record in records]


@frozen(eq=False)
class StatesOnDisk(MutableMapping[tuple[int, int], WindowState]):
    """A clip's windows in a folder, for :func:`~visionxl.solvers.long.restore_windows`.

    Args:
        folder: of the run.
        tell: called with a sentence for each state that is found damaged, or of another run, and
            counts as missing; by default a warning.
    """

    folder: CheckpointFolder = field(validator=instance_of(CheckpointFolder))
    tell: Callable[[str], object] = warnings.warn

    def __getitem__(self, key: tuple[int, int]) -> WindowState:
        name = self._name(key)
        part = self.folder.load(name)
        if part is None:
            if name in self.folder.names(name):
                where = f"{self.folder.path.name}/{name}"
                self.tell(f"checkpoint {where} is damaged, or of another run: made again")
                self.folder.drop(name)
            raise KeyError(key)
        state, trace = _state_of(part)
        return WindowState(state, tuple(trace))

    def __setitem__(self, key: tuple[int, int], value: WindowState) -> None:
        _save(self.folder, self._name(key), value.state, value.trace)

    def __delitem__(self, key: tuple[int, int]) -> None:
        self.folder.drop(self._name(key))

    def __iter__(self) -> Iterator[tuple[int, int]]:
        for name in self.folder.names("step-"):
            numbers = name.split("-")[1:]
            # A clip that is restored as a whole has one number.
            if len(numbers) == 2 and self.folder.facts(name) is not None:
                yield int(numbers[0]), int(numbers[1])

    def __len__(self) -> int:
        return len(list(iter(self)))

    @staticmethod
    def _name(key: tuple[int, int]) -> str:
        return f"step-{key[0]:04d}-{key[1]:05d}"


@contextmanager
def only_run(folder: Path, output: Path) -> Iterator[None]:
    """Holds ``folder`` for this process alone, until the block or the process ends.

    A folder without checkpoints is removed at the end. Raises InputError if another process holds
    it, or holds that of an output that differs only in its suffix, which would share the record
    file, or if the folder contains anything but checkpoints.
    """
    from filelock import FileLock, Timeout

    _check_ours(folder, output)
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(
            f"output {str(output)!r}: no folder for checkpoints can be made beside it ({error}); "
            "write somewhere else"
        ) from error
    file = folder / LOCK
    lock = FileLock(file)
    with _unrivalled(output):
        lock.acquire(timeout=0)
        if not file.exists():  # the other run ended, and removed it, just now
            raise Timeout(str(file))
    try:
        for other in folder.parent.glob(f"*{folder.suffix}/{LOCK}"):
            if other != file and Path(other.parent.stem).stem == output.stem:
                with _unrivalled(output, ", or what lies beside it"), FileLock(other, timeout=0):
                    pass
        yield
    finally:
        if not is_writing(folder) and not any(folder.glob("*.safetensors")):
            discard(folder)
        lock.release()


@contextmanager
def _unrivalled(output: Path, more: str = "") -> Iterator[None]:
    from filelock import Timeout

    try:
        yield
    except Timeout:
        raise InputError(
            f"output {str(output)!r} is being written by another run{more}: wait for it to end, or "
            "choose another output"
        ) from None


def _check_ours(folder: Path, output: Path) -> None:
    """Raise InputError for a folder that somebody else has put something into."""
    names = sorted(file.name for file in folder.iterdir()) if folder.is_dir() else []
    foreign = [name for name in names if not OURS.fullmatch(name)]
    if foreign:
        raise InputError(
            f"output {str(output)!r}: the folder {folder.name!r}, where its checkpoints would be, "
            f"has other things in it ({foreign[0]!r}): move them away, or choose another name"
        )


def begin(folder: CheckpointFolder, run: Mapping[str, Any], output: Path) -> list[str]:
    """Record which run the folder belongs to, or check that it belongs to this one.

    Args:
        folder: of the run.
        run: what decides the result, as JSON holds it.
        output: for messages.

    Returns:
        Notes on a damaged file.
    """
    file = folder.path / RUN
    before, words = None, []
    if file.exists():
        before = _unsealed(file)
        if before is None:
            words.append(f"checkpoint {folder.path.name}/{RUN} is damaged: made again")
    if before is None:
        with whole(file) as partial:
            partial.write_text(_sealed({"run": run}))
        return words
    other = difference(before["run"], run)
    if other is not None:
        raise InputError(
            f"--resume: {output.name} was begun with {other}: run the same command again, or use "
            "--overwrite without --resume to start again"
        )
    return words


DIGESTS = {
    "code": "other code of its task",
    "measured": "another measurement or mask",
    "operator": "another operator of the same code, which read or drew other values",
    "weights": "other weights, or other code of a prior or method of your own",
}
"""What it means where these differ: their values say nothing to people."""


def difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """The first thing in which two runs differ, in words; None where they are alike."""
    now = json.loads(json.dumps(now))
    for name in {**now, **before}:
        if now.get(name) != before.get(name):
            if name in DIGESTS:
                return DIGESTS[name]
            return f"{name} {before.get(name)!r}, and this command has {now.get(name)!r}"
    return None


def begun(folder: Path) -> bool:
    """Whether there is an interrupted run."""
    return (folder / RUN).exists()


def begin_writing(folder: Path) -> None:
    """Mark that the output is being written: the folder is then kept, even without checkpoints."""
    (folder / WRITING).touch()


def is_writing(folder: Path) -> bool:
    """Whether the output of the run was being written."""
    return (folder / WRITING).exists()


def empty(folder: Path) -> None:
    """Remove all checkpoint files except the lock. The run's description goes first, so that no
    run resumes from the rest if this is interrupted."""
    (folder / RUN).unlink(missing_ok=True)
    for file in folder.iterdir():
        if file.name != LOCK and OURS.fullmatch(file.name):
            remove(file)


def discard(folder: Path) -> None:
    """Remove the checkpoints and the folder, if nobody has put something else into it."""
    if folder.is_dir():
        empty(folder)
        (folder / LOCK).unlink(missing_ok=True)
        with suppress(OSError):
            folder.rmdir()


def _sealed(facts: Mapping[str, Any]) -> str:
    """Facts as JSON with their checksum."""
    told = json.loads(json.dumps(facts))
    return json.dumps({"format": FORMAT, "seal": _seal(told), "facts": told}, indent=1)


def _unsealed(path: Path) -> dict[str, Any] | None:
    """The facts; None where they are damaged."""
    try:
        stored = json.loads(path.read_text())
        facts = stored["facts"]
        return facts if stored["format"] == FORMAT and stored["seal"] == _seal(facts) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _seal(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
