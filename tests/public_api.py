"""What programs may rely on: ``python tests/public_api.py`` writes the list of it anew."""

import importlib
import inspect
import re
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"
LIST = Path(__file__).with_suffix(".txt")
PACKAGES = (
    "visionxl",
    "visionxl.distributed",
    "visionxl.init",
    "visionxl.operators",
    "visionxl.planning",
    "visionxl.priors",
    "visionxl.report",
    "visionxl.solvers",
    "visionxl.testing",
)
DOCUMENTED = re.compile(r"^\.\. auto(?:class|function|data|exception):: (\S+)", re.MULTILINE)


def public_names():
    """What a package exports, and what the pages document of other modules."""
    exported = {
        f"{package}.{name}"
        for package in PACKAGES
        for name in importlib.import_module(package).__all__
    }
    documented = {n for page in DOCS.glob("*.rst") for n in DOCUMENTED.findall(page.read_text())}
    return sorted(exported | documented)


def parameters(function):
    """The parameters' names and defaults, without their types."""
    words, named = [], False
    for given in inspect.signature(function).parameters.values():
        if given.name == "self":
            continue
        if given.kind is given.KEYWORD_ONLY and not named:
            words.append("*")
            named = True
        plain = isinstance(given.default, str | float | int | tuple | None)
        default = repr(given.default) if plain else "..."
        words.append(given.name if given.default is given.empty else f"{given.name}={default}")
    return f"({', '.join(words)})"


def members(kind):
    """Methods and properties; the fields of a value are its constructor's parameters."""
    ours = [vars(c) for c in kind.__mro__ if c.__module__.startswith("visionxl.")]
    for name in sorted({name for names in ours for name in names}):
        value = inspect.getattr_static(kind, name)
        if name.startswith("_"):
            continue
        if isinstance(value, classmethod | staticmethod):
            value = getattr(kind, name)
        if inspect.isroutine(value):
            yield f"    {name}{parameters(value)}"
        elif isinstance(value, property):
            yield f"    {name}"


def lines_of(name):
    """A function with its parameters; a class with its constructor's and its members."""
    module, _, last = name.rpartition(".")
    thing = getattr(importlib.import_module(module), last)
    if module == "visionxl":  # it is told where it lives
        return [name]
    if inspect.isfunction(thing):
        return [name + parameters(thing)]
    if not inspect.isclass(thing) or not thing.__module__.startswith("visionxl."):
        return [name]
    is_made = "__init__" in vars(thing) and not getattr(thing, "_is_protocol", False)
    return [name + (parameters(thing) if is_made else ""), *members(thing)]


def public_api():
    """The list, as text."""
    return "".join(f"{line}\n" for name in public_names() for line in lines_of(name))


if __name__ == "__main__":
    LIST.write_text(public_api())
