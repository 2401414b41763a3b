"""The command line on long clips, in windows; and on several processes."""

import json
import os
import re
import shutil
import signal
import time
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from command_line import free_port, make_clip, run_in, visionxl
from forked import Forked
from safetensors.torch import save_file

from visionxl.checkpoints import CheckpointFolder, StatesOnDisk
from visionxl.cli import long
from visionxl.cli.jobs import LongClip
from visionxl.cli.memory import working_bytes
from visionxl.metrics import psnr
from visionxl.planning import MemoryPlan
from visionxl.priors import DiffusersPrior
from visionxl.report import measures
from visionxl.solvers import NoiseAware, windows
from visionxl.solvers.windows import CONTEXT
from visionxl.streaming import TensorFrames, VideoFrames
from visionxl.video import read_clip
from visionxl.writing import write_clip

FRAMES = 10
QUICK = ["--method", "vision_xl", "--steps", "10"]  # three
RESTORE = ["restore", "y.safetensors", "--windows", "4", "--output", "x.mkv", *QUICK]
FOLDER = Path("x.mkv.checkpoint")


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("measured")
    make_clip(folder / "clip.mkv", frames=FRAMES, height=32, width=48)
    words = ["simulate", "clip.mkv", "--task", "deblur", "--noise", "0.02", "--output"]
    for name in ("y.safetensors", "y.mkv"):
        run_in(folder, *words, name)
    return folder


