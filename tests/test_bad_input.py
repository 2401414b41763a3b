"""Bad input through the command line: exit code 2, one sentence, nothing half-written."""

import contextlib
import json
import math
import os
import re
import resource
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import make_clip, moving_scene, visionxl
from PIL import Image
from safetensors.torch import save_file

from visionxl.measurements import FORMAT, Description, generator_of, save_measurement
from visionxl.simulation import simulate


def _copied(source, target):
    return os.mkfifo(target) if Path(source).is_fifo() else shutil.copy2(source, target)


@pytest.fixture
def place(bad_files, tmp_path, monkeypatch):
    """A copy of the folder of bad files to work in."""
    folder = tmp_path / "place"
    shutil.copytree(bad_files, folder, copy_function=_copied)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="module")
def bad_files(tmp_path_factory):
    """A folder with a good clip, a good measurement and all kinds of bad files."""
    folder = tmp_path_factory.mktemp("bad")
    with contextlib.chdir(folder):
        make_bad_files()
    return folder


def make_bad_files() -> None:
    make_clip(Path("clip.mkv"))
    make_clip(Path("clip.mp4"), frames=40)
    Path("empty.mp4").touch()
    Path("text.mp4").write_text("this is no video\n" * 50)
    Path("text.png").write_text("this is no picture\n")
    data = Path("clip.mp4").read_bytes()
    Path("cut.mp4").write_bytes(data[: len(data) // 2])
    data = Path("clip.mkv").read_bytes()
    Path("cut.mkv").write_bytes(data[: len(data) * 2 // 3])
    make_clip(Path("pictures"), frames=2)
    make_clip(Path("larger"), frames=1, height=40)
    Path("larger/00000.png").rename("pictures/00009.png")
    Path("larger").rmdir()
    Path("nothing").mkdir()
    Path("model").mkdir()
    make_clip(Path("masks"), frames=1, height=16)
    make_clip(Path("mask.png"), frames=1)
    description = Description("deblur", 5, 32, 48, 0.01)
    problem = simulate(
        moving_scene(), description.operator(generator_of(0)), 0.01, generator=generator_of(0)
    )
    y, operator = problem.measurement, problem.operator
    make_odd_files()
    save_measurement(Path("y.safetensors"), iter([y]), len(y), operator, description, False)
    save_file({"video": torch.zeros(5, 3, 32, 48, dtype=torch.uint8)}, "levels.safetensors")
    broken = problem.measurement.clone()
    broken[0, 0, 0, 0] = float("nan")
    save_file({"measurement": broken}, "nan.safetensors")
    save_file({"measurement": torch.zeros(7)}, "vector.safetensors")
    save_file({"weights": torch.zeros(7)}, "other.safetensors")
    Path("cut.safetensors").write_bytes(Path("y.safetensors").read_bytes()[:500])
    save_file({"measurement": torch.zeros(5, 3, 32, 48, dtype=torch.uint8)}, "bytes.safetensors")
    save_file({"measurement": torch.zeros(5, 1, 32, 48)}, "gray.safetensors")
    save_file({"measurement": torch.zeros(0, 3, 32, 48)}, "none.safetensors")
    save_file(
        {"measurement": torch.zeros(5, 3, 32, 48)}, "lost.safetensors", metadata={FORMAT: "{}"}
    )
    Path("thesis").mkdir()
    Path("thesis/thesis.txt").write_text("years of work")
    make_clip(Path("tiny.mkv"), height=8, width=8)
    make_clip(Path("tiny-three.mkv"), frames=3)
    make_clip(Path("odd.mkv"), height=30, width=48)


def make_odd_files() -> None:
    """Files that can be read, and hold what cannot be restored or compared."""
    clip = 0.5 * torch.ones(5, 3, 32, 48)
    nan = clip.clone()
    nan[2, 0, 4, 4] = math.nan
    files = {"holed": nan, "8bits": clip.to(torch.uint8), "255": 255 * clip, "flat": clip[0]}
    files |= {"nothing": clip[:0], "one-colour": clip[:, :1]}
    for name, video in files.items():
        save_file({"video": video.contiguous()}, f"{name}.safetensors", {"rate": "25"})
    for rate in ("abc", "0", "1/0"):
        name = rate.replace("/", "-")
        save_file({"video": clip}, f"rate {name}.safetensors", {"rate": rate})
    save_file({"measurement": torch.tensor(1.0)}, "number.safetensors")
    Image.fromarray(np.linspace(0, 1, 32 * 48, dtype=np.float32).reshape(32, 48)).save("float.tif")
    Image.fromarray(np.zeros((32, 48), dtype=np.uint8)).save("black.png")
    Path("folder.mkv").mkdir()
    os.mkfifo("pipe.mkv")


SIMULATE = "simulate {} --task deblur --output out.safetensors"
RESTORE = "restore {} --output out.mp4"
CASES = {
    "a missing file": (SIMULATE.format("no.mp4"), ["no.mp4", "does not exist"]),
    "an empty file": (SIMULATE.format("empty.mp4"), ["empty.mp4", "0 bytes"]),
    "a truncated mp4": (SIMULATE.format("cut.mp4"), ["cut.mp4", "truncated"]),
    "a truncated mkv": (SIMULATE.format("cut.mkv"), ["cut.mkv", "truncated"]),
    "text as a video": (SIMULATE.format("text.mp4"), ["text.mp4", "no video"]),
    "text as a picture": (SIMULATE.format("text.png"), ["text.png", "no image"]),
    "images of different sizes": (SIMULATE.format("pictures"), ["40x48", "32x48", "one size"]),
    "a folder without images": (SIMULATE.format("nothing"), ["nothing", "no frame"]),
    "a size too small": (
        RESTORE.format("tiny.mkv") + " --task deblur",
        ["8x8", "too small", "16x16"],
    ),
    "a factor that does not divide": (
        "simulate odd.mkv --task sr4 --output out.safetensors",
        ["30", "factor 4", "28", "32"],
    ),
    "an even window": (
        "simulate clip.mkv --task temporal --window 4 --output out.safetensors",
        ["window 4", "odd", "3 or 5"],
    ),
    "a window of zero": (
        "simulate clip.mkv --task deblur+ --window 0 --output out.safetensors",
        ["--window", "0 is out of range"],
    ),
    "a window for a task without one": (
        "simulate clip.mkv --task deblur --window 3 --output out.safetensors",
        ["window", "deblur", "leave it out"],
    ),
    "an unknown task": (
        "simulate clip.mkv --task deblurr --output out.safetensors",
        ["deblurr", "did you mean 'deblur'"],
    ),
    "no task": ("simulate clip.mkv --output out.safetensors", ["--task", "sr4+"]),
    "an unknown prior": (RESTORE.format("y.safetensors") + " --prior poket", ["poket", "pocket"]),
    "an unknown method": (
        RESTORE.format("y.safetensors") + " --method vision-tv",
        ["method 'vision-tv'", "did you mean 'vision_tv'"],
    ),
    "the beginning of two methods": (
        RESTORE.format("y.safetensors") + " --method vision",
        ["method 'vision'", "did you mean 'vision_tv' or 'vision_xl'?"],
    ),
    "a method of no known name": (
        RESTORE.format("y.safetensors") + " --method best",
        ["method 'best'", "known are daps, ddnm", "vision_xl"],
    ),
    "a hub id without network": (
        RESTORE.format("y.safetensors") + " --prior nobody/nothing-here",
        ["nobody/nothing-here", "hub", "folder"],
    ),
    "a folder that is no model": (
        RESTORE.format("y.safetensors") + " --prior model",
        ["model", "model_index.json"],
    ),
    "an output folder that does not exist": (
        "simulate clip.mkv --task deblur --output no/where/out.safetensors",
        ["no/where", "no folder"],
    ),
    "an output folder that is a file": (
        "simulate clip.mkv --task deblur --output clip.mkv/out.safetensors",
        ["clip.mkv", "no folder"],
    ),
    "an output that exists": (
        "simulate clip.mkv --task deblur --output y.safetensors",
        ["y.safetensors", "exists", "--overwrite"],
    ),
    "a device that is not there": (
        "restore y.safetensors --output nan.safetensors --overwrite --device cuda:77",
        ["cuda:77", "visionxl info"],
    ),
    "an output of no known kind": (RESTORE.format("y.safetensors") + "x", ["mp4x", ".mkv"]),
    "a clip of tensors that is not there": (
        "simulate gone.safetensors --task deblur --output out.safetensors",
        ["gone.safetensors", "does not exist"],
    ),
    "a clip of bytes": (
        "simulate levels.safetensors --task deblur --output out.safetensors",
        ["levels.safetensors", "U8", "floating point"],
    ),
    "noise below zero": (
        "simulate clip.mkv --task deblur --noise -0.1 --output out.safetensors",
        ["-0.1", "noise"],
    ),
    "noise that is not a number": (
        "simulate clip.mkv --task deblur --noise nan --output out.safetensors",
        ["nan", "noise"],
    ),
    "noise that is a word": (
        "simulate clip.mkv --task deblur --noise much --output out.safetensors",
        ["--noise", "much"],
    ),
    "a shape that does not fit the task": (
        RESTORE.format("vector.safetensors") + " --task deblur",
        ["(7,)", "frames, channels, height, width"],
    ),
    "another task than the file's": (
        RESTORE.format("y.safetensors") + " --task sr4",
        ["--task", "deblur", "leave it out"],
    ),
    "a measurement with NaN": (
        RESTORE.format("nan.safetensors") + " --task deblur",
        ["1 values", "NaN"],
    ),
    "a file without a measurement": (
        RESTORE.format("other.safetensors") + " --task deblur",
        ["weights", "measurement"],
    ),
    "a damaged measurement": (RESTORE.format("cut.safetensors"), ["cut.safetensors", "damaged"]),
    "a mask of the wrong size": (
        "simulate clip.mkv --task inpaint --mask masks --output out.safetensors",
        ["(16, 48)", "height 32", "width 48"],
    ),
    "a mask that is not there": (
        "simulate clip.mkv --task inpaint --mask gone --output out.safetensors",
        ["--mask 'gone' does not exist", "folder of images"],
    ),
    "a truth that is not there": (
        RESTORE.format("y.safetensors") + " --truth gone.mkv",
        ["--truth 'gone.mkv' does not exist"],
    ),
    "a seed that is no integer": (
        "simulate clip.mkv --task deblur --seed 1.5 --output out.safetensors",
        ["--seed", "1.5", "integer"],
    ),
    "no memory left": (
        "simulate clip.mkv --task deblur --size 300000x300000 --output out.safetensors",
        ["300000x300000", "GB", "fit"],
    ),
    "a size that is none": (
        "simulate clip.mkv --task deblur --size big --output out.safetensors",
        ["big", "384x640"],
    ),
    "bytes for a measurement": (
        RESTORE.format("bytes.safetensors") + " --task deblur",
        ["U8", "floating point"],
    ),
    "one channel": (
        RESTORE.format("gray.safetensors") + " --task deblur",
        ["1 channels", "3"],
    ),
    "no frame": (RESTORE.format("none.safetensors") + " --task deblur", ["(0, 3, 32, 48)"]),
    "a lost description": (RESTORE.format("lost.safetensors"), ["description", "simulate"]),
    "a folder of other things": (
        "restore y.safetensors --output thesis --overwrite",
        ["thesis.txt", "not replaced"],
    ),
    "one picture for five frames": (
        "restore y.safetensors --output out.png",
        ["out.png", "one frame", "5", "'out'"],
    ),
    "no place for checkpoints": (
        "restore y.safetensors --output /proc/out.mkv",
        ["/proc/out.mkv", "checkpoints", "somewhere else"],
    ),
    "a size without a plan": ("info --size 64x64", ["--size", "--plan"]),
    "an output without a name": ("restore y.safetensors --output . --overwrite", ["'.'", "name"]),
    "an output that is the input": (
        "restore y.safetensors --output y.safetensors --overwrite",
        ["y.safetensors", "replace an input"],
    ),
    "a seed of more than 63 bits": (
        RESTORE.format("y.safetensors") + " --seed 18446744073709551616",
        ["--seed", "18446744073709551616"],
    ),
    "more steps than the schedule has": (
        RESTORE.format("y.safetensors") + " --steps 1001",
        ["--steps", "1001", "1000"],
    ),
    "a prompt for a prior without text": (
        RESTORE.format("y.safetensors") + " --prompt dog",
        ["--prompt", "dog", "takes none"],
    ),
    "a truth of other frames": (
        RESTORE.format("y.safetensors") + " --truth tiny-three.mkv",
        ["--truth", "3 frames", "5"],
    ),
    "a demo into a file": ("demo --output clip.mkv --overwrite", ["clip.mkv", "exists"]),
    "an unknown option": ("simulate clip.mkv --taks deblur", ["--taks", "--task"]),
    "an unknown command": ("restor y.safetensors", ["restor"]),
    "a measurement of more frames": (
        "evaluate clip.mkv clip.mkv --measurement y.safetensors --frames 3",
        ["y.safetensors", "(5, 3, 32, 48)", "(3, 3, 32, 48)"],
    ),
    "a comparison of different sizes": ("evaluate odd.mkv clip.mkv", ["32", "30", "--size"]),
    "a comparison with a smaller clip": (
        "evaluate clip.mkv odd.mkv",
        ["32", "30", "give the clip that was measured"],
    ),
    "an original with a hole": ("evaluate clip.mkv holed.safetensors", ["holed", "not finite"]),
    "a truth with a hole": (
        RESTORE.format("clip.mkv") + " --task deblur --truth holed.safetensors",
        ["--truth holed.safetensors", "not finite"],
    ),
    "a gray truth": (
        RESTORE.format("clip.mkv") + " --task deblur --truth one-colour.safetensors",
        ["--truth one-colour.safetensors", "3 channels"],
    ),
    "a gray truth of a long clip": (
        RESTORE.format("clip.mkv") + " --task deblur --windows 3 --truth one-colour.safetensors",
        ["--truth one-colour.safetensors", "3 channels"],
    ),
    "an original of other units": (
        "evaluate clip.mkv 255.safetensors",
        ["255.safetensors", "values up to 127.5", "from 0 to 255"],
    ),
    "an original in bytes": ("evaluate clip.mkv 8bits.safetensors", ["is U8", "[-1, 1]"]),
    "a clip of one picture": (SIMULATE.format("flat.safetensors"), ["(3, 32, 48)", "frames"]),
    "a clip of no frames": (SIMULATE.format("nothing.safetensors"), ["(0, 3, 32, 48)"]),
    "a clip with a hole": (
        SIMULATE.format("holed.safetensors"),
        ["holed.safetensors", "not finite"],
    ),
    "a measurement of one number": (RESTORE.format("number.safetensors"), ["a single number"]),
    "a picture of unknown units": (SIMULATE.format("float.tif"), ["float.tif", "8 or 16 bits"]),
    "a mask without anything known": (
        "simulate clip.mkv --task inpaint --mask black.png --output out.safetensors",
        ["black.png", "no bright pixel"],
    ),
    "a folder in the place of a file": (
        "simulate clip.mkv --task deblur --overwrite --output folder.mkv",
        ["folder.mkv", "is a folder", "means a file"],
    ),
    "a pipe in the place of a file": (
        "simulate clip.mkv --task deblur --overwrite --output pipe.mkv",
        ["pipe.mkv", "a device or a pipe"],
    ),
    "an output that is the clip": (
        "simulate clip.mkv --task deblur --overwrite --output ./clip.mkv",
        ["would replace an input", "clip.mkv"],
    ),
    "an output that is the measurement": (
        "restore clip.mkv --task deblur --overwrite --output ../place/clip.mkv",
        ["would replace an input", "clip.mkv"],
    ),
    "an output that is the folder of the measurement": (
        "restore masks/00000.png --task deblur --overwrite --output masks",
        ["output 'masks' would replace an input", "00000.png"],
    ),
    "an output that is the folder of the clip": (
        "simulate masks/00000.png --task deblur --overwrite --output ../place/masks",
        ["would replace an input", "00000.png"],
    ),
    "an output that is only a suffix": (
        "restore clip.mkv --task deblur --output .mkv",
        ["'.mkv' is a suffix without a name"],
    ),
    "a picture that is the mask": (
        "restore clip.mkv --task inpaint --mask mask.png --overwrite --output mask.mp4",
        ["would replace an input", "mask.png"],
    ),
    "an output among the pictures of the input": (
        "restore masks --task deblur --output masks/out.mp4",
        ["would add to an input", "masks"],
    ),
    "a noise below zero": (
        RESTORE.format("clip.mkv") + " --task deblur --noise -1",
        ["--noise -1"],
    ),
    "an infinite noise": (
        RESTORE.format("clip.mkv") + " --task deblur --noise inf",
        ["--noise inf"],
    ),
    "no memory": (RESTORE.format("y.safetensors") + " --memory nan", ["--memory", "nan"]),
    "memory without end": (RESTORE.format("y.safetensors") + " --memory 1e400", ["--memory"]),
    "a device without numbers": (
        RESTORE.format("y.safetensors") + " --device meta",
        ["--device 'meta'", "nothing is computed"],
    ),
    "a plan for a single pixel": ("info --plan --size 1x1", ["1x1", "too small"]),
    "a plan for a continent": ("info --plan --size 99999x99999", ["99999x99999", "at most"]),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_one_sentence_and_exit_code_2(name, place, monkeypatch, capfd):
    command, words = CASES[name]
    before = sorted(str(p) for p in place.rglob("*"))
    answer = visionxl(monkeypatch, capfd, *command.split())
    assert answer.code == 2, answer
    assert "Traceback" not in answer.err
    assert answer.err.startswith("visionxl: error: ")
    assert answer.err.count("\n") == 1
    for word in words:
        assert word in answer.err
    assert sorted(str(p) for p in place.rglob("*")) == before


@pytest.mark.parametrize("rate", ["abc", "0", "1-0"])
def test_a_rate_that_is_none_is_told(place, monkeypatch, capfd, rate):
    words = ["simulate", f"rate {rate}.safetensors", "--task", "deblur", "--output", "o.mkv"]
    answer = visionxl(monkeypatch, capfd, *words)
    assert answer.code == 2
    assert f"has rate {rate.replace('-', '/')!r}" in answer.err


def test_names_may_have_colons(place, monkeypatch, capfd):
    shutil.copy("clip.mkv", "12:30.mkv")
    words = ["simulate", "12:30.mkv", "--task", "deblur", "--output", "12:31.mp4"]
    assert visionxl(monkeypatch, capfd, *words).code == 0
    assert Path("12:31.mp4").stat().st_size > 0


def test_a_mask_that_nobody_gave_is_told_of(place, monkeypatch, capfd):
    command = "restore clip.mkv --task inpaint --steps 3 --output out.mkv"
    answer = visionxl(monkeypatch, capfd, *command.split())
    assert answer.code == 0
    assert "no --mask: " in answer.out
    assert "drawn from --seed 0" in answer.out


@pytest.mark.filterwarnings("ignore:.*result's values are beyond")
def test_a_recording_is_told_that_its_task_goes_round_in_time(place, monkeypatch, capfd):
    for task, words in (("deblur+", True), ("deblur", False)):
        command = f"restore clip.mkv --task {task} --steps 3 --output {task}.mkv"
        answer = visionxl(monkeypatch, capfd, *command.split())
        assert answer.code == 0
        assert ("takes the first frame to follow the last" in answer.out) == words
    command = "restore y.safetensors --steps 3 --output y.mkv"
    assert "follow the last" not in visionxl(monkeypatch, capfd, *command.split()).out


@pytest.mark.filterwarnings("ignore:.*result's values are beyond")
def test_a_recording_is_told_that_its_task_dims(place, monkeypatch, capfd):
    code = """
        from visionxl.operators import Mask, OnLight, Scale
        import torch

        def dims(frames, height, width, generator):
            return Scale(0.25)

        def hides(frames, height, width, generator):
            return Mask(torch.arange(height * width).view(height, width) % 2 == 0)

        def light(frames, height, width, generator):
            return OnLight(Scale(0.25))
    """
    Path("lens.py").write_text(textwrap.dedent(code))
    for task, words in (("dims", True), ("hides", False), ("light --method gauss_newton", False)):
        command = f"restore clip.mkv --task lens.py:{task} --steps 3 --output {task[:4]}.mkv"
        answer = visionxl(monkeypatch, capfd, *command.split())
        assert answer.code == 0
        assert ("the task measures a white video as 0.25 to 0.25" in answer.out) == words


def test_noise_in_grey_levels_is_told(place, monkeypatch, capfd):
    command = "restore clip.mkv --task deblur --noise 5 --steps 3 --output x.mkv"
    with pytest.warns(UserWarning, match=r"noise 5 is more than .* noise / 127.5, here 0.039"):
        assert visionxl(monkeypatch, capfd, *command.split()).code == 0


def test_of_many_a_damaged_one_does_not_stop_the_rest(place, monkeypatch, capfd):
    words = ["restore", "number.safetensors", "nothing.safetensors", "y.safetensors"]
    answer = visionxl(monkeypatch, capfd, *words, "--steps", "3", "--output", "x-{name}.mkv")
    assert answer.code == 2
    assert "2 of 3 measurements failed" in answer.err
    assert Path("x-y.mkv").exists()


def test_a_file_that_may_not_be_read_is_one_sentence(place, monkeypatch, capfd):
    def refused(*_, **__):
        raise PermissionError(13, "Permission denied", "closed/clip.mkv")

    monkeypatch.setattr("visionxl.cli.simulate.clip_in_frames", refused)
    command = "simulate clip.mkv --task deblur --output out.safetensors"
    answer = visionxl(monkeypatch, capfd, *command.split())
    assert answer.code == 2
    assert "'closed/clip.mkv' cannot be used (Permission denied)" in answer.err
    assert answer.err.count("\n") == 1


def test_a_task_of_ones_own_may_have_two_masks(place, monkeypatch, capfd):
    Path("two.py").write_text(
        "import torch\n"
        "from visionxl.operators import GaussianBlur, Mask\n"
        "def make(frames, height, width, generator):\n"
        "    first, second = (Mask.random(p, height, width, generator) for p in (0.9, 0.5))\n"
        "    return first @ GaussianBlur(1.0) @ second\n"
    )
    words = "simulate clip.mkv --task two.py:make --output two.safetensors"
    assert visionxl(monkeypatch, capfd, *words.split()).code == 0
    words = "restore two.safetensors --task two.py:make --steps 3 --output two.mkv"
    assert visionxl(monkeypatch, capfd, *words.split()).code == 0
    told = json.loads(Path("two.json").read_text())["operator"]
    first, second = re.findall(r"([\d.]+)% known", told)
    assert float(first) > 85
    assert float(second) < 60


def test_a_window_wider_than_the_clip_is_fine_where_the_border_goes_on(place, monkeypatch, capfd):
    command = "simulate clip.mkv --task temporal --window 11 --output out.safetensors"
    assert visionxl(monkeypatch, capfd, *command.split()).code == 0


def run_script(*words: str, **options) -> subprocess.CompletedProcess:
    script = Path(sys.executable).with_name("visionxl")
    return subprocess.run([script, *words], capture_output=True, text=True, **options)


def test_the_installed_script_says_the_same(place):
    done = run_script("simulate", "no.mp4", "--task", "deblur")
    assert done.returncode == 2
    assert done.stderr.startswith("visionxl: error: clip 'no.mp4' does not exist")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("output", ["out.safetensors", "out.mkv"])
def test_a_full_disk_is_told_and_leaves_nothing(place, output):
    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000))

    words = ["simulate", "clip.mp4", "--task", "deblur", "--output", output, "--noise", "0.1"]
    done = run_script(*words, preexec_fn=small_files)
    assert done.returncode == 2, done.stderr
    assert output in done.stderr
    assert "nothing of it was left behind" in done.stderr
    assert not [name for name in os.listdir(place) if name.startswith((".out", "out"))]
