"""What is imported when, and which way imports run."""

import ast
import re
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest

import visionxl

ROOT = Path(visionxl.__file__).parent
HEAVY = ("diffusers", "transformers", "cv2")


def module_name(path):
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}


def imports_of(nodes):
    """Dotted names that statements import; for ``from a import b``, ``a.b``."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def tree_of(name):
    return ast.parse(MODULES[name].read_text())


def layer(name):
    """``operators`` of ``visionxl.operators.blur``; empty for ``visionxl`` itself."""
    return ".".join(name.split(".")[1:2])


@cache
def layers_imported_by(name):
    names = {i for i in imports_of(ast.walk(tree_of(name))) if i.split(".")[0] == "visionxl"}
    return {layer(imported) for imported in names}


def run(code):
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def test_importing_the_package_and_its_commands_leaves_heavy_packages_alone():
    loaded = run("import sys, visionxl.cli, visionxl.report; print(*sys.modules)")
    assert "torch" in loaded
    assert not {*HEAVY, "gradio", "jinja2", "matplotlib"} & set(loaded)


def test_a_restoration_with_a_known_prior_leaves_them_alone_too():
    loaded = run(
        "import sys, torch\n"
        "from visionxl import GaussianPrior, SDXLPrior, simulate, restore, vision_xl\n"
        "from visionxl.operators import AveragePool\n"
        "generator = torch.Generator().manual_seed(0)\n"
        "problem = simulate(torch.zeros(1, 3, 16, 16), AveragePool(4), generator=generator)\n"
        "prior = GaussianPrior.natural(16, 16)\n"
        "restore(problem, prior, vision_xl(count=4), generator=generator)\n"
        "print(*sys.modules)"
    )
    assert not set(HEAVY) & set(loaded)


@pytest.mark.parametrize("name", MODULES)
def test_no_module_imports_them_before_a_prior_is_loaded(name):
    tree = tree_of(name)
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.Lambda)]
    late = {inner for function in functions for inner in ast.walk(function)}
    early = imports_of(node for node in ast.walk(tree) if node not in late)
    assert not {imported.split(".")[0] for imported in early} & set(HEAVY)


PAGE = ROOT.parent / "ARCHITECTURE.md"
ROW = re.compile(r"^\| `(\w+)` \|.*\|([^|]*)\|$", re.MULTILINE)
ALLOWED = {name: set(re.findall(r"`(\w+)`", last)) for name, last in ROW.findall(PAGE.read_text())}
EVERYONE_MAY_IMPORT = {"errors", "protocols", "validators"}
FREE = {"", "__main__"}  # the package itself gathers the public names


@pytest.mark.parametrize("name", [n for n in MODULES if layer(n) not in FREE])
def test_imports_run_as_the_page_on_the_architecture_says(name):
    own = layer(name)
    imported = layers_imported_by(name) - EVERYONE_MAY_IMPORT - {own}
    # ``from visionxl import restore`` is refused too: it would hide where a name comes from.
    assert imported <= ALLOWED[own], f"{name} imports {imported - ALLOWED[own]}"


def test_imports_run_one_way():
    TopologicalSorter(ALLOWED).prepare()  # it raises CycleError


def test_the_page_on_the_architecture_has_every_part_and_no_other():
    assert set(ALLOWED) == {layer(name) for name in MODULES} - FREE
    assert {part for parts in ALLOWED.values() for part in parts} <= set(ALLOWED)


def test_no_public_name_hides_a_module():
    """So that ``import visionxl.solvers.cg as cg`` is the module."""
    hidden = []
    for name in sorted(set(MODULES) - {"visionxl", "visionxl.__main__"}):
        try:
            module = import_module(name)
        except ModuleNotFoundError as error:
            if error.name in ("deepinv", "gradio"):  # which are optional
                continue
            raise
        package, _, own = name.rpartition(".")
        hidden += [] if getattr(sys.modules[package], own) is module else [name]
    assert not hidden


def test_the_protocols_import_nothing_but_errors():
    assert layers_imported_by("visionxl.protocols") == {"errors"}


@pytest.mark.parametrize("name", [n for n in MODULES if not layer(n).startswith(("cli", "__main"))])
def test_only_the_command_line_imports_the_command_line(name):
    assert not [i for i in layers_imported_by(name) if i.startswith("cli")]


def test_an_import_inside_a_function_is_seen():
    assert "diffusers.DiffusionPipeline" in imports_of(ast.walk(tree_of("visionxl.priors.loading")))
    assert {"init", "protocols"} <= layers_imported_by("visionxl.solvers.methods")
