"""User-defined functions, ``FILE.py:FUNCTION`` on the command line."""

import ast
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial, wraps
from hashlib import sha256
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from traceback import walk_tb
from typing import Any, get_args

import torch
from attrs import frozen

from visionxl.errors import InputError

OWN: set[str] = set()  # user-defined modules that were run
FOLDERS: set[Path] = set()  # and where they are
LIBRARY = Path(__file__).parents[1]
CALLED = re.compile(r"(\w+)[\w.<>]*\(\) (?:missing|takes|got) ")  # of Python's own words


@frozen(eq=False)
class Own:
    """A user-defined function, or a task of the library.

    Args:
        name: of the task; of a user-defined function the file's, without its folder, and its own.
        make: as the file has it.
        code: checksum of the file, and of those beside it that this one imports; None for a task of
            the library.
    """

    name: str
    make: Callable[..., Any]
    code: str | None = None


def is_own(name: str) -> bool:
    """Whether an option means ``FILE.py:FUNCTION``."""
    return name.lower().endswith(".py") or name.rpartition(":")[0].lower().endswith(".py")


def find_own(option: str, name: str, arguments: str, answer: str) -> Own:
    """The function that ``FILE.py:FUNCTION`` means. The file is run.

    Args:
        option: that was given, such as ``--task``.
        name: its value.
        arguments: that the function is called with, for messages.
        answer: what it returns, for messages.

    Raises:
        InputError: there is no such file or function, or the file cannot be run.
    """
    path, function = file_of(option, name)
    code = checksum(path)
    make = getattr(_module(path.resolve(), code, option), function, None)
    if not callable(make):
        raise InputError(
            f"{option} {name!r}: {path.name} has no function {function!r}; write "
            f"def {function or 'make'}{arguments}, which returns {answer}"
        )
    return Own(f"{path.name}:{function}", _at_home(make, path.resolve()), code)


def file_of(option: str, name: str) -> tuple[Path, str]:
    """The file, which is there, and the function of ``FILE.py:FUNCTION``."""
    if name.lower().endswith(".py"):
        raise InputError(f"{option} {name!r} does not say which function: give {name}:FUNCTION")
    file, _, function = name.rpartition(":")
    if not Path(file).is_file():
        raise InputError(f"{option} {name!r}: there is no file {file!r}; give FILE.py:FUNCTION")
    return Path(file), function


def made_by_own(option: str, name: str, answer: str, kind: type, **arguments: Any) -> Any:
    """What a user-defined function returns for these arguments.

    Raises:
        InputError: as :func:`find_own`; or it raises something, or returns what is no ``kind``.
    """
    signature = f"({', '.join(arguments)})"
    found = find_own(option, name, signature, answer)
    call = partial(found.make, **arguments)
    return answered(call, f"{option} {found.name}", signature, answer, kind)


