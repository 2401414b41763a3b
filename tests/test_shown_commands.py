"""The command lines of README and docs are run, in small, or there is a reason why not."""

import importlib
import re
import shlex
import shutil
import sys
from glob import glob
from pathlib import Path
from textwrap import dedent

import pytest
import typer
from command_line import exit_code, make_clip, run_in

from visionxl.cli.options import app

REPOSITORY = Path(__file__).parent.parent
PAGES = [*sorted(REPOSITORY.glob("*.md")), *sorted((REPOSITORY / "docs").glob("*.rst"))]
BLOCK = re.compile(
    r"^```bash\n((?:.*\n)*?)```|^\.\. code-block:: bash\n\n((?:[ ]+.*\n|\n)+)", re.MULTILINE
)
OPTION = re.compile(r"--[a-z][\w-]*")

NOT_RUN = {  # a line in which the first is found is not run, and the second says why
    r"^make |^pip |^source |^pre-commit ": "it installs or builds",
    r"^pytest ": "it runs tests",
    r"^visionxl app": "it serves until it is stopped; test_app.py starts it",
    r"--device cuda": "it needs a GPU",
    r"^clips=|^head=": "it is for the nodes of a cluster",
    r"visionxl info --plan": "it counts for 20 seconds; test_memory_plan.py counts in small",
    r"restore blur-varying": "it takes half a minute at any size; test_new_operators.py inverts it",
    r"benchmarks/interrupt\.py": "it takes minutes at any size; test_resume.py runs it",
    r"benchmarks/failures\.py": "it has one size, and takes minutes",
    r"benchmarks/inner_autoencoder\.py|training/": "test_pocket_prior.py does both in small",
    r"benchmarks/kill\.py": "it takes minutes at any size; test_resume.py kills runs",
    r"benchmarks/long_clip\.py": "it takes minutes at any size; test_long.py restores in windows",
    r"benchmarks/operators\.py": "test_operators_benchmark.py runs it",
    r"benchmarks/posterior\.py": "test_posterior_benchmark.py runs its rows",
    r"benchmarks/processes\.py": "it starts many processes; test_distributed.py does",
    r"benchmarks/quality\.py": "test_quality_benchmark.py runs it",
    r"benchmarks/sdxl_(scale|tables)\.py": "test_sdxl_scale.py runs it",
}
IN_SMALL = {  # words that are added to a command; of an option that takes one, the last counts
    "simulate": "--size 32x48 --frames 2 --overwrite",
    "restore": "--steps 3 --overwrite",  # one step
    "evaluate": "--size 32x48",
    "blind": "--frames 2 --read 2 --frame-size 48x64 --size 5 --blur 5 --kernels line",
    "claims": "--method ddnm",
    "codec": "--frames 2 --size 32x48 --crf 23 --task sr4",
    "estimated_noise": "--frames 4 --size 24x32",
    "explained": "--frames 2 --height 32 --width 48 --task inpaint+ --noise 0.05",
    "host_windows": "--frames 2 --height 32 --width 48",
    "methods": "--method vision_xl --frames 2 --height 32 --width 48",
    "more_tasks": "--task bracket --frames 2 --height 32 --width 48",
}


def commands_of(path):
    """The command lines of a page, as words, with what follows a backslash."""
    for found in BLOCK.finditer(path.read_text() + "\n"):
        for line in (found[1] or found[2]).replace("\\\n", " ").splitlines():
            if words := shlex.split(line, comments=True):
                yield words


def reasons(words):
    """Why they are not run."""
    line = " ".join(words)
    return [why for pattern, why in NOT_RUN.items() if re.search(pattern, line)]


WITH_COMMANDS = [page for page in PAGES if list(commands_of(page))]


