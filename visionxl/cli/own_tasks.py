"""Tasks by name: the library's, or ``FILE.py:FUNCTION``, one of somebody's own."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from importlib.util import module_from_spec, spec_from_file_location
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


@frozen(eq=False)
class FoundTask:
    """A task, found by what the option says.

    Args:
        name: by which a measurement knows it: of a task of one's own without the folder.
        make: ``(frames, height, width, generator) -> operator``.
        code: checksum of the file that it is in; None for a task of the library.
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
    code = sha256(path.read_bytes()).hexdigest()[:16]
    make = getattr(_module(path.resolve(), code), function, None)
    if not callable(make):
        raise InputError(
            f"--task {name!r}: {path.name} has no function {function!r}; write "
            f"def {function or 'make'}(frames, height, width, generator), which returns an operator"
        )
    return FoundTask(f"{path.name}:{function}", _checked(make, path.name, function), code)


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


def place_in(error: BaseException) -> str | None:
    """Where in a file of somebody's own an error came up; None where it was not in one."""
    places = [
        f"line {line} of {Path(frame.f_code.co_filename).name}, in {frame.f_code.co_name}"
        for frame, line in walk_tb(error.__traceback__)
        if frame.f_globals.get("__name__") in OWN
    ]
    return places[-1] if places else None


@cache
def _module(path: Path, code: str) -> Any:
    """The file, run once."""
    spec = spec_from_file_location(f"{path.stem}_{code}", path)
    assert spec is not None  # it is a Python file
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for their annotations
    OWN.add(spec.name)
    try:
        with _beside(path):
            spec.loader.exec_module(module)
    except Exception as error:  # whatever somebody's own file may raise
        del sys.modules[spec.name]
        raise InputError(
            f"--task: {path.name} cannot be run ({type(error).__name__}: {error}): python "
            f"{path.name} shows where"
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
