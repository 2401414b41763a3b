"""Tasks by name: the library's, or ``FILE.py:FUNCTION``, one of somebody's own."""

import ast
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from importlib.util import module_from_spec, spec_from_file_location
from math import prod
from pathlib import Path
from traceback import walk_tb
from typing import Any

import torch
from attrs import frozen
from torch import Generator

from visionxl.errors import InputError, name_of
from visionxl.operators import task_named
from visionxl.protocols import ForwardOperator, NonlinearOperator

OWN: set[str] = set()  # modules of tasks of one's own that were run
FOLDERS: set[Path] = set()  # and where they are
LARGEST = 10**8  # values of a video that an operator is tried on
LIBRARY = Path(__file__).parents[1]


@frozen(eq=False)
class FoundTask:
    """A task, found by what the option says.

    Args:
        name: by which a measurement knows it: of a task of one's own without the folder.
        make: ``(frames, height, width, generator) -> operator``.
        code: checksum of the file that it is in, and of those beside it that this one imports;
            None for a task of the library.
    """

    name: str
    make: Callable[..., Any]
    code: str | None = None


def is_own(name: str) -> bool:
    """Whether a task is ``FILE.py:FUNCTION``."""
    return name.rpartition(":")[0].lower().endswith(".py")


def find_task(name: str) -> FoundTask:
    """The task that ``--task`` means. A file of one's own is run.

    Raises:
        InputError: there is no such task, file or function, or the file cannot be run.
    """
    if name.lower().endswith(".py"):
        raise InputError(f"--task {name!r}: which function of it? give {name}:FUNCTION")
    if not is_own(name):
        return FoundTask(name, task_named(name))
    file, _, function = name.rpartition(":")
    path = Path(file)
    if not path.is_file():
        raise InputError(f"--task {name!r}: there is no file {file!r}; give FILE.py:FUNCTION")
    code = _checksum(path)
    make = getattr(_module(path.resolve(), code), function, None)
    if not callable(make):
        raise InputError(
            f"--task {name!r}: {path.name} has no function {function!r}; write "
            f"def {function or 'make'}(frames, height, width, generator), which returns an operator"
        )
    return FoundTask(f"{path.name}:{function}", _checked(make, path.name, function), code)


def _checksum(path: Path) -> str:
    """Of a file, and of the modules and packages beside it that it imports, and those import."""
    read: dict[Path, bytes] = {}
    waiting = [path]
    while waiting:
        file = waiting.pop()
        if file in read or not file.is_file():
            continue
        read[file] = file.read_bytes()
        for name in _imported(read[file]):
            place = path.parent.joinpath(*name.split("."))
            waiting += [place.with_suffix(".py"), place / "__init__.py"]
    files = [path, *sorted(set(read) - {path})]
    return sha256(b"".join(read[file] for file in files)).hexdigest()[:16]


def _imported(source: bytes) -> Iterator[str]:
    """What a file imports by name: modules, and what may be a module of a package."""
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError):  # running it says where
        return
    for node in nodes:
        match node:
            case ast.Import(names=names):
                yield from (name.name for name in names)
            case ast.ImportFrom(module=str(module), names=names, level=0):
                yield module
                yield from (f"{module}.{name.name}" for name in names)


def _checked(make: Callable[..., Any], file: str, function: str) -> Callable[..., Any]:
    """The function, whose answer is an operator or an error that says what to mend."""
    signature = f"{function}(frames, height, width, generator)"

    def checked(frames: int, height: int, width: int, generator: Generator) -> Any:
        try:
            operator = make(frames, height, width, generator)
        except (InputError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            raise InputError(
                f"--task {file}:{function} raised {type(error).__name__}: {error}; it is called as "
                f"{signature}, and returns an operator"
            ) from error
        kinds = ForwardOperator | NonlinearOperator
        if isinstance(operator, type) or not isinstance(operator, kinds):
            raise InputError(
                f"--task {file}:{function} returned {name_of(operator)}, which is no operator: "
                f"make {signature} return a value with the methods forward(video) and "
                "adjoint(measurement)"
            )
        return operator

    return checked


def check_answers(operator: Any, task: str, shape: tuple[int, int, int, int]) -> None:
    """Raise InputError for an operator of one's own whose answers are none, or of a wrong shape.

    Where the video is too large to be tried before, the run itself shows it.

    Args:
        operator: the task's.
        task: for words.
        shape: of the video.
    """
    if prod(shape) > LARGEST:
        return
    back = "adjoint" if isinstance(operator, ForwardOperator) else "lift"
    answer: Any = torch.zeros(shape)
    for method in ("forward", back):
        given = tuple(answer.shape)
        try:
            answer = getattr(operator, method)(answer)
        except (InputError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            if place_in(error) is not None:  # it is told with its place
                raise
            raise InputError(
                f"--task {task}: {method} of {name_of(operator)} raised {type(error).__name__} for "
                f"{given}: {error}"
            ) from error
        if not isinstance(answer, torch.Tensor) or not answer.is_floating_point():
            kind = answer.dtype if isinstance(answer, torch.Tensor) else type(answer).__name__
            raise InputError(
                f"--task {task}: {method} of {name_of(operator)} returned {kind}: expected a "
                "tensor of the dtype that it was given"
            )
    if answer.shape != shape:
        raise InputError(
            f"--task {task}: {back} of {name_of(operator)} returned {tuple(answer.shape)} for what "
            f"forward made of a video of {shape}: make it go back to that"
        )


def place_in(error: BaseException) -> str | None:
    """Where in a file of somebody's own an error came up; None where it was not in one."""
    places = [
        f"line {line} of {Path(frame.f_code.co_filename).name}, in {frame.f_code.co_name}"
        for frame, line in walk_tb(error.__traceback__)
        if frame.f_globals.get("__name__") in OWN or _beside_own(frame.f_code.co_filename)
    ]
    return places[-1] if places else None


def _beside_own(file: str) -> bool:
    """Whether a file lies below that of a task of somebody's own, and in no library."""
    path = Path(file)
    library = path.is_relative_to(LIBRARY) or "site-packages" in path.parts
    return not library and any(path.is_relative_to(folder) for folder in FOLDERS)


@cache
def _module(path: Path, code: str) -> Any:
    """The file, run once."""
    spec = spec_from_file_location(f"{path.stem}_{code}", path)
    assert spec is not None  # it is a Python file
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for their annotations
    OWN.add(spec.name)
    FOLDERS.add(path.parent)
    try:
        with _beside(path):
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # whatever somebody's own file may raise
        del sys.modules[spec.name]
        way = f"python {path.name} shows where"
        if isinstance(error, SystemExit):
            way = 'put what it does as a program below if __name__ == "__main__":'
        raise InputError(
            f"--task: {path.name} cannot be run ({type(error).__name__}: {error}): {way}"
        ) from error
    return module


@contextmanager
def _beside(path: Path) -> Iterator[None]:
    """Modules beside the file can be imported."""
    sys.path.insert(0, str(path.parent))
    try:
        yield
    finally:
        sys.path.remove(str(path.parent))