def after(words, *names):
    """The words that come after those names, or None."""
    found = [i for i in range(len(words)) if tuple(words[i : i + len(names)]) == names]
    return words[found[0] + len(names) :] if found else None


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=lambda p: p.name)
def test_every_command_line_has_names_and_options_that_exist(page):
    known = typer.main.get_command(app).commands
    for words in commands_of(page):
        given = after(words, "visionxl")
        if given and not given[0].startswith("-"):
            options = {option for parameter in known[given[0]].params for option in parameter.opts}
            assert {w for w in given if OPTION.fullmatch(w)} <= options, words
        for file in (w for w in words if re.fullmatch(r"(benchmarks|training|tests)/\S+\.py", w)):
            source = (
                REPOSITORY / file
            ).read_text()  # an option may be said in a module beside or below it
            source += "".join(p.read_text() for p in (REPOSITORY / file).parent.rglob("*.py"))
            assert all(w in source for w in words if OPTION.fullmatch(w)), words


def definitions(page):
    """What a page imports and defines at the outermost level, down to its function ``make``."""
    text = (REPOSITORY / "docs" / page).read_text()
    text = text[: re.search(r"\n   def make\(.*\n(?:    .*\n)+", text).end()]
    lines = r"(?m)^   ((?:import|from) .*\n|(?:class|def) .*\n(?:    .*\n|\n)+)"
    return "\n".join(dedent(f"   {found}") for found in re.findall(lines, text))


@pytest.fixture(scope="module")
def belongings(tmp_path_factory):
    """What a reader of any page has: clips, and measurements of them."""
    folder = tmp_path_factory.mktemp("belongings")
    for name in ("clip.mp4", "dog.mp4", "long.mp4", "long.mkv", "blurred.mp4", "blurred.mkv"):
        make_clip(folder / name, 4)
    for page, file in (("operator", "splitter"), ("prior", "pixels"), ("method", "mine")):
        (folder / f"{file}.py").write_text(definitions(f"own-{page}.rst"))
    words = "simulate clip.mp4 --task deblur --noise 0.01 --frames 2 --output y.safetensors"
    run_in(folder, *words.split())
    for name in ("clips", "y"):
        (folder / name).mkdir()
        shutil.copy(folder / "y.safetensors", folder / name / "one.safetensors")
    return folder


@pytest.fixture
def at_home(belongings, tmp_path, monkeypatch):
    """In a copy of them, with reports that draw nothing: test_report.py looks at what they draw."""
    shutil.copytree(belongings, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("visionxl.report.page.plots", lambda *_, **__: [])


def run(words, monkeypatch):
    """As a shell does, in small. Anything that goes wrong is raised."""
    program, script, *rest = words
    given = [name for word in rest for name in (sorted(glob(word)) or [word])]
    given = ["clip.mp4" if word == "CLIP..." else word for word in given]
    small = shlex.split(IN_SMALL.get(Path(script).stem, ""))
    if program == "visionxl":
        assert exit_code(monkeypatch, script, *given, *small) == 0, words
    else:
        assert (program, Path(script).parent) == ("python", Path("benchmarks")), words
        monkeypatch.setattr(sys, "argv", [script, *given, *small])
        importlib.import_module(Path(script).stem).main()


RUN = [page for page in WITH_COMMANDS if not all(map(reasons, commands_of(page)))]


@pytest.mark.parametrize("page", RUN, ids=lambda p: p.name)
@pytest.mark.filterwarnings("ignore:.*result's values are beyond")
def test_every_command_line_runs(page, at_home, monkeypatch):
    for words in commands_of(page):
        if not reasons(words):
            run(words, monkeypatch)


def test_no_command_line_is_overlooked_and_no_reason_is_left_over():
    marks = re.compile(r"^\s*(?:```|\.\. code-block:: )(?:bash|sh|shell|console)\b", re.MULTILINE)
    for page in PAGES:
        text = page.read_text()
        assert len(marks.findall(text)) == len(BLOCK.findall(text + "\n")), page.name
    given = {why for page in PAGES for words in commands_of(page) for why in reasons(words)}
    assert given == set(NOT_RUN.values())
    tests = re.findall(r"test_\w+\.py", " ".join(NOT_RUN.values()))
    assert all((Path(__file__).parent / name).exists() for name in tests)