@pytest.fixture(scope="module")
def finished(measured):
    """What is written without interruption."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(windows, "CONTEXT", 2)
        patched.setattr(windows, "NEAR", 2)
        run_in(measured, *RESTORE)
    return (measured / "x.mkv").read_bytes()


@pytest.fixture
def here(measured, tmp_path, monkeypatch):
    for name in ("clip.mkv", "y.safetensors", "y.mkv"):
        shutil.copy(measured / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(windows, "CONTEXT", 2)
    monkeypatch.setattr(windows, "NEAR", 2)
    return tmp_path


def test_what_a_mask_of_each_frame_hides_is_filled_in(here, monkeypatch, capfd):
    """The video that is given shows something there: it counts for nothing."""
    mask = torch.ones(FRAMES + 2, 3, 32, 48)  # what is longer than the video is cut
    for t in range(FRAMES):
        mask[t, :, 8:20, 2 * t : 2 * t + 12] = -1
    write_clip(Path("mask.mkv"), mask, Fraction(24))
    truth = read_clip("clip.mkv").video
    write_clip(Path("marked.mkv"), torch.where(mask[:FRAMES] > 0, truth, 1.0), Fraction(24))
    words = ["restore", "marked.mkv", "--task", "inpaint", "--mask", "mask.mkv", "--output"]
    for more in (["whole.mkv"], ["parts.mkv", "--windows", "4"]):
        answer = visionxl(monkeypatch, capfd, *words, *more, *QUICK)
        assert answer.code == 0, answer.err
        record = json.loads(Path(more[0]).with_suffix(".json").read_text())
        assert record["data_residual"] < 0.01
        assert "of the pixels in 10 frames are known" in " ".join(record["notes"])
    whole, parts = (read_clip(name).video for name in ("whole.mkv", "parts.mkv"))
    assert psnr(parts, whole) > 40
    assert psnr(whole, truth) > psnr(read_clip("marked.mkv").video, truth) + 6
    answer = visionxl(monkeypatch, capfd, *words, "x.mkv", "--windows", "4", "--task", "deblur")
    assert "task 'deblur' has no Mask" in answer.err
    write_clip(Path("mask.mkv"), mask[3:], Fraction(24), overwrite=True)
    for more in ([], ["--windows", "4"]):
        answer = visionxl(monkeypatch, capfd, *words, "y.mkv", "--overwrite", *more)
        assert answer.code == 2
        assert "mask of (9, 1, 32, 48) does not fit a video of (10, 3, 32, 48)" in answer.err


def test_a_clip_in_windows_is_whole_and_near_the_one_restored_at_once(here, monkeypatch, capfd):
    answer = visionxl(monkeypatch, capfd, *RESTORE)
    assert answer.code == 0, answer.err
    assert "window 3/3: 10 of 10 frames restored" in answer.err
    words = ["restore", "y.safetensors", *QUICK, "--output", "whole.mkv"]
    assert visionxl(monkeypatch, capfd, *words).code == 0
    found, whole = read_clip("x.mkv").video, read_clip("whole.mkv").video
    assert found.shape == whole.shape
    for frame, expected in zip(found, whole, strict=True):
        assert psnr(frame[None], expected[None]) > 50  # a task without time: nothing differs
    record = json.loads(Path("x.json").read_text())
    parts = [(w["first"], w["stop"]) for w in record["windows"]]
    assert parts == [(0, 4), (4, 8), (8, 10)]
    assert all(len(w["trace"]) == 3 for w in record["windows"])
    assert 0.01 < record["data_residual"] < 0.03
    assert Path("x.png").stat().st_size > 1000
    assert not FOLDER.exists()


def test_windows_overlap_by_what_the_operator_sees_at_least(here, monkeypatch, capfd):
    words = ["simulate", "clip.mkv", "--task", "temporal", "--noise", "0.02", "--overwrite"]
    assert visionxl(monkeypatch, capfd, *words, "--output", "y.safetensors").code == 0
    answer = visionxl(monkeypatch, capfd, *RESTORE)
    assert answer.code == 0, answer.err
    record = json.loads(Path("x.json").read_text())
    assert record["context"] == 6  # on either side of each frame: 13 are averaged


@pytest.mark.filterwarnings("ignore:.*result's values are beyond")
@pytest.mark.parametrize("more", [[], ["--windows", "4"]])
def test_a_result_that_misses_its_measurement_is_told(more, here, monkeypatch, capfd):
    """A clip that is sharp was not blurred."""
    words = ["restore", "clip.mkv", "--task", "deblur", "--noise", "0.001", "--output", "x.mkv"]
    answer = visionxl(monkeypatch, capfd, *words, *QUICK, *more)
    assert answer.code == 0, answer.err
    assert "is above the noise 0.00226" in answer.out
    record = json.loads(Path("x.json").read_text())
    assert any("is it the right task" in note for note in record["notes"])


@pytest.mark.filterwarnings("ignore:.*result's values are beyond")
def test_a_clip_too_long_for_the_memory_is_told_its_windows_before_it_is_read(
    here, monkeypatch, capfd
):
    longest, fitting = 2 * CONTEXT + 92, []
    clip = torch.rand(longest + 30, 3, 16, 32) * 2 - 1
    write_clip(Path("long.safetensors"), clip, 25)
    words = ["long.safetensors", "--task", "deblur", "--noise", "0.01", *QUICK]
    for path in ("long.safetensors", "long.mkv"):
        write_clip(Path(path), clip, 25, overwrite=True)
        monkeypatch.setattr(
            "visionxl.cli.memory.machine_memory", lambda: working_bytes(longest, 16, 32)
        )
        for kind in (TensorFrames, VideoFrames):
            monkeypatch.setattr(kind, "__getitem__", lambda *_: fitting.append(_))
        answer = visionxl(monkeypatch, capfd, "restore", path, *words[1:], "--output", "x.mkv")
        assert answer.code == 2
        assert f"{longest} frames of this size would fit" in answer.err
        assert "restore --windows 92)" in answer.err
    assert fitting == []
    monkeypatch.undo()
    monkeypatch.chdir(here)
    monkeypatch.setattr(
        "visionxl.cli.memory.machine_memory", lambda: working_bytes(longest, 16, 32)
    )
    more = ["--windows", "92", "--output", "x.mkv", "--steps", "3"]
    answer = visionxl(monkeypatch, capfd, "restore", *words, *more)
    assert answer.code == 0, answer.err


KEPT = {  # after a state is written: what is in the folder, and the windows that are restored next
    (0, 1): ({(0, 0), (0, 1)}, "step 1/3, window 1/3"),
    (1, 0): ({(0, 0), (0, 1), (0, 2), (1, 0)}, "step 1/3, window 2/3"),
    (2, 1): (
        {*((step, window) for step in (0, 1) for window in range(3)), (2, 0), (2, 1)},
        "step 2/3, window 3/3",
    ),
}


@pytest.mark.parametrize("damaged", [False, True])
@pytest.mark.parametrize("last", list(KEPT))
def test_an_interrupted_long_clip_goes_on_within_its_step(
    last, damaged, here, finished, monkeypatch, capfd
):
    keep = StatesOnDisk.__setitem__

    def keep_and_stop(states, key, value):
        keep(states, key, value)
        if key == last:
            raise KeyboardInterrupt

    monkeypatch.setattr(StatesOnDisk, "__setitem__", keep_and_stop)
    answer = visionxl(monkeypatch, capfd, *RESTORE)
    assert answer.code == 128 + signal.SIGINT
    assert "--resume" in answer.err
    kept, following = KEPT[last]
    names = {f"step-{step:04d}-{window:05d}" for step, window in kept}
    assert {p.stem for p in FOLDER.glob("*.json")} == {"run", *names}
    monkeypatch.setattr(StatesOnDisk, "__setitem__", keep)
    step, window = last
    if damaged:
        (FOLDER / f"step-{step:04d}-{window:05d}.safetensors").write_bytes(b"")
        following = following.replace(f"window {window + 2}/3", f"window {window + 1}/3")
    answer = visionxl(monkeypatch, capfd, *RESTORE, "--resume")
    assert answer.code == 0, answer.err
    assert (
        f"step-{step:04d}-{window:05d} is damaged, or of another run: made again" in answer.out
    ) == damaged
    expected = "the start, after 2" if last == (0, 1) else f"step {step} of 3, after {window + 1}"
    assert (f"went on in {expected} of 3 windows" in answer.out) != damaged
    made = re.findall(r"step \d/3 of 10 frames, window \d/3", answer.err)
    assert made[0] == following.replace(", ", " of 10 frames, ")
    assert Path("x.mkv").read_bytes() == finished


def test_an_interrupted_last_step_goes_on_with_the_windows_that_are_missing(
    here, finished, monkeypatch, capfd
):
    save = CheckpointFolder.save

    def save_and_stop(folder, name, tensors, facts):
        save(folder, name, tensors, facts)
        if name == "window-00001":
            raise KeyboardInterrupt

    monkeypatch.setattr(CheckpointFolder, "save", save_and_stop)
    answer = visionxl(monkeypatch, capfd, *RESTORE)
    assert answer.code == 128 + signal.SIGINT
    monkeypatch.setattr(CheckpointFolder, "save", save)
    answer = visionxl(monkeypatch, capfd, *RESTORE, "--resume")
    assert answer.code == 0, answer.err
    assert "went on in step 3 of 3, after 2 of 3 windows" in answer.out
    assert re.findall(r"step (\d)/3 of 10 frames, window (\d)/3", answer.err) == [("3", "3")]
    assert Path("x.mkv").read_bytes() == finished
    record = json.loads(Path("x.json").read_text())
    assert [len(window["trace"]) for window in record["windows"]] == [3, 3, 3]


@pytest.mark.parametrize("damaged", [(0,), (1,), (0, 2)])
def test_damaged_windows_and_no_others_are_made_again(damaged, here, finished, monkeypatch, capfd):
    def no_room(*_, **__):
        raise OSError("No space left on device")

    monkeypatch.setattr(long, "write_pieces", no_room)
    with pytest.raises(OSError, match="No space"):
        visionxl(monkeypatch, capfd, *RESTORE)
    monkeypatch.undo()
    os.chdir(here)
    monkeypatch.setattr(windows, "CONTEXT", 2)
    monkeypatch.setattr(windows, "NEAR", 2)
    for index in damaged:
        (FOLDER / f"window-0000{index}.safetensors").write_bytes(b"")
    answer = visionxl(monkeypatch, capfd, *RESTORE, "--resume")
    assert answer.code == 0, answer.err
    for index in range(3):
        assert (f"window-0000{index} is damaged: made again" in answer.out) == (index in damaged)
        assert (f"window {index + 1}/3: " in answer.err) == (index in damaged)
    assert Path("x.mkv").read_bytes() == finished


def test_a_number_that_is_none_is_told_before_the_first_window(here, monkeypatch, capfd):
    clip = torch.zeros(FRAMES, 3, 32, 48)
    clip[7, 1, 2, 3] = torch.inf
    save_file({"measurement": clip}, "bad.safetensors")
    words = ["restore", "bad.safetensors", "--task", "deblur", "--windows", "4", *QUICK]
    answer = visionxl(monkeypatch, capfd, *words, "--output", "b.mkv")
    assert answer.code == 2
    assert "has NaN or infinity in frame 7" in answer.err
    assert "--resume" not in answer.err
    assert not Path("b.mkv.checkpoint").exists()


def test_a_video_file_is_read_as_it_goes(here, monkeypatch, capfd):
    words = ["restore", "y.mkv", "--task", "deblur", "--noise", "0.02", "--steps", "10"]
    answer = visionxl(monkeypatch, capfd, *words, "--windows", "5", "--output", "x.mp4")
    assert answer.code == 0, answer.err
    assert read_clip("x.mp4").video.shape == (FRAMES, 3, 32, 48)
    assert visionxl(monkeypatch, capfd, *words, "--output", "whole.mp4").code == 0
    assert psnr(read_clip("x.mp4").video, read_clip("whole.mp4").video) > 30


def test_the_truth_is_compared_in_pieces(here, monkeypatch, capfd):
    truth = read_clip("clip.mkv").video
    more = torch.cat([truth, truth[-1:]])
    write_clip(Path("more.mkv"), more, Fraction(24))
    words = ["restore", "y.safetensors", *QUICK, "--output"]
    answers = {}
    for name, words_of in (("whole", []), ("parts", ["--windows", "4"])):
        told = [*words, f"{name}.safetensors", *words_of, "--truth", "more.mkv"]
        answers[name] = visionxl(monkeypatch, capfd, *told)
        assert answers[name].code == 0, answers[name].err
        assert "--truth is longer: its first 10 frames are compared" in answers[name].out
    parts, whole = (json.loads(Path(f"{name}.json").read_text()) for name in ("parts", "whole"))
    assert parts["measures"] == measures(read_clip("parts.safetensors").video, truth)
    for name, value in whole["measurement_measures"].items():
        assert parts["measurement_measures"][name] == pytest.approx(value, abs=0.2)
    assert "; psnr " in answers["parts"].out
    answer = visionxl(monkeypatch, capfd, *words, "x.mkv", "--windows", "4", "--truth", "few.mkv")
    assert "--truth 'few.mkv' does not exist" in answer.err
    write_clip(Path("few.mkv"), truth[:7], Fraction(24))
    answer = visionxl(monkeypatch, capfd, *words, "x.mkv", "--windows", "4", "--truth", "few.mkv")
    assert answer.code == 2
    assert "--truth has 7 frames and the measured video 10" in answer.err


@pytest.fixture
def in_two_processes(here, tmp_path_factory):
    """Starts the command in two processes that find one another as torchrun's do."""

    def started(*words):
        port, folder = free_port(), tmp_path_factory.mktemp("told")
        there = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        ranks = [there | {"RANK": rank, "LOCAL_RANK": rank} for rank in "01"]
        return [Forked(folder / told["RANK"], words, told) for told in ranks]

    return started


