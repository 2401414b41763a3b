"""A run that is cut off goes on to the same bytes, and what is finished is never lost."""

import json
import math
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import models
import pytest
import torch
from command_line import cut_off_after, exit_code, make_clip, run_in, visionxl
from filelock import FileLock
from safetensors import safe_open
from safetensors.torch import save_file

from visionxl import checkpoints
from visionxl.checkpoints import CheckpointFolder, difference, only_run
from visionxl.cli import outputs as cli_outputs
from visionxl.cli import restore_one
from visionxl.distributed import Processes
from visionxl.errors import InputError
from visionxl.metrics import psnr
from visionxl.planning import MemoryPlan
from visionxl.priors.codec import AutoencoderCodec
from visionxl.solvers import SpaceTimeTV, loop
from visionxl.video import read_clip

SCRIPT = Path(sys.executable).with_name("visionxl")
RESTORE = ["restore", "y.safetensors", "--output", "x.mkv", "--seed", "3"]
FOLDER = Path("x.mkv.checkpoint")
MADE = {"clip.mkv", "y.safetensors", "x.mkv", "x.png", "x.html", "x.json"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A measurement, and its restoration without interruption."""
    folder = tmp_path_factory.mktemp("finished")
    make_clip(folder / "clip.mkv", frames=3, height=32, width=48)
    words = ["simulate", "clip.mkv", "--task", "deblur+", "--noise", "0.02", "--output"]
    run_in(folder, *words, "y.safetensors")
    run_in(folder, *RESTORE)
    return folder


@pytest.fixture
def place(finished, tmp_path, monkeypatch):
    for name in ("clip.mkv", "y.safetensors"):
        shutil.copy(finished / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def here(place):
    """Stays in the folder of the test where monkeypatch is undone."""
    before = Path.cwd()
    os.chdir(place)
    yield place
    os.chdir(before)


@pytest.mark.parametrize("steps", [1, 3])
def test_an_interrupted_run_says_how_to_go_on_and_goes_on(
    steps, here, finished, monkeypatch, capfd
):
    cut_off_after(monkeypatch, steps)
    answer = visionxl(monkeypatch, capfd, *RESTORE)
    assert answer.code == 128 + signal.SIGINT
    assert "visionxl restore y.safetensors --output x.mkv --seed 3 --resume" in answer.err
    assert {p.name for p in here.iterdir()} == {"clip.mkv", "y.safetensors", FOLDER.name}
    monkeypatch.undo()
    os.chdir(here)
    answer = visionxl(monkeypatch, capfd, *RESTORE, "--resume")
    assert answer.code == 0, answer.err
    assert f"went on after step {steps} of 4" in answer.out
    assert Path("x.mkv").read_bytes() == (finished / "x.mkv").read_bytes()
    record, whole = (json.loads((p / "x.json").read_text()) for p in (here, finished))
    assert [r["index"] for r in record["trace"]] == [0, 1, 2, 3]
    for name in ("settings", "data_residual"):
        assert record[name] == whole[name]
    assert "--resume" not in record["command"]
    assert {p.name for p in here.iterdir()} == MADE


@pytest.fixture(scope="module")
def third_step(finished, tmp_path_factory):
    """What a run leaves that was interrupted after its third step of four."""
    folder = tmp_path_factory.mktemp("interrupted")
    shutil.copy(finished / "y.safetensors", folder)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(folder)
        cut_off_after(monkeypatch, 3)
        assert exit_code(monkeypatch, *RESTORE) == 128 + signal.SIGINT
    return folder / FOLDER


@pytest.fixture
def interrupted(here, third_step):
    """The folder of the test, as after that run."""
    shutil.copytree(third_step, FOLDER)
    return here


@pytest.mark.parametrize("damage", ["truncated", "changed", "no json", "half a json"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(
    damage, interrupted, finished, monkeypatch, capfd
):
    data, told = FOLDER / "step-0003.safetensors", FOLDER / "step-0003.json"
    content = bytearray(data.read_bytes())
    if damage == "truncated":
        data.write_bytes(content[: len(content) // 2])
    elif damage == "changed":
        content[-5] ^= 1
        data.write_bytes(content)
    elif damage == "no json":
        told.unlink()
    else:
        told.write_text(told.read_text()[:100])
    answer = visionxl(monkeypatch, capfd, *RESTORE, "--resume")
    assert answer.code == 0, answer.err
    if damage != "no json":  # then it was never finished
        assert "step-0003 is damaged" in answer.out
    assert "went on after step 2 of 4" in answer.out
    assert Path("x.mkv").read_bytes() == (finished / "x.mkv").read_bytes()


JSON_DAMAGES = [
    ('"iterations"', '"iterationz"'),
    ('"trace"', '"trabe"'),
    ('"index": 3', '"index": 2'),
    ('"data_residual": 0.', '"data_residual": 9.'),
]


@pytest.mark.parametrize(("told", "instead"), JSON_DAMAGES)
def test_a_checkpoint_whose_record_was_changed_is_named_and_the_one_before_it_used(
    told, instead, interrupted, finished, monkeypatch, capfd
):
    file = FOLDER / "step-0003.json"
    changed = file.read_text().replace(told, instead)
    assert changed != file.read_text()
    file.write_text(changed)
    answer = visionxl(monkeypatch, capfd, *RESTORE, "--resume")
    assert answer.code == 0, answer.err
    assert "step-0003 is damaged" in answer.out
    assert "went on after step 2 of 4" in answer.out
    assert Path("x.mkv").read_bytes() == (finished / "x.mkv").read_bytes()


@pytest.mark.parametrize("content", ["", '{"run": 3}', None, "[]"])
def test_what_run_it_was_is_made_again_where_that_is_damaged(
    content, interrupted, finished, monkeypatch, capfd
):
    file = FOLDER / "run.json"
    file.write_text(file.read_text()[:200] if content is None else content)
    answer = visionxl(monkeypatch, capfd, *RESTORE, "--resume")
    assert answer.code == 0, answer.err
    assert "run.json is damaged" in answer.out
    assert "went on after step 3 of 4" in answer.out
    assert Path("x.mkv").read_bytes() == (finished / "x.mkv").read_bytes()


def test_another_command_takes_no_steps_where_what_run_it_was_is_damaged(
    interrupted, finished, monkeypatch, capfd
):
    (FOLDER / "run.json").write_text("")
    answer = visionxl(monkeypatch, capfd, *RESTORE, "--seed", "4", "--resume")
    assert answer.code == 0, answer.err
    assert "went on" not in answer.out
    assert Path("x.mkv").read_bytes() != (finished / "x.mkv").read_bytes()


@pytest.mark.parametrize("name", ["notes.txt", "weights/model.bin", "model.safetensors"])
def test_a_folder_with_other_things_in_it_is_left_alone(name, here, monkeypatch, capfd):
    file = FOLDER / name
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    for more in ([], ["--resume"], ["--overwrite"], ["--prior", "nosuch"]):
        answer = visionxl(monkeypatch, capfd, *RESTORE, *more)
        assert answer.code == 2
        assert "has other things in it" in answer.err
    assert file.read_text() == "mine"
    assert not Path("x.mkv").exists()


def test_a_stop_while_a_result_of_one_step_is_written_keeps_what_it_takes_to_go_on(
    here, monkeypatch, capfd
):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli_outputs, "write_picture", stopped)
    words = [*RESTORE, "--steps", "1"]
    answer = visionxl(monkeypatch, capfd, *words)
    assert answer.code == 128 + signal.SIGINT
    assert "--resume" in answer.err
    before = Path("x.mkv").read_bytes()
    monkeypatch.undo()
    os.chdir(here)
    answer = visionxl(monkeypatch, capfd, *words, "--resume")
    assert answer.code == 0, answer.err
    assert Path("x.mkv").read_bytes() == before
    assert {p.name for p in here.iterdir()} == MADE


def test_what_an_interrupted_removal_has_left_goes_with_the_next_resume(
    here, third_step, monkeypatch, capfd
):
    assert visionxl(monkeypatch, capfd, *RESTORE).code == 0
    shutil.copytree(third_step, FOLDER)
    (FOLDER / "run.json").unlink()
    answer = visionxl(monkeypatch, capfd, *RESTORE, "--resume")
    assert answer.code == 0, answer.err
    assert "nothing to resume" in answer.out
    assert not FOLDER.exists()


def test_a_run_whose_memory_ran_out_goes_on_with_fewer_frames_at_once(
    here, finished, monkeypatch, capfd
):
    cut_off_after(monkeypatch, 2, error=torch.OutOfMemoryError("out of memory"))
    answer = visionxl(monkeypatch, capfd, *RESTORE, "--frames-at-once", "2")
    assert answer.code == 2
    assert "memory ran out" in answer.err
    assert "--resume" in answer.err
    monkeypatch.undo()
    os.chdir(here)
    answer = visionxl(monkeypatch, capfd, *RESTORE, "--frames-at-once", "1", "--resume")
    assert answer.code == 0, answer.err
    assert "went on after step 2 of 4" in answer.out
    videos = (read_clip(folder / "x.mkv").video for folder in (Path(), finished))
    assert psnr(*videos) > 60  # the same to rounding, in 8 bits


def test_a_step_whose_consistency_runs_out_of_memory_is_repeated_elsewhere(
    here, finished, monkeypatch, capfd
):
    """On a GPU its videos go to host memory; here they are, and have to be let go again."""
    correct, asked = SpaceTimeTV.correct, []

    def failing(self, estimate, problem, level):
        asked.append(level.time)
        if len(asked) == 3:
            raise torch.OutOfMemoryError("out of memory")
        return correct(self, estimate, problem, level)

    monkeypatch.setattr(SpaceTimeTV, "correct", failing)
    monkeypatch.setattr(MemoryPlan, "on_host", lambda plan: plan)
    answer = visionxl(monkeypatch, capfd, *RESTORE)
    assert answer.code == 0, answer.err
    assert "note: memory ran out with the videos on cpu: went on with them in" in answer.out
    assert Path("x.mkv").read_bytes() == (finished / "x.mkv").read_bytes()
    record, before = (json.loads((f / "x.json").read_text()) for f in (here, finished))
    assert [s["index"] for s in record["trace"]] == [s["index"] for s in before["trace"]]
    assert record["data_residual"] == before["data_residual"]
    assert None not in record["stages"]
    assert asked.count(asked[2]) == 2


def test_what_safetensors_leaves_where_it_is_killed_is_no_hindrance(
    interrupted, finished, monkeypatch, capfd
):
    """It writes beside the file that it is told, under a name of its own."""
    (FOLDER / ".tmpa1B2c3").write_bytes(b"half")
    answer = visionxl(monkeypatch, capfd, *RESTORE, "--resume")
    assert answer.code == 0, answer.err
    assert Path("x.mkv").read_bytes() == (finished / "x.mkv").read_bytes()
    assert not FOLDER.exists()


def test_an_output_of_another_command_that_may_be_overwritten_is_made_anew(
    here, finished, monkeypatch, capfd
):
    assert visionxl(monkeypatch, capfd, *RESTORE, "--seed", "4").code == 0
    answer = visionxl(monkeypatch, capfd, *RESTORE, "--overwrite", "--resume")
    assert answer.code == 0, answer.err
    assert Path("x.mkv").read_bytes() == (finished / "x.mkv").read_bytes()


def test_where_everything_is_damaged_it_begins_anew(interrupted, finished, monkeypatch, capfd):
    for file in FOLDER.glob("step-*.safetensors"):
        file.write_bytes(b"")
    answer = visionxl(monkeypatch, capfd, *RESTORE, "--resume")
    assert answer.code == 0, answer.err
    assert answer.out.count("is damaged") == 2
    assert Path("x.mkv").read_bytes() == (finished / "x.mkv").read_bytes()


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (["--seed", "1"], "seed 3, and this command has 1"),
        (["--method", "vision_xl"], "method 'vision_tv', and this command has 'vision_xl'"),
    ],
)
def test_another_command_does_not_go_on_with_it(more, named, interrupted, monkeypatch, capfd):
    before = sorted(p.name for p in FOLDER.iterdir())
    answer = visionxl(monkeypatch, capfd, *RESTORE, *more, "--resume")
    assert answer.code == 2
    assert named in answer.err
    assert sorted(p.name for p in FOLDER.iterdir()) == before


def test_another_measurement_does_not_go_on_with_it(interrupted, monkeypatch, capfd):
    words = ["simulate", "clip.mkv", "--task", "deblur+", "--noise", "0.02", "--seed", "5"]
    words += ["--output", "y.safetensors", "--overwrite"]
    assert visionxl(monkeypatch, capfd, *words).code == 0
    answer = visionxl(monkeypatch, capfd, *RESTORE, "--resume")
    assert answer.code == 2
    assert "measure" in answer.err


def test_an_interrupted_run_is_not_begun_anew_by_accident(
    interrupted, finished, monkeypatch, capfd
):
    answer = visionxl(monkeypatch, capfd, *RESTORE)
    assert answer.code == 2
    assert "--resume to go on, or with --overwrite to start again" in answer.err
    answer = visionxl(monkeypatch, capfd, *RESTORE, "--overwrite")
    assert answer.code == 0, answer.err
    assert "went on" not in answer.out
    assert Path("x.mkv").read_bytes() == (finished / "x.mkv").read_bytes()
    assert not FOLDER.exists()


def test_an_error_that_would_come_up_again_does_not_ask_to_resume(here, monkeypatch, capfd):
    residuals = iter([0.02, math.inf])
    monkeypatch.setattr(loop, "data_residual", lambda *_: next(residuals))
    answer = visionxl(monkeypatch, capfd, *RESTORE)
    assert answer.code == 2
    assert "consistency answered NaN or infinity (step 1" in answer.err
    assert "--resume" not in answer.err


def test_resume_is_harmless_where_there_is_nothing_to_resume(here, finished, monkeypatch, capfd):
    answer = visionxl(monkeypatch, capfd, *RESTORE, "--resume")
    assert answer.code == 0, answer.err
    assert Path("x.mkv").read_bytes() == (finished / "x.mkv").read_bytes()
    written = {p: p.stat().st_mtime_ns for p in here.iterdir()}
    answer = visionxl(monkeypatch, capfd, *RESTORE, "--resume")
    assert answer.code == 0, answer.err
    assert "nothing to resume" in answer.out
    assert {p: p.stat().st_mtime_ns for p in here.iterdir()} == written


def test_resume_is_harmless_with_settings_that_do_not_decide_the_result(
    here, finished, monkeypatch, capfd
):
    assert visionxl(monkeypatch, capfd, *RESTORE).code == 0
    more = ["--truth", "clip.mkv", "--frames-at-once", "2", "--resume"]
    answer = visionxl(monkeypatch, capfd, *RESTORE, *more)
    assert answer.code == 0, answer.err
    assert "nothing to resume" in answer.out


@pytest.mark.parametrize("other", ["command", "measurement"])
def test_resume_refuses_what_another_run_has_finished(other, here, finished, monkeypatch, capfd):
    assert visionxl(monkeypatch, capfd, *RESTORE).code == 0
    before, more = Path("x.mkv").read_bytes(), []
    if other == "command":
        more = ["--steps", "5"]
    else:
        with safe_open("y.safetensors", framework="pt") as file:
            changed = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata()
        changed["measurement"] = changed["measurement"] * 0.9
        save_file(changed, "y.safetensors", metadata)
    answer = visionxl(monkeypatch, capfd, *RESTORE, *more, "--resume")
    assert answer.code == 2
    what = "steps 25, and this command has 5" if other == "command" else "another measurement"
    assert f"x.mkv is finished, but with {what}" in answer.err
    assert Path("x.mkv").read_bytes() == before
    assert visionxl(monkeypatch, capfd, *RESTORE, *more, "--overwrite").code == 0
    assert Path("x.mkv").read_bytes() != before


def test_resume_does_not_replace_what_another_program_wrote(here, monkeypatch, capfd):
    Path("x.mkv").write_bytes(b"mine")
    answer = visionxl(monkeypatch, capfd, *RESTORE, "--resume")
    assert answer.code == 2
    assert "exists" in answer.err
    assert Path("x.mkv").read_bytes() == b"mine"
    assert not FOLDER.exists()


def test_resume_does_not_replace_what_another_run_has_finished_meanwhile(
    interrupted, monkeypatch, capfd
):
    """``x.mkv`` was interrupted, and ``x.safetensors`` finished, which has the same record."""
    words = ["restore", "y.safetensors", "--method", "vision_xl", "--steps", "5"]
    assert visionxl(monkeypatch, capfd, *words, "--output", "x.safetensors").code == 0
    before = {path: path.read_bytes() for path in Path().glob("x*.*") if path.is_file()}
    answer = visionxl(monkeypatch, capfd, *RESTORE, "--resume")
    assert answer.code == 2
    assert "exists" in answer.err
    assert {path: path.read_bytes() for path in before} == before


def test_a_path_in_other_words_is_the_same_output(here, monkeypatch, capfd):
    assert visionxl(monkeypatch, capfd, *RESTORE).code == 0
    words = [str(Path(word).resolve()) if word == "x.mkv" else word for word in RESTORE]
    answer = visionxl(monkeypatch, capfd, *words, "--resume")
    assert answer.code == 0, answer.err
    assert "nothing to resume" in answer.out


def test_two_runs_on_one_output_refuse_each_other(here, monkeypatch, capfd):
    with only_run(FOLDER, Path("x.mkv")):
        for more in ([], ["--resume"], ["--overwrite"]):
            answer = visionxl(monkeypatch, capfd, *RESTORE, *more)
            assert answer.code == 2
            assert "being written by another run" in answer.err
    assert not FOLDER.exists()


def test_outputs_that_share_a_record_refuse_each_other(here, monkeypatch, capfd):
    other = Path("x.mp4")
    with only_run(other.with_name("x.mp4.checkpoint"), other):
        answer = visionxl(monkeypatch, capfd, *RESTORE)
        assert answer.code == 2
        assert "or what lies beside it" in answer.err
    assert not FOLDER.exists()
    with only_run(Path("x.checkpoint"), Path("x")), pytest.raises(InputError, match="beside it"):
        only_run(FOLDER, Path("x.mkv")).__enter__()
    with only_run(other.with_name("x2.mp4.checkpoint"), Path("x2.mp4")):
        assert visionxl(monkeypatch, capfd, *RESTORE).code == 0


def test_a_stop_before_the_networks_run_says_how_to_go_on(interrupted, monkeypatch, capfd):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(restore_one, "begin", stopped)
    answer = visionxl(monkeypatch, capfd, *RESTORE, "--resume")
    assert answer.code == 128 + signal.SIGINT
    assert "go on with" in answer.err


def test_the_lock_ends_with_its_block(here):
    with only_run(FOLDER, Path("x.mkv")):
        second = only_run(FOLDER, Path("x.mkv"))
        with pytest.raises(InputError, match="another run"):
            second.__enter__()
    with only_run(FOLDER, Path("x.mkv")):
        assert FOLDER.exists()


# In processes of their own


def begin(here, words=(), **options):
    command = [SCRIPT, *RESTORE, *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=here, **pipes, **options)


def wait_for(file, process):
    while not file.exists():
        if process.poll() is not None:  # on a busy machine it may end unseen, but never badly
            assert process.returncode == 0, process.communicate()
            return
        time.sleep(0.002)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_run_that_is_killed_as_a_file_takes_its_place_goes_on_to_the_same_bytes():
    """The command tells; without ``--every`` it leaves no rename and no removal out."""
    script = Path(__file__).parents[1] / "benchmarks/interrupt.py"
    command = [sys.executable, script, "--every", "61"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"2 runs, 2 of them interrupted; 2 ended with the same bytes", done.stdout)


def test_a_killed_run_goes_on_to_the_same_bytes(here, finished, monkeypatch, capfd):
    process = begin(here)
    wait_for(FOLDER / "step-0003.json", process)
    process.kill()
    process.communicate()
    answer = visionxl(monkeypatch, capfd, *RESTORE, "--resume")
    assert answer.code == 0, answer.err
    assert Path("x.mkv").read_bytes() == (finished / "x.mkv").read_bytes()
    assert {p.name for p in here.iterdir()} == MADE


def test_sigterm_finishes_what_is_being_written_and_says_goodbye(here, monkeypatch, capfd):
    process = begin(here)
    wait_for(FOLDER / "step-0001.json", process)
    if process.poll() is not None:
        pytest.skip("the run ended before it could be stopped")
    process.terminate()
    _, told = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert "--resume" in told
    assert "Traceback" not in told
    names = {p.name for p in FOLDER.iterdir()}
    assert not [name for name in names if "part" in name]
    folder = CheckpointFolder(FOLDER)
    assert all(folder.load(name) is not None for name in folder.names("step"))


def test_a_full_disk_leaves_the_finished_part(here, finished, monkeypatch, capfd):
    latents = 30_000  # bytes, more than a checkpoint of this size takes
    assert latents < (finished / "x.html").stat().st_size

    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (latents, latents))

    process = begin(here, preexec_fn=small_files)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 2, told
    assert "could not be written" in told
    assert "--resume" in told
    left = {p.name for p in here.iterdir()}
    assert left - {"x.mkv", "x.png"} == {"clip.mkv", "y.safetensors", FOLDER.name}
    for name in left & {"x.mkv", "x.png"}:  # if at all, whole
        assert Path(name).read_bytes() == (finished / name).read_bytes()
    answer = visionxl(monkeypatch, capfd, *RESTORE, "--resume")
    assert answer.code == 0, answer.err
    assert "went on after step 3" in answer.out
    assert Path("x.mkv").read_bytes() == (finished / "x.mkv").read_bytes()


# Many measurements


def test_many_measurements_go_to_outputs_of_their_names(here, finished, monkeypatch, capfd):
    shutil.copy("y.safetensors", "z.safetensors")
    Path("broken.safetensors").write_bytes(b"no")
    words = ["restore", "y.safetensors", "broken.safetensors", "z.safetensors", "--seed", "3"]
    answer = visionxl(monkeypatch, capfd, *words, "--output", "out-{name}.mkv")
    assert answer.code == 2
    assert "1 of 3 measurements failed (broken.safetensors)" in answer.err
    for name in ("y", "z"):
        expected = (finished / "x.mkv").read_bytes()
        assert Path(f"out-{name}.mkv").read_bytes() == expected
    shutil.copy("y.safetensors", "broken.safetensors")
    answer = visionxl(monkeypatch, capfd, *words, "--output", "out-{name}.mkv", "--resume")
    assert answer.code == 0, answer.err
    assert answer.out.count("nothing to resume") == 2


@pytest.mark.parametrize(
    ("inputs", "output", "word"),
    [
        (["y.safetensors", "z.safetensors"], "x.mkv", "{name}"),
        (["y.safetensors", "a/y.safetensors"], "{name}.mkv", "two measurements are called 'y'"),
    ],
)
def test_outputs_of_many_measurements_have_to_differ(
    inputs, output, word, here, monkeypatch, capfd
):
    answer = visionxl(monkeypatch, capfd, "restore", *inputs, "--output", output)
    assert answer.code == 2
    assert word in answer.err


def test_a_lock_whose_file_was_removed_meanwhile_is_none(here, monkeypatch):
    """The run before has just ended, and took the file away that this one has locked."""
    acquire = FileLock.acquire

    def too_late(self, *words, **options):
        found = acquire(self, *words, **options)
        Path(self.lock_file).unlink()
        return found

    monkeypatch.setattr(FileLock, "acquire", too_late)
    with pytest.raises(InputError, match="another run"), only_run(FOLDER, Path("x.mkv")):
        pass


def test_a_setting_that_is_gone_is_a_difference_too():
    assert difference({"seed": 1}, {"seed": 1}) is None
    assert difference({"seed": 1, "old": 2}, {"seed": 1}) == "old 2, and this command has None"
    assert difference({"seed": 1}, {"seed": 1, "new": 2}) == "new None, and this command has 2"


def test_the_truth_is_never_written_over(here, monkeypatch, capfd):
    before = Path("clip.mkv").read_bytes()
    words = ["restore", "y.safetensors", "--output", "clip.mkv", "--truth", "clip.mkv"]
    answer = visionxl(monkeypatch, capfd, *words, "--overwrite")
    assert answer.code == 2
    assert "output 'clip.mkv' would replace an input" in answer.err
    assert Path("clip.mkv").read_bytes() == before


@pytest.mark.parametrize(
    "name", ["output", "truth", "frames_at_once", "memory", "device", "compile"]
)
def test_what_does_not_decide_the_result_tells_no_runs_apart(name):
    assert restore_one._digest({"seed": 1, name: "other"}) == restore_one._digest({"seed": 1})
    assert restore_one._digest({"seed": 2}) != restore_one._digest({"seed": 1})


@pytest.mark.parametrize("name", ["step-0001", "window-00000"])
def test_a_finished_step_or_window_is_worth_going_on_from(name, tmp_path):
    folder = CheckpointFolder(tmp_path)
    assert "nothing is left behind" in restore_one._goodbye(folder, Processes())
    folder.save(name, {}, {})
    assert "go on with" in restore_one._goodbye(folder, Processes())


def test_what_an_interrupted_removal_left_is_not_gone_on_from(
    interrupted, finished, monkeypatch, capfd
):
    (FOLDER / "run.json").unlink()
    answer = visionxl(monkeypatch, capfd, *RESTORE)
    assert answer.code == 0, answer.err
    assert "went on" not in answer.out
    assert Path("x.mkv").read_bytes() == (finished / "x.mkv").read_bytes()
    assert not FOLDER.exists()


def test_what_run_it_is_goes_first_of_all(interrupted, monkeypatch):
    def cut_off(file):
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints, "remove", cut_off)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.empty(FOLDER)
    assert not checkpoints.begun(FOLDER)
    assert list(FOLDER.glob("step-*"))


def test_other_weights_at_the_same_place_are_refused(here, monkeypatch, capfd, tmp_path_factory):
    model = models.stable_diffusion(tmp_path_factory.mktemp("models"))
    words = [*RESTORE, "--prior", str(model)]
    with monkeypatch.context() as patched:
        cut_off_after(patched, 2)
        assert exit_code(patched, *words) == 128 + signal.SIGINT
    file = next(model.rglob("*.safetensors"))
    os.utime(file, (0, 0))
    answer = visionxl(monkeypatch, capfd, *words, "--resume")
    assert answer.code == 2
    assert "was begun with other weights" in answer.err


@pytest.mark.parametrize("name", ["vision_tv", "pocket"])
def test_a_folder_with_the_name_of_a_part_decides_nothing(name, here, monkeypatch, capfd):
    words = [*RESTORE, "--output", f"{name}/x.mkv"]
    Path(name).mkdir()
    with monkeypatch.context() as patched:
        cut_off_after(patched, 2)
        assert exit_code(patched, *words) == 128 + signal.SIGINT
    answer = visionxl(monkeypatch, capfd, *words, "--resume")
    assert answer.code == 0, answer.err
    assert "went on after step 2" in answer.out
    answer = visionxl(monkeypatch, capfd, *words, "--resume")
    assert "nothing to resume" in answer.out


def test_the_record_has_the_plan_that_was_obeyed(here, monkeypatch, capfd):
    decode, asked = AutoencoderCodec.decode, []

    def failing(self, latent):
        asked.append(len(latent))
        if len(latent) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return decode(self, latent)

    monkeypatch.setattr(AutoencoderCodec, "decode", failing)
    answer = visionxl(monkeypatch, capfd, *RESTORE, "--frames-at-once", "4", "--json")
    assert answer.code == 0, answer.err
    assert max(asked) > 2
    record = json.loads(answer.out)
    assert any("memory" in note for note in record["notes"])
    assert "4 frames at once" not in record["memory_plan"]


def test_the_time_of_a_run_is_that_of_all_its_sessions(interrupted, monkeypatch, capfd):
    answer = visionxl(monkeypatch, capfd, *RESTORE, "--resume", "--json")
    record = json.loads(answer.out)
    assert record["seconds"] >= sum(step["seconds"] for step in record["trace"])


def test_another_gpu_goes_on(interrupted, monkeypatch):
    folder = CheckpointFolder(FOLDER)
    told = json.loads((FOLDER / "run.json").read_text())["facts"]["run"]
    assert told["device"] == "cpu"
    assert checkpoints.begin(folder, told, Path("x.mkv")) == []
    with pytest.raises(InputError, match=r"device 'cpu', and this command has 'cuda'"):
        checkpoints.begin(folder, told | {"device": "cuda"}, Path("x.mkv"))
