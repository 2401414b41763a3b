"""The documentation builds, its examples run, and every public name is in it."""

import ast
import importlib
import os
import re
import shutil
import subprocess
import sys
import textwrap
from itertools import pairwise
from pathlib import Path

import models
import pytest
import torch
from PIL import Image

import visionxl
from visionxl import SDXLPrior

REPOSITORY = Path(__file__).parent.parent
DOCS = REPOSITORY / "docs"
PACKAGES = (
    "visionxl",
    "visionxl.operators",
    "visionxl.priors",
    "visionxl.solvers",
    "visionxl.init",
    "visionxl.report",
    "visionxl.testing",
)
NAMES = [
    f"{package}.{name}"
    for package in PACKAGES
    for name in importlib.import_module(package).__all__
    if name != "__version__"
]


def copied(folder):
    """The pages, in a copy: several builds at once would write into one another's gallery."""
    made = shutil.ignore_patterns("_build", "auto_gallery", "sg_execution_times.rst", "__pycache__")
    shutil.copytree(DOCS, folder / "docs", ignore=made)
    for page in REPOSITORY.glob("*.md"):
        shutil.copy(page, folder)
    with (folder / "docs" / "conf.py").open("a") as configuration:
        scrapers = '("shown", "films.scraper")'
        configuration.write(f'\nsphinx_gallery_conf["image_scrapers"] = {scrapers}\n')
        configuration.write('extensions.remove("sphinx.ext.viewcode")\n')  # a page for every module
    return folder / "docs"


