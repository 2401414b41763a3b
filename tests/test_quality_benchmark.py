"""The benchmark's command: its records, resuming, pictures, and the order that it measures."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import quality
import torch
from clips import sized
from command_line import make_clip
from measuring import run
from peers.case import Case, Estimate
from peers.methods import METHODS
from PIL import Image
from quality_command import TOY, bench, chancy, records
from results import Record

import visionxl
from visionxl.metrics import psnr
from visionxl.video import DEMO_CLIP, read_clip

CASES = f"{TOY} --task inpaint+ --task deblur --noise 0 --noise 0.05 --seeds 2"
COMMAND = f"scene.mkv {CASES} --method back-projection --method default --json out.json"
COUNT = 15  # 2 tasks, 2 noises, 2 seeds and 2 methods, less one that would repeat itself
KEY = ("task", "noise", "method", "seed")


def keys(told):
    return [tuple(record[name] for name in KEY) for record in told]


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A folder to write into, with a clip; no networks."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(quality.PocketPrior, "load", lambda device: None)
    monkeypatch.setitem(METHODS, "default", chancy)
    make_clip(tmp_path / "scene.mkv", 5, 32, 48)


@pytest.fixture
def runs(monkeypatch):
    """The keys of what was run, in its order."""
    told = []

    def watched(name, method):
        def watch(case, prior):
            told.append((case.task, case.noise, name, case.seed))
            return method(case, prior)

        return watch

    for name in ("back-projection", "default"):
        monkeypatch.setitem(METHODS, name, watched(name, METHODS[name]))
    return told


def test_every_case_has_a_record_and_no_chance_is_not_repeated(capsys, runs):
    assert bench(capsys, COMMAND).code == 0
    expected = [
        (task, noise, method, seed)
        for task in ("deblur", "inpaint+")
        for noise in (0, 0.05)
        for method in ("back-projection", "default")
        for seed in (0, 1)
        if (task, noise, method, seed) != ("deblur", 0, "back-projection", 1)
    ]
    assert keys(records()) == runs
    assert sorted(runs) == sorted(expected)
    assert len(runs) == COUNT


def test_a_record_tells_what_was_measured(capsys):
    bench(capsys, COMMAND)
    record = next(r for r in records() if r["seed"] == 1 and r["method"] == "default")
    assert list(record) == [field.name for field in Record.__attrs_attrs__]
    case = Case.make(sized(Path("scene.mkv"), 3, 32, 48).video, record["task"], record["noise"], 1)
    expected = psnr(chancy(case, None).video, case.truth)
    assert record["psnr"] == pytest.approx(expected, abs=6e-4)
    size = {name: record[name] for name in ("height", "width", "frames")}
    assert size == {"height": 32, "width": 48, "frames": 3}
    assert record["clip"] == "scene"
    assert record["evaluations"] == 8
    assert record["version"] == visionxl.__version__
    assert record["command"] == f"python benchmarks/quality.py {COMMAND}"
    assert record["peak_bytes"] is None or 1e8 < record["peak_bytes"] < 1e11


def test_a_single_frame_has_no_frame_differences(capsys):
    words = "scene.mkv --height 32 --width 48 --frames 1 --task sr4 --noise 0 --json out.json"
    assert bench(capsys, f"{words} --method back-projection").code == 0
    (record,) = records()
    assert record["difference_psnr"] is None
    assert record["psnr"] > 10


def test_a_result_that_is_not_finite_diverged_and_has_no_figures(capsys, monkeypatch):
    monkeypatch.setitem(METHODS, "default", lambda case, prior: Estimate(case.truth / 0))
    assert bench(capsys, COMMAND).code == 0
    lost = [record for record in records() if record["method"] == "default"]
    assert lost
    assert all(r["diverged"] and r["psnr"] is None and r["residual"] is None for r in lost)
    assert not any(r["diverged"] for r in records() if r["method"] == "back-projection")


def test_what_is_in_the_file_is_not_run_again(capsys, runs):
    tables = bench(capsys, COMMAND).out
    before = records()
    runs.clear()
    assert bench(capsys, COMMAND).out == tables == Path("out.md").read_text(encoding="utf-8")
    assert runs == []
    assert records() == before


def test_a_file_cut_short_is_continued(capsys, runs):
    bench(capsys, COMMAND)
    before = records()
    kept, lost = before[:4] + before[6:], before[4:6]
    Path("out.json").write_text(json.dumps(kept))
    runs.clear()
    bench(capsys, COMMAND)
    assert runs == keys(lost)
    assert records()[: len(kept)] == kept
    assert keys(records()[len(kept) :]) == keys(lost)


def test_after_an_interruption_the_file_is_whole(capsys, monkeypatch):
    calls = []

    def interrupted(case, prior):
        calls.append(case)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return chancy(case, prior)

    monkeypatch.setitem(METHODS, "default", interrupted)
    with pytest.raises(KeyboardInterrupt):
        bench(capsys, COMMAND)
    assert [record["method"] for record in records()].count("default") == 2
    assert bench(capsys, COMMAND).code == 0
    assert len(calls) == 8 + 1
    assert len(set(keys(records()))) == len(records()) == COUNT


def test_another_size_is_another_measurement(capsys, runs):
    bench(capsys, COMMAND)
    tables = bench(capsys, COMMAND.replace("--frames 3", "--frames 2")).out
    assert len(runs) == len(records()) == 2 * COUNT
    assert "| scene, 3 frames of 32x48 |" in tables
    assert "| scene, 2 frames of 32x48 |" in tables


def test_pictures_and_a_video_of_every_case_of_the_first_seed(capsys):
    assert bench(capsys, f"{COMMAND} --output a/b").code == 0
    names = [f"scene_{t}_{n}_3x32x48" for t in ("deblur", "inpaint+") for n in ("0", "0.05")]
    found = sorted(path.name for path in Path("a/b").iterdir())
    assert found == sorted(f"{name}{suffix}" for name in names for suffix in (".png", ".mp4"))
    tiles = 4  # truth, measurement, two methods
    for name in names:
        with Image.open(f"a/b/{name}.png") as sheet:
            height, width = sheet.height, sheet.width
            assert len(sheet.convert("L").getcolors(256)) > 20
        assert height > 2 * 32
        assert width > tiles * 48
        film = read_clip(f"a/b/{name}.mp4").video
        assert film.shape == (3, 3, height - 32, width)  # without the enlarged part


def test_a_drawn_case_is_left_alone_and_a_lost_picture_made_again(capsys, runs):
    bench(capsys, f"{COMMAND} --output drawn")
    before = records()
    lost = Path("drawn/scene_inpaint+_0.05_3x32x48.png")
    lost.unlink()
    runs.clear()
    bench(capsys, f"{COMMAND} --output drawn")
    assert runs == [("inpaint+", 0.05, method, 0) for method in ("back-projection", "default")]
    assert lost.exists()
    assert records() == before
    runs.clear()
    bench(capsys, f"{COMMAND} --output drawn")
    assert runs == []


def test_memory_is_measured_of_each_method():
    def hungry(case, prior):
        return Estimate(torch.ones(100_000_000).sum() * case.truth)

    case = Case.make(torch.zeros(3, 3, 32, 48), "deblur", 0.0, 0)
    more, less = run(hungry, case, None).peak_bytes, run(chancy, case, None).peak_bytes
    if more is None or less is None:
        pytest.skip("this system does not tell a high-water mark that can be set back")
    assert more - less > 300e6


def test_under_noise_the_default_is_far_above_methods_that_do_not_know_it():
    words = f"{DEMO_CLIP} --height 64 --width 96 --frames 9 --task inpaint+ --noise 0.05 --seeds 1"
    words += " --method back-projection --method paper-exact --method default --json out.json"
    command = [sys.executable, quality.__file__, *words.split()]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    found = {record["method"]: record["psnr"] for record in records()}
    assert found["default"] > found["paper-exact"] + 6  # measured: 11.7
    assert found["default"] > found["back-projection"] + 6  # measured: 11.8
    assert done.stdout == Path("out.md").read_text(encoding="utf-8")
