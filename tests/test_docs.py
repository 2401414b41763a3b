"""The documentation builds, its examples run, and every public name is in it."""

import ast
import importlib
import re
import subprocess
import sys
import textwrap
from itertools import pairwise
from pathlib import Path

import pytest

import visionxl

REPOSITORY = Path(__file__).parent.parent
DOCS = REPOSITORY / "docs"
PACKAGES = (
    "visionxl",
    "visionxl.operators",
    "visionxl.priors",
    "visionxl.solvers",
    "visionxl.init",
    "visionxl.testing",
)
NAMES = [
    f"{package}.{name}"
    for package in PACKAGES
    for name in importlib.import_module(package).__all__
    if name != "__version__"
]


def test_the_docs_build_without_a_warning(tmp_path):
    pytest.importorskip("sphinx", reason="sphinx is not installed: pip install 'visionxl[docs]'")
    pytest.importorskip("furo", reason="furo is not installed: pip install 'visionxl[docs]'")
    options = ["-W", "--keep-going", "-q", "-b", "html", "-d", str(tmp_path / "doctrees")]
    built = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, str(DOCS), str(tmp_path / "html")],
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    pages = {page.stem for page in DOCS.glob("*.rst")}
    assert pages <= {page.stem for page in (tmp_path / "html").glob("*.html")}


MARKDOWN_BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
RST_BLOCK = re.compile(
    r"^\.\. code-block:: python\n(?:[ ]+:.*\n)*\n((?:[ ]+.*\n|\n)+)", re.MULTILINE
)


def code_blocks(path):
    """The Python blocks of a page, each behind as many empty lines as stand before it there."""
    text = path.read_text() + "\n"
    for found in (MARKDOWN_BLOCK if path.suffix == ".md" else RST_BLOCK).finditer(text):
        yield "\n" * text.count("\n", 0, found.start(1)) + textwrap.dedent(found[1])


PAGES = [REPOSITORY / "README.md", *sorted(DOCS.glob("*.rst"))]


@pytest.mark.parametrize("page", [p for p in PAGES if list(code_blocks(p))], ids=lambda p: p.name)
def test_every_example_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    for block in code_blocks(page):
        exec(compile(block, str(page), "exec"), namespace)


def test_no_example_is_overlooked():
    for page in PAGES:
        marks = re.findall(r"^\s*(?:```|\.\. code-block:: )python", page.read_text(), re.MULTILINE)
        assert len(marks) == len(list(code_blocks(page))), page.name


def words_of_data():
    """Names of values and aliases that have a docstring below them, in any module."""
    for module in Path(visionxl.__file__).parent.rglob("*.py"):
        body = ast.parse(module.read_text()).body
        for statement, following in pairwise(body):
            match statement, following:
                case (
                    ast.Assign(targets=[ast.Name(name)]) | ast.AnnAssign(target=ast.Name(name)),
                    ast.Expr(ast.Constant(str())),
                ):
                    yield name


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_has_a_docstring(name):
    package, _, last = name.rpartition(".")
    thing = getattr(importlib.import_module(package), last)
    is_data = getattr(thing, "__module__", "").partition(".")[0] != "visionxl"
    assert last in words_of_data() if is_data else thing.__doc__


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_is_in_the_reference(name):
    reference = (DOCS / "api.rst").read_text()
    documented = re.findall(r"^\.\. auto(?:class|function|data|exception):: (\S+)", reference, re.M)
    package, _, last = name.rpartition(".")
    if package != "visionxl":
        assert documented.count(name) == 1
    else:  # it is documented where it lives, and listed as one that is here too
        (home,) = [d for d in documented if d.endswith(f".{last}")]
        assert re.search(rf":\w+:`~{re.escape(home)}`", reference)