def test_of_two_processes_one_dies_and_the_run_goes_on_in_one(
    here, in_two_processes, monkeypatch, capfd
):
    words = ["restore", "y.safetensors", "--method", "vision_xl", "--output"]
    assert visionxl(monkeypatch, capfd, *words, "one.mkv").code == 0
    running = in_two_processes(*words, "two.mkv")
    while not Path("two.mkv.checkpoint/step-0001.json").exists():
        assert all(process.running() for process in running)
        time.sleep(0.002)
    running[1].kill()
    (code, _, told), _ = [process.end() for process in running]
    assert code != 0
    assert "process" in told
    assert "Traceback" not in told
    assert not Path("two.mkv").exists()
    answer = visionxl(monkeypatch, capfd, *words, "two.mkv", "--resume")
    assert answer.code == 0, answer.err
    assert "went on after step" in answer.out
    assert Path("two.mkv").read_bytes() == Path("one.mkv").read_bytes()


def test_two_processes_write_the_same_bytes_as_one(here, in_two_processes, monkeypatch, capfd):
    words = ["restore", "y.safetensors", "--method", "vision_xl", "--steps", "5", "--output"]
    assert visionxl(monkeypatch, capfd, *words, "one.mkv").code == 0
    running = in_two_processes(*words, "two.mkv")
    answers = [process.end() for process in running]
    assert [code for code, *_ in answers] == [0, 0], answers
    assert Path("two.mkv").read_bytes() == Path("one.mkv").read_bytes()
    assert "wrote two.mkv" in answers[0][1]
    assert answers[1][1] == ""
    record = json.loads(Path("two.json").read_text())
    assert record["processes"] == 2
    assert not Path("two.mkv.checkpoint").exists()


