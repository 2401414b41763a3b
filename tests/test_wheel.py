"""What is released: the wheel, and the sdist it can be built from, work without the repository."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
WEIGHTS = "visionxl/priors/pocket/weights"
NEEDED = {
    "visionxl/py.typed",
    "visionxl/assets/flower.mp4",
    "visionxl/assets/sdxl.json",
    f"{WEIGHTS}/scheduler/scheduler_config.json",
    *(f"{WEIGHTS}/{part}/config.json" for part in ("unet", "vae")),
    *(f"{WEIGHTS}/{part}/diffusion_pytorch_model.safetensors" for part in ("unet", "vae")),
}
DEMO = """
import sys
from pathlib import Path

installed = Path(sys.argv.pop(1))
outside = [p for p in sys.path if not Path(p, "visionxl").exists()]  # an editable install is none
sys.path[:] = [str(installed), *outside]
import torch
import visionxl.cli.demo
from visionxl.sizes import fit_to
from visionxl.video import Clip

assert Path(visionxl.__file__).is_relative_to(installed)
torch.set_num_threads(1)
whole = visionxl.cli.demo.read_clip  # the clip inside the wheel; three small frames are quick
small = lambda path: Clip(fit_to(whole(path, 3).video, 64, 96), whole(path, 1).rate)
visionxl.cli.demo.read_clip = small
visionxl.cli.main()
"""


def run(*words, cwd, **more):
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | more
    done = subprocess.run(
        [sys.executable, *map(str, words)], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(source, target, *kinds):
    # hatchling comes from wherever this process has it
    found = os.pathsep.join(path for path in sys.path if path)
    run("-m", "hatchling", "build", *kinds, "-d", target, cwd=source, PYTHONPATH=found)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    pytest.importorskip("hatchling", reason="hatchling is missing: pip install 'visionxl[dev]'")
    folder = tmp_path_factory.mktemp("dist")
    build(REPOSITORY, folder, "-t", "sdist", "-t", "wheel")
    return folder


@pytest.fixture(scope="module")
def wheel(built):
    (found,) = built.glob("*.whl")
    return found


def test_the_wheel_holds_the_package_and_its_data_and_nothing_else(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert names >= NEEDED
    own = {name for name in names if not name.startswith(f"{'-'.join(wheel.name.split('-')[:2])}.")}
    modules = {str(p.relative_to(REPOSITORY)) for p in (REPOSITORY / "visionxl").rglob("*.py")}
    assert {name for name in own if name.endswith(".py")} == modules | {"_visionxl.py"}
    assert {name.split("/")[0] for name in own} == {"visionxl", "_visionxl.py"}
    assert wheel.stat().st_size < 25e6


def test_the_sdist_has_all_of_the_repository_and_builds_the_same_wheel(built, wheel, tmp_path):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as packed:
        packed.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    kept = {"ARCHITECTURE.md", "CITATION.cff", "Makefile", "constraints.txt", "tests", "docs"}
    assert kept <= {path.name for path in source.iterdir()}
    build(source, tmp_path / "dist", "-t", "wheel")
    again = (tmp_path / "dist" / wheel.name).read_bytes()
    assert again == wheel.read_bytes()


def test_the_installed_wheel_runs_its_demo_without_the_repository(wheel, tmp_path):
    installed = tmp_path / "installed"
    pip = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile"]
    run(*pip, "--target", installed, wheel, cwd=tmp_path)
    assert (installed / "bin" / "visionxl").exists()
    said = run("-I", "-c", DEMO, installed, "demo", "--output", "out", cwd=tmp_path)
    assert "restored 3 frames of 64x96" in said
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written >= {"restored.mp4", "restored.png", "restored.json", "comparison.mp4"}
