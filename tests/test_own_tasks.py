"""A task of one's own on the command line: ``--task FILE.py:FUNCTION``."""

import json
from pathlib import Path

import pytest
import torch
from command_line import make_clip, visionxl

from visionxl.cli.own_tasks import find_task
from visionxl.errors import InputError
from visionxl.measurements import load_measurement
from visionxl.operators import task_named
from visionxl.video import read_clip

CODE = """
from dataclasses import dataclass

import torch

from helper import BANDS
from visionxl.operators import Reach


@dataclass(frozen=True)
class Bands:
    count: int

    def forward(self, video):
        bands = video.chunk(self.count, dim=-2)
        return torch.cat([band.roll(-i, 0) for i, band in enumerate(bands)], dim=-2)

    def adjoint(self, measurement):
        bands = measurement.chunk(self.count, dim=-2)
        return torch.cat([band.roll(i, 0) for i, band in enumerate(bands)], dim=-2)

    def reach(self):
        return Reach(self.count - 1, circular=True)


def make(frames, height, width, generator):
    return Bands(BANDS)


BANDS_OF_MANY = 7
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("own").mkdir()
    Path("own/shutter.py").write_text(CODE)
    Path("own/helper.py").write_text("BANDS = 4\n")
    make_clip(Path("clip.mkv"), frames=9)
    return tmp_path


@pytest.fixture
def run(monkeypatch, capfd):
    def run(words):
        return visionxl(monkeypatch, capfd, *words.split())

    return run


MEASURE = "simulate clip.mkv --task own/shutter.py:make --noise 0.02 --output y.safetensors"
OWN = "--task own/shutter.py:make"


def test_it_measures_and_restores_and_the_record_tells_it(place, run):
    assert run(MEASURE).code == 0
    clip = read_clip("clip.mkv").video
    measured, description = load_measurement(Path("y.safetensors"))
    assert description.task == "shutter.py:make"
    expected = torch.cat([b.roll(-i, 0) for i, b in enumerate(clip.chunk(4, dim=-2))], dim=-2)
    assert (measured - expected).std().item() == pytest.approx(0.02, rel=0.05)
    answer = run(f"restore y.safetensors {OWN} --output x.safetensors")
    assert answer.code == 0, answer.err
    record = json.loads(Path("x.json").read_text())
    assert record["operator"] == "Bands(count=4)"
    assert record["settings"]["task"] == "shutter.py:make"
    assert 0 < record["data_residual"] < 0.03
    found = read_clip("x.safetensors").video
    assert (found - clip).std() < 0.5 * (measured - clip).std()
    again = run(f"restore y.safetensors {OWN} --output x.safetensors --resume")
    assert "nothing to resume" in again.out


def test_it_measures_videos_and_is_cut_into_windows(place, run):
    assert run(MEASURE.replace("y.safetensors", "y.mkv")).code == 0
    answer = run(f"restore y.mkv {OWN} --noise 0.02 --windows 2 --output x.mkv")
    assert answer.code == 0, answer.err
    assert read_clip("x.mkv").video.shape == (9, 3, 32, 48)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("restore y.safetensors", ["shutter.py:make", "whose code is not in it", "--task FILE.py"]),
        (
            "evaluate clip.mkv clip.mkv --measurement y.safetensors",
            ["shutter.py:make", "leave --measurement out"],
        ),
        ("restore y.safetensors --task deblur", ["'deblur'", "'shutter.py:make'"]),
        ("restore y.safetensors --task own/shutter.py:other", ["no function 'other'", "def other"]),
        ("restore y.safetensors --task own/shutter.py:BANDS", ["no function 'BANDS'"]),
        ("restore y.safetensors --task none.py:make", ["no file 'none.py'", "FILE.py:FUNCTION"]),
        ("simulate clip.mkv --task own/bad.py:make", ["bad.py cannot be run", "ZeroDivision"]),
        ("restore y.safetensors --task own/changed/shutter.py:make", ["has changed since y.saf"]),
    ],
)
def test_what_is_wrong_is_one_sentence(place, run, words, told):
    assert run(MEASURE).code == 0
    Path("own/bad.py").write_text("1 / 0\n")
    Path("own/changed").mkdir()
    Path("own/changed/shutter.py").write_text(CODE.replace("roll(-i", "roll(i"))
    Path("own/changed/helper.py").write_text("BANDS = 4\n")
    answer = run(words)
    assert answer.code == 2
    assert answer.err.count("\n") == 1
    for word in told:
        assert word in answer.err


def test_the_librarys_tasks_are_found_by_their_names():
    assert find_task("sr4+").make is task_named("sr4+")
    with pytest.raises(InputError, match="did you mean 'deblur'"):
        find_task("deblurr")
