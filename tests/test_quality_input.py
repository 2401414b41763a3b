"""What the benchmark's command refuses, and the clips that it takes."""

import json
from pathlib import Path

import pytest
import quality
from clips import MULTIPLE, clips_at_hand, sized
from command_line import make_clip
from peers.methods import METHODS
from quality_command import TOY, bench, chancy, records

from visionxl import PocketPrior
from visionxl.video import DEMO_CLIP

GOOD = f"scene.mkv {TOY} --task sr4 --noise 0.05 --seeds 1 --method back-projection --json out.json"


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A folder to write into, with a clip; no networks."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(quality.PocketPrior, "load", lambda device: None)
    monkeypatch.setitem(METHODS, "default", chancy)
    make_clip(tmp_path / "scene.mkv", 5, 32, 48)
    return tmp_path


def contents(folder):
    return {p: p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


def refused(capsys, words):
    """What is said: one sentence. Nothing is written."""
    before = contents(".")
    answer = bench(capsys, words)
    assert answer.code == 2, answer
    assert answer.out == ""
    assert len(answer.err.splitlines()) == 1
    assert contents(".") == before
    assert not Path("new").exists()
    return answer.err


BAD = {
    "no such clip": ("nowhere.mp4", ["nowhere.mp4", "does not exist"]),
    "no clip": ("empty.mp4", ["empty.mp4", "empty"]),
    "text for a clip": ("text.mp4", ["text.mp4", "no video"]),
    "two of one name": ("scene.mkv folder/scene.mkv", ["CLIP", "'scene'", "rename"]),
    "an unknown task": ("--task deblurr", ["--task", "'deblurr'", "did you mean 'deblur'"]),
    "an unknown method": ("--method papr", ["--method", "'papr'", "did you mean 'paper'"]),
    "negative noise": ("--noise -0.1", ["--noise", "'-0.1'", "from 0"]),
    "noise in words": ("--noise some", ["--noise", "'some'", "number"]),
    "noise without end": ("--noise inf", ["--noise", "'inf'", "finite"]),
    "noise that is none": ("--noise nan", ["--noise", "'nan'", "finite"]),
    "an odd height": ("--height 65", ["--height", "'65'", "multiple of 16", "64"]),
    "no width": ("--width 0", ["--width", "'0'", "multiple of 16"]),
    "width in words": ("--width wide", ["--width", "'wide'", "multiple of 16"]),
    "no frames": ("--frames 0", ["--frames", "'0'", "from 1"]),
    "negative frames": ("--frames -3", ["--frames", "'-3'", "from 1"]),
    "no seeds": ("--seeds 0", ["--seeds", "'0'", "from 1"]),
    "half a seed": ("--seeds 1.5", ["--seeds", "'1.5'", "whole number"]),
    "no such device": ("--device gpu", ["--device", "'gpu'", "cpu"]),
    "an unknown option": ("--speed 3", ["--speed"]),
    "no value": ("--task", ["--task"]),
    "records as text": ("--json out.txt", ["--json", "out.txt", "out.json"]),
    "records nowhere": ("--json nowhere/out.json", ["--json", "nowhere"]),
    "tables over another file": ("--json notes.json", ["--json", "notes.md", "another name"]),
    "a folder of records": ("--json folder.json", ["--json", "folder.json"]),
    "pictures in a file": ("--output text.mp4", ["--output", "text.mp4", "folder"]),
    "pictures below a file": ("--output text.mp4/new", ["--output", "text.mp4/new"]),
    "tables of nothing": ("--table nowhere.json", ["nowhere.json"]),
    "tables and a clip": ("--table out.json --json out.json", ["--table", "--json"]),
}


@pytest.mark.parametrize(("words", "told"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_told_in_a_sentence_and_nothing_is_written(words, told, capsys, place):
    for folder in ("folder", "folder.json"):
        (place / folder).mkdir()
    make_clip(place / "folder" / "scene.mkv", 2, 32, 48)
    (place / "empty.mp4").touch()
    (place / "text.mp4").write_text("words, and no video")
    (place / "notes.md").write_text("my own")
    usual = "" if "--table" in words else f"{TOY} --output new --seeds 1 --noise 0 --json new.json"
    error = refused(capsys, f"{usual} {words}")
    for word in told:
        assert word in error


def entry(**changes):
    Path("entry").mkdir(exist_ok=True)
    return json.loads(Path("good.json").read_text())[0] | changes


FILES = {
    "another version": (lambda: [entry(), entry(version="0.0.7", seed=9)], ["0.0.7", "another"]),
    "no JSON": (lambda: None, ["another file"]),
    "no list": (lambda: {"records": []}, ["list"]),
    "other things": (lambda: [1, 2], ["list"]),
    "a field too few": (lambda: [{"clip": "scene"}], ["'task'"]),
    "a field too many": (lambda: [entry(speed=3)], ["speed"]),
    "a word for a number": (lambda: [entry(psnr="high")], ["psnr"]),
    "an unknown task": (lambda: [entry(task="dehaze")], ["task"]),
}


@pytest.mark.parametrize(("made", "told"), FILES.values(), ids=FILES.keys())
def test_a_file_that_cannot_be_gone_on_with_is_refused_untouched(made, told, capsys):
    bench(capsys, GOOD.replace("out.json", "good.json"))
    content = made()
    Path("out.json").write_text("{cut" if content is None else json.dumps(content))
    error = refused(capsys, f"{GOOD} --output new")
    for word in ("--json", "'out.json'", "give another file", *told):
        assert word in error


def test_files_are_taken_together_and_a_measurement_counts_once(capsys):
    bench(capsys, GOOD)
    both = bench(capsys, f"{GOOD} --method default").out
    Path("a.json").write_text(json.dumps(records()[:1]))
    Path("b.json").write_text(json.dumps(records()[1:]))
    answer = bench(capsys, "--table a.json b.json")
    assert (answer.code, answer.out) == (0, both)
    error = refused(capsys, "--table a.json out.json")
    assert "'a.json' and 'out.json'" in error or "'out.json' and 'a.json'" in error
    assert "leave one of them out" in error


def test_a_clip_that_is_shorter_is_used_whole_with_a_word(capsys):
    answer = bench(capsys, GOOD.replace("--frames 3", "--frames 9"))
    assert "scene has 5 frames" in answer.err
    assert records()[0]["frames"] == 5


def test_height_and_width_change_places_for_a_portrait(place):
    portrait = make_clip(place / "portrait.mkv", 2, 96, 64)
    assert sized(portrait, 2, 32, 48).video.shape == (2, 3, 48, 32)
    assert sized(portrait, 2, 48, 32).video.shape == (2, 3, 48, 32)
    assert sized(portrait, 9, 32, 32).video.shape == (2, 3, 32, 32)


def test_without_clips_those_at_hand_are_taken(place):
    folder = place / "clips"
    assert clips_at_hand(folder) == [DEMO_CLIP]
    folder.mkdir()
    assert clips_at_hand(folder) == [DEMO_CLIP]
    (folder / "b").mkdir()
    (folder / ".hidden").touch()
    made = make_clip(folder / "a.mkv")
    assert clips_at_hand(folder) == [made, folder / "b"]


def test_sizes_are_multiples_of_what_the_pocket_prior_needs(monkeypatch):
    monkeypatch.undo()
    assert PocketPrior.load().multiple == MULTIPLE