def test_windows_of_two_processes_are_those_of_one_and_go_on_where_one_dies(
    here, finished, in_two_processes
):
    running = in_two_processes(*RESTORE)
    answers = [process.end() for process in running]
    assert [code for code, *_ in answers] == [0, 0], answers
    assert Path("x.mkv").read_bytes() == finished
    assert "window 3/3: 10 of 10 frames restored" in answers[0][2]
    again = [*RESTORE[: -len(QUICK) - 1], "two.mkv", *QUICK]
    running = in_two_processes(*again)
    while not Path("two.mkv.checkpoint/step-0001-00001.json").exists():
        assert all(process.running() for process in running)
        time.sleep(0.002)
    running[1].kill()
    (code, _, told), _ = [process.end() for process in running]
    assert code != 0
    assert "Traceback" not in told
    running = in_two_processes(*again, "--resume")
    answers = [process.end() for process in running]
    assert [code for code, *_ in answers] == [0, 0], answers
    assert "went on in" in answers[0][1]
    assert Path("two.mkv").read_bytes() == finished


def test_memory_makes_a_plan_and_too_little_says_what_fits(here, monkeypatch, capfd):
    words = ["restore", "y.safetensors", "--output", "x.mkv", *QUICK, "--json"]
    answer = visionxl(monkeypatch, capfd, *words, "--memory", "0.0001")
    assert answer.code == 2
    assert "would fit" in answer.err
    answer = visionxl(monkeypatch, capfd, *words, "--memory", "1")
    assert answer.code == 0, answer.err
    assert "10 frames at once" in json.loads(answer.out)["memory_plan"]