def answered(call: Callable[[], Any], whose: str, signature: str, answer: str, kind: Any) -> Any:
    """What a call of a user-defined function returns, or an error that says what to fix.

    Args:
        call: of the function.
        whose: the option and the function, for messages, as the next two.
        signature: how it is called.
        answer: what it returns.
        kind: of what it returns, a type or several.
    """
    try:
        made = call()
    except (InputError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise InputError(
            f"{whose} raised {type(error).__name__}: {error}; it is called as {signature}, and "
            f"returns {answer}"
        ) from error
    if isinstance(made, type) or not isinstance(made, kind):
        raise InputError(f"{whose} returned {_described(made, kind)}: make it return {answer}")
    return made


def _described(made: object, kind: Any) -> str:
    """What it is, and what it lacks of a protocol."""
    if isinstance(made, type):
        return f"the class {made.__name__}, not a value of it"
    kinds = get_args(kind) or (kind,)
    wanted = [sorted(getattr(one, "__abstractmethods__", ())) for one in kinds]
    lists = [[name for name in names if not hasattr(made, name)] for names in wanted]
    # What it has most of is what it was to be.
    missing = min(zip(lists, wanted, strict=True), key=lambda p: (len(p[0]), -len(p[1])))[0]
    lacks = f", which has no {', '.join(missing)}" if missing else ""
    return type(made).__name__ + lacks


def checksum(path: Path) -> str:
    """Of a file, and of the modules and packages beside it that it imports, and those import."""
    path = path.resolve()  # or what is found in two ways would be read twice
    read: dict[Path, bytes] = {}
    waiting = [path]
    while waiting:
        file = waiting.pop()
        if file in read or not file.is_file():
            continue
        read[file] = file.read_bytes()
        for level, name in _imported(read[file]):
            folders = file.parents
            folder = folders[min(level, len(folders)) - 1] if level else path.parent
            waiting += [folder / "__init__.py"] * (level > 0)
            for part in name.split("."):  # a package is run before what is in it
                folder = folder / part
                waiting += [folder.with_suffix(".py"), folder / "__init__.py"]
    files = [path, *sorted(set(read) - {path})]
    return sha256(b"".join(read[file] for file in files)).hexdigest()[:16]


def _imported(source: bytes) -> Iterator[tuple[int, str]]:
    """What a file imports by name: modules, and what may be a module of a package; with the number
    of dots before it."""
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError):  # running it says where
        return
    for node in nodes:
        match node:
            case ast.Import(names=names):
                yield from ((0, name.name) for name in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                above = [] if module is None else [module]
                yield from ((level, ".".join(above)) for _ in above)
                yield from ((level, ".".join([*above, name.name])) for name in names)


def place_in(error: BaseException) -> str | None:
    """Where in a user-defined file an error was raised; None if in none."""
    places = [
        f"line {line} of {Path(frame.f_code.co_filename).name}, in {frame.f_code.co_name}"
        for frame, line in walk_tb(error.__traceback__)
        if frame.f_globals.get("__name__") in OWN or _beside_own(frame.f_code.co_filename)
    ]
    return places[-1] if places else None


def called_wrongly(error: BaseException) -> str | None:
    """The user's file whose function or method takes other arguments than it is given; None if the
    error is another one."""
    called = CALLED.match(str(error)) if isinstance(error, TypeError) else None
    for name in OWN if called else ():
        module: Any = sys.modules[name]
        part = called and getattr(module, called[1], None)
        if getattr(part, "__module__", None) == name:  # and not what the file imports
            return Path(module.__file__).name
    return None


def _beside_own(file: str) -> bool:
    """Whether a file lies below the folder of a user-defined module, and in no library."""
    path = Path(file)
    library = path.is_relative_to(LIBRARY) or "site-packages" in path.parts
    return not library and any(path.is_relative_to(folder) for folder in FOLDERS)


@cache
def _module(path: Path, code: str, option: str) -> Any:
    """The file, run once."""
    _check_apart(path)
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
        OWN.discard(spec.name)
        way = f"python {path.name} shows where"
        if isinstance(error, SystemExit):
            way = 'put what it does as a program below if __name__ == "__main__":'
        raise InputError(
            f"{option}: {path.name} cannot be run ({type(error).__name__}: {error}): {way}"
        ) from error
    return module


def _at_home(function: Callable[..., Any], path: Path) -> Callable[..., Any]:
    """The function, which can import what is beside its file."""

    @wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        _check_apart(path)
        with _beside(path):
            return function(*args, **kwargs)

    return called


def _check_apart(path: Path) -> None:
    """Raise InputError where a module beside the file has the name of one that is loaded, which
    an import would give instead."""
    for level, name in _imported(path.read_bytes()):
        first, _, _ = name.partition(".")
        beside = [path.parent / f"{first}.py", path.parent / first / "__init__.py"]
        own = next((file for file in beside if file.is_file()), None)
        loaded = getattr(sys.modules.get(first), "__file__", None)
        if level or own is None or loaded is None:
            continue
        if own.resolve() != Path(loaded).resolve():
            raise InputError(
                f"{path.name} imports {first}, which lies beside it, but another module of that "
                f"name is loaded, {loaded!r}: rename one"
            )


@contextmanager
def _beside(path: Path) -> Iterator[None]:
    """Modules beside the file can be imported."""
    sys.path.insert(0, str(path.parent))
    try:
        yield
    finally:
        sys.path.remove(str(path.parent))