UNHEARD = "ignore:Failed to load image Python extension:UserWarning"  # as in pyproject.toml


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The pages, with the gallery: what the build said, and the folder."""
    pytest.importorskip("sphinx", reason="sphinx is not installed: pip install 'visionxl[docs]'")
    pytest.importorskip("furo", reason="furo is not installed: pip install 'visionxl[docs]'")
    folder = tmp_path_factory.mktemp("manual")
    options = ["-W", "--keep-going", "-q", "-b", "html", "-d", str(folder / "doctrees")]
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]  # for tests/shown.py
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, str(copied(folder)), str(folder / "html")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONWARNINGS": UNHEARD},
        capture_output=True,
        text=True,
    )
    return done, folder / "html"


@pytest.fixture(scope="module")
def html(built):
    return built[1]


def test_the_docs_build_without_a_warning(built):
    done, html = built
    assert done.returncode == 0, done.stderr
    pages = {page.stem for page in DOCS.glob("*.rst")}
    assert pages <= {page.stem for page in html.glob("*.html")}


LESSONS = sorted((DOCS / "gallery").glob("plot_*.py"))
OUTPUT = re.compile(r'<div class="sphx-glr-script-out.*?</div>', re.DOTALL)
PICTURE = re.compile(r'<img [^>]*src="\.\./_images/(sphx_glr_plot_[^"]+)"')
FILMS = {"plot_1_loop", "plot_3_shared_noise", "plot_4_noise_fitting"}  # about what takes time


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_every_lesson_runs_and_shows_something(lesson, html):
    page = (html / "auto_gallery" / f"{lesson.stem}.html").read_text()
    said = "".join(OUTPUT.findall(page)).replace("UserWarning: adjoint of WrongWay", "")  # a lesson
    assert "Warning" not in said
    pictures = [name for name in PICTURE.findall(page) if lesson.stem in name]
    assert pictures  # with something in all their axes: tests/shown.py
    assert all(1e3 < (html / "_images" / name).stat().st_size < 1e6 for name in pictures)
    end = page.rpartition(pictures[-1])[2].partition('<p class="sphx-glr-timing">')[0]
    assert not re.search(r"<p>|<pre>", end), end  # it ends in a picture
    films = []
    for name in pictures:
        with Image.open(html / "_images" / name) as picture:
            if getattr(picture, "n_frames", 1) > 1:
                films.append(picture.info["loop"])
    assert set(films) == ({0} if lesson.stem in FILMS else set())  # 0: it never ends


def test_there_are_six_lessons():
    assert len(LESSONS) == 6


# In a browser

PHONE = {"width": 390, "height": 844}
CUT_OFF = """() => [...document.querySelectorAll('article *')].filter(
    part => part.getBoundingClientRect().right > innerWidth + 1
        && !part.closest('.table-wrapper, .highlight, .sig, div.math')
).map(part => part.tagName + ' ' + part.textContent.slice(0, 40))"""


def test_pages_fit_a_phone_need_no_network_and_are_found(html, browser):
    context = browser.new_context(viewport=PHONE)
    tab, requests = context.new_page(), []
    tab.on("request", lambda request: requests.append(request.url))
    for page in sorted(html.glob("*.html")):
        tab.goto(page.as_uri(), wait_until="domcontentloaded")
        assert tab.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], page.name
        assert tab.evaluate(CUT_OFF) == [], page.name
    for word, page in (("estimate_noise", "noise.html"), ("saturated", "limits.html")):
        tab.goto(f"{(html / 'search.html').as_uri()}?q={word}")
        tab.wait_for_selector(f"#search-results a[href*='{page}']", timeout=10_000)
    assert {url.partition(":")[0] for url in requests} <= {"file", "data"}
    context.close()


@pytest.fixture
def extensions(monkeypatch):
    """The modules beside the configuration can be imported."""
    pytest.importorskip("sphinx", reason="sphinx is not installed: pip install 'visionxl[docs]'")
    monkeypatch.syspath_prepend(DOCS)


@pytest.mark.parametrize("accented", [r"\hat z_0", r"\bar\alpha_t", r"\hat\varepsilon_\lambda"])
def test_the_subscript_of_an_accented_letter_stands_beside_it(accented, extensions):
    formula = importlib.import_module("mathml").mathml(accented)
    assert re.search(r"<msub>\s*<mover accent", formula)
    assert "munder" not in formula


def test_markdown_pages_become_pages(extensions):
    text = "# A `b`\n\n- [c](https://d) [e](CHANGELOG.md) [`f`](f.py)\n\n|g|h|\n|---|---|\n|i||\n"
    text += "\n```bash\nj | k\n```\n"
    assert [
        line for line in importlib.import_module("markdown_pages").restructured(text) if line
    ] == [
        *("A ``b``", "======="),
        "- `c <https://d>`__ :doc:`changelog` ``f``",
        *(".. list-table::", "   :header-rows: 1", "   * - g", "     - h", "   * - i", "     -"),
        *(".. code-block:: bash", "   j | k"),
    ]


MARKDOWN_BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
RST_BLOCK = re.compile(
    r"^\.\. code-block:: python\n(?:[ ]+:.*\n)*\n((?:[ ]+.*\n|\n)+)", re.MULTILINE
)


def code_blocks(path):
    """The Python blocks of a page, each behind as many empty lines as stand before it there."""
    text = path.read_text() + "\n"
    for found in (MARKDOWN_BLOCK if path.suffix == ".md" else RST_BLOCK).finditer(text):
        yield "\n" * text.count("\n", 0, found.start(1)) + textwrap.dedent(found[1])


def miniature(folder):
    """What loads SDXL, in small, on the CPU, with what the page says beside."""
    load = SDXLPrior.from_pretrained

    def from_pretrained(source, *, device, **options):
        assert (source, torch.device(device).type) == (BASE, "cuda")
        return load(models.sdxl(folder / "sdxl"), **options)

    return from_pretrained


BASE = "stabilityai/stable-diffusion-xl-base-1.0"
PAGES = [REPOSITORY / "README.md", *sorted(DOCS.glob("*.rst"))]


@pytest.mark.parametrize("page", [p for p in PAGES if list(code_blocks(p))], ids=lambda p: p.name)
def test_every_example_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(SDXLPrior, "from_pretrained", miniature(tmp_path))
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