def test_a_run_that_is_out_of_memory_goes_on_with_a_smaller_plan(here, monkeypatch, capfd):
    decode = DiffusersPrior.decode

    def greedy(self, latent):
        if len(latent) > 3:
            raise torch.OutOfMemoryError("out of memory: 4 frames")
        return decode(self, latent)

    monkeypatch.setattr(DiffusersPrior, "decode", greedy)
    words = ["restore", "y.safetensors", "--output", "x.mkv", "--frames-at-once", "7", "--json"]
    words += QUICK
    answer = visionxl(monkeypatch, capfd, *words)
    assert answer.code == 0, answer.err
    notes = " ".join(json.loads(answer.out)["notes"])
    assert "memory ran out in decode with 7 frames at once" in notes
    assert "went on with 4 frames at once" in notes
    assert "went on with 2 frames at once" in notes


def test_a_window_whose_consistency_runs_out_of_memory_goes_on_elsewhere(
    here, finished, monkeypatch, capfd
):
    correct, asked = NoiseAware.correct, []

    def failing(self, estimate, problem, level):
        asked.append(level.time)
        if len(asked) == 6:
            raise torch.OutOfMemoryError("out of memory")
        return correct(self, estimate, problem, level)

    monkeypatch.setattr(NoiseAware, "correct", failing)
    monkeypatch.setattr(MemoryPlan, "on_host", lambda plan: plan)
    answer = visionxl(monkeypatch, capfd, *RESTORE)
    assert answer.code == 0, answer.err
    assert "note: memory ran out with the videos on cpu" in answer.out
    assert Path("x.mkv").read_bytes() == finished


def test_the_residual_of_a_long_clip_counts_every_frame_once(here, monkeypatch, capfd):
    answer = visionxl(monkeypatch, capfd, *RESTORE)
    assert answer.code == 0, answer.err
    record = json.loads(Path("x.json").read_text())
    squares = [
        (w["stop"] - w["first"]) * w["trace"][-1]["data_residual"] ** 2 for w in record["windows"]
    ]
    assert record["data_residual"] == pytest.approx((sum(squares) / FRAMES) ** 0.5)


def test_another_mask_is_another_measurement(here):
    clip = LongClip(Path("y.safetensors"), None, 48, None)
    known = torch.ones(32, 48, dtype=torch.bool)
    found = {clip.checksum(mask) for mask in (None, known, ~known)}
    assert len(found) == 3
