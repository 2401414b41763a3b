"""The command line and its files: unusual clips, sizes, names, and many at once."""

import json
from pathlib import Path

import pytest
import torch
from command_line import make_clip, visionxl
from PIL import Image

from visionxl.cli.reading import resized
from visionxl.metrics import psnr
from visionxl.video import read_clip

QUICK = ["--method", "vision_xl", "--steps", "5"]


@pytest.fixture
def run(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    return lambda *words: visionxl(monkeypatch, capfd, *" ".join(map(str, words)).split())


def still(folder, frames=3):
    """A clip of equal frames, as pictures: what changes in it is nothing."""
    Path(folder).mkdir()
    for t in range(frames):
        Image.new("RGB", (48, 32), (90, 120, 150)).save(Path(folder) / f"{t}.png")


@pytest.mark.parametrize("windows", ["", "--windows 2"])
def test_a_figure_that_is_infinite_is_said(run, windows):
    still("static")
    assert run("simulate static --task deblur --output y.safetensors").code == 0
    answer = run("restore y.safetensors --truth static --output x.mkv", *QUICK, windows)
    assert answer.code == 0, answer.err
    assert "was infinite" in answer.out or "infinite, was" in answer.out
    assert json.loads(Path("x.json").read_text())["measurement_measures"]["difference_psnr"] is None


def test_no_output_of_many_replaces_an_input(run):
    make_clip(Path("clip.mkv"), 2)
    for name in ("a", "a-x"):
        run(f"simulate clip.mkv --task deblur --output {name}.safetensors")
    before = Path("a-x.safetensors").read_bytes()
    words = "restore a.safetensors a-x.safetensors --output {name}-x.safetensors --overwrite"
    answer = run(words)
    assert answer.code == 2
    assert "would replace an input, 'a-x.safetensors'" in answer.err
    assert Path("a-x.safetensors").read_bytes() == before


def test_no_picture_of_one_is_the_output_of_another(run):
    for name in ("p", "p-comparison"):
        Image.new("RGB", (48, 32), (90, 120, 150)).save(f"{name}.png")
    answer = run("restore p.png p-comparison.png --task deblur --output out/{name}.png")
    assert answer.code == 2
    assert "would be written for both p.png and p-comparison.png" in answer.err


def test_folders_keep_the_dots_of_their_names(run):
    for name in ("d.v1", "d.v2"):
        still(name, 1)
    answer = run("restore d.v1 d.v2 --task deblur --output n-{name}.mkv", *QUICK)
    assert answer.code == 0, answer.err
    assert Path("n-d.v1.mkv").exists()
    assert Path("n-d.v2.mkv").exists()


def test_a_mask_of_an_odd_size_is_not_written_into_even_frames(run):
    make_clip(Path("clip.mkv"), 2)
    simulate = "simulate clip.mkv --task inpaint --size 31x47 --output"
    answer = run(f"{simulate} y.mp4")
    assert answer.code == 2
    assert "a mask of 31x47 would not fit the padded video; take .mkv" in answer.err
    assert not Path("y.mp4").exists()
    assert run(f"{simulate} y.mkv").code == 0


def test_what_was_added_for_an_even_size_is_not_measured(run):
    make_clip(Path("clip.mkv"), 2)
    run("simulate clip.mkv --task deblur --size 31x47 --noise 0.01 --output y.safetensors")
    run("restore y.safetensors --output x.mp4", *QUICK)
    truth = resized(read_clip("clip.mkv").video, "31x47")
    expected = psnr(read_clip("x.mp4").video[..., :31, :47], truth)
    answer = run("evaluate x.mp4 clip.mkv --size 31x47 --json")
    assert answer.code == 0, answer.err
    told = json.loads(answer.out)
    assert told["psnr"] == pytest.approx(expected, abs=0.01)
    assert "was padded to an even size" in " ".join(told["notes"])


def test_a_task_file_that_is_a_program_is_told(run):
    make_clip(Path("clip.mkv"), 2)
    Path("program.py").write_text("import sys\nsys.exit(0)\n")
    answer = run("simulate clip.mkv --task program.py:make --output y.safetensors")
    assert answer.code == 2
    assert "cannot be run (SystemExit: 0): put what it does" in answer.err


def test_a_truth_that_comes_after_the_end_is_told(run):
    make_clip(Path("clip.mkv"), 2)
    run("simulate clip.mkv --task deblur --output y.safetensors")
    words = ["restore y.safetensors --output x.mkv --resume", *QUICK]
    assert run(*words).code == 0
    answer = run(*words, "--truth clip.mkv")
    assert "--truth came too late: visionxl evaluate x.mkv clip.mkv" in answer.out
    make_clip(Path("other.mkv"), 2)
    run("restore y.safetensors --output z.mkv --truth clip.mkv", *QUICK)
    told = ["restore y.safetensors --output z.mkv --resume", *QUICK]
    assert "came too late" not in run(*told, "--truth clip.mkv").out
    answer = run(*told, "--truth other.mkv")
    assert "--truth came too late: visionxl evaluate z.mkv other.mkv" in answer.out
    answer = run(*words, "--truth no.mp4")
    assert answer.code == 2
    assert "--truth 'no.mp4' does not exist" in answer.err


@pytest.mark.parametrize("changing", [False, True])
def test_the_noise_of_what_masks_leave_is_estimated(run, changing):
    """Next to what a mask hides the picture itself must not be taken for noise."""
    chance = torch.Generator().manual_seed(0)
    make_clip(Path("clip.mkv"), 3, 96, 128)
    scene = read_clip("clip.mkv").video
    noisy = scene + 0.05 * torch.randn(scene.shape, generator=chance)
    known = torch.rand(3, 1, 96, 128, generator=chance) < 0.7
    known = known if changing else known[:1].expand(3, -1, -1, -1)
    Path("mask").mkdir()
    Path("seen").mkdir()
    for t in range(3):
        levels = torch.where(known[t], noisy[t], 1.0).add(1).mul(127.5).round().clamp(0, 255)
        Image.fromarray(levels.byte().permute(1, 2, 0).numpy()).save(f"seen/{t}.png")
        Image.fromarray(known[t, 0].mul(255).byte().numpy()).save(f"mask/{t}.png")
    words = "restore seen --task inpaint --mask mask --noise estimate --output x.mkv"
    answer = run(words, *QUICK)
    assert answer.code == 0, answer.err
    assert json.loads(Path("x.json").read_text())["noise_std"] == pytest.approx(0.05, rel=0.15)
