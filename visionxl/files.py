"""Files are written whole or not at all."""

import hashlib
import json
import os
import re
import shutil
import signal
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from visionxl.errors import InputError

KINDS = {
    torch.float32: "F32",
    torch.float64: "F64",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.uint8: "U8",
}  # what safetensors calls them
PICTURE = re.compile(r"\d{5,}\.png")  # a frame of a folder that was written here


def check_output(path: Path, overwrite: bool) -> None:
    """Raise InputError where ``path`` cannot be written: before any work is done."""
    if not path.name:
        raise InputError(f"output {str(path)!r} has no name of its own: give a file or new folder")
    folder = path.absolute().parent
    if not folder.is_dir():
        raise InputError(
            f"output {str(path)!r}: there is no folder {str(folder)!r}; make it first, or write "
            "somewhere else"
        )
    if not os.access(folder, os.W_OK):
        raise InputError(
            f"output {str(path)!r}: the folder {str(folder)!r} cannot be written; choose another"
        )
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise InputError(
            f"output {str(path)!r} is a device or a pipe, and only a file or a folder can be "
            "replaced: choose another name"
        )
    if path.exists() and not overwrite:
        raise InputError(
            f"output {str(path)!r} exists: choose another name, or overwrite it "
            "(--overwrite; overwrite=True in Python)"
        )
    if path.is_dir() and path.suffix:
        raise InputError(
            f"output {str(path)!r} is a folder, and {path.suffix} means a file: choose another name"
        )
    if path.is_dir():
        foreign = sorted(f.name for f in path.iterdir() if not PICTURE.fullmatch(f.name))
        if foreign:
            raise InputError(
                f"output {str(path)!r} is a folder with other things than numbered pictures "
                f"({foreign[0]!r}): it is not replaced; choose another name"
            )


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``, of the same suffix, that replaces it at the end.

    It is synced to disk first. After an error nothing is left behind and the previous ``path`` is
    unchanged; SIGINT and SIGTERM are deferred to the end. The output may be a file or a folder.
    """
    partial = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    with unbroken():
        try:
            yield partial
            _force(partial)
            if partial.is_dir() and path.exists():
                previous = path.with_name(f".{path.name}.{os.getpid()}.previous")
                path.rename(previous)
                try:
                    partial.rename(path)
                except OSError:
                    previous.rename(path)
                    raise
                remove(previous)
            else:
                os.replace(partial, path)
            _force_entry(path)
        except OSError as error:
            raise InputError(
                f"output {str(path)!r} could not be written ({error}): nothing of it was left "
                "behind; make room or choose another place"
            ) from error
        finally:
            remove(partial)


@contextmanager
def unbroken() -> Iterator[None]:
    """Defers SIGINT and SIGTERM to the end of the context.

    Python handles signals only in the main thread: elsewhere this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []

    def wait(number: int, _: Any) -> None:
        arrived.append(number)

    before = {number: signal.signal(number, wait) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
        if arrived:
            signal.raise_signal(arrived[0])


def clear_partials(path: Path) -> None:
    """Remove what killed writers of ``path`` have left. No other writer may be active.

    A folder that was about to be replaced is put back.
    """
    partial = re.compile(rf"\.{re.escape(path.stem)}\.\d+\.part{re.escape(path.suffix)}")
    previous = re.compile(rf"\.{re.escape(path.name)}\.\d+\.previous")
    for file in list(path.absolute().parent.iterdir()):
        if previous.fullmatch(file.name) and not path.exists():
            file.rename(path)
        elif partial.fullmatch(file.name) or previous.fullmatch(file.name):
            remove(file)


def _force(path: Path) -> None:
    """Sync a file, or the files of a folder, to disk."""
    files = path.iterdir() if path.is_dir() else [path]
    for file in files:
        with file.open("rb+") as opened:
            os.fsync(opened.fileno())


def _force_entry(path: Path) -> None:
    """Sync the directory entry of a file to disk, except on Windows."""
    if os.name == "nt":
        return
    folder = os.open(path.absolute().parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write safetensors; a failure is an OSError, as of any other file."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        on_host = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        save_file(on_host, path)
        mask = os.umask(0)
        os.umask(mask)
        path.chmod(0o666 & ~mask)  # safetensors makes files that only their owner can read
    except SafetensorError as error:
        raise OSError(str(error)) from error


def save_in_pieces(
    path: Path,
    name: str,
    pieces: Iterator[Tensor],
    frames: int,
    metadata: Mapping[str, str],
    others: Mapping[str, Tensor],
) -> None:
    """Write safetensors with a tensor that comes in pieces: the header, and then the values.

    Args:
        path: of the file.
        name: of the tensor.
        pieces: of it, along its first dimension.
        frames: of all of them.
        metadata: of the file.
        others: tensors that follow.
    """
    first = next(pieces)
    shapes = {name: (first.dtype, [frames, *first.shape[1:]])}
    shapes |= {other: (tensor.dtype, list(tensor.shape)) for other, tensor in others.items()}
    described: dict[str, Any] = {"__metadata__": dict(metadata)}
    begin = 0
    for key, (dtype, shape) in shapes.items():
        end = begin + dtype.itemsize * torch.Size(shape).numel()
        described[key] = {"dtype": KINDS[dtype], "shape": shape, "data_offsets": [begin, end]}
        begin = end
    header = json.dumps(described, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    written = 0
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for piece in chain([first], pieces):
            file.write(_bytes_of(piece))
            written += len(piece)
        for tensor in others.values():
            file.write(_bytes_of(tensor))
    if written != frames:
        raise InputError(
            f"{name} has {written} frames, and {frames} were announced: give frames={written}"
        )


def checksum_of(*tensors: Tensor | None) -> str:
    """SHA-256 of the tensors that are there."""
    digest = hashlib.sha256()
    for tensor in tensors:
        if tensor is not None:
            digest.update(_bytes_of(tensor))
    return digest.hexdigest()


def _bytes_of(tensor: Tensor) -> Any:
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data


def remove(path: Path) -> None:
    """Remove a file or folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
