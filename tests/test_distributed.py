"""Several processes give the result of one, and end together."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from visionxl.distributed import Group, own_frames, processes

SCRIPT = Path(__file__).with_name("split_run.py")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def launched(size, what, folder):
    """What each process said and its exit code; as torchrun starts them, without its agent."""
    port = free_port()
    running = []
    for rank in range(size):
        told = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank, "MASTER_PORT": port}
        told["MASTER_ADDR"] = "127.0.0.1"
        environment = {**os.environ, **{k: str(v) for k, v in told.items()}, "OMP_NUM_THREADS": "1"}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        running.append(
            subprocess.Popen([sys.executable, SCRIPT, what], cwd=folder, env=environment, **pipes)
        )
    began = time.monotonic()
    answers = [process.communicate(timeout=300) for process in running]
    seconds = time.monotonic() - began
    return [(p.returncode, *a) for p, a in zip(running, answers, strict=True)], seconds


@pytest.mark.parametrize("size", [2, 3])
def test_several_processes_restore_what_one_does(size, tmp_path):
    answers, _ = launched(size, "equality", tmp_path)
    assert [code for code, *_ in answers] == [0] * size, answers
    lines = answers[0][1].splitlines()
    assert len(lines) == 4 * 2 + 2
    assert {float(line.rpartition(": ")[2]) for line in lines} == {0.0}  # the same bits
    assert all(not out for _, out, _ in answers[1:])


def test_an_error_in_one_process_ends_all_with_its_words(tmp_path):
    answers, _ = launched(3, "error", tmp_path)
    assert all(code == 1 for code, *_ in answers), answers
    assert "InputError: the frames are too dark" in answers[1][2]
    for rank in (0, 2):
        assert "ProcessError: process 1 of 3 failed: the frames are too dark" in answers[rank][2]


def test_a_killed_process_ends_the_others_with_a_clear_message(tmp_path):
    answers, seconds = launched(2, "killed", tmp_path)
    assert answers[1][0] == -9
    assert answers[0][0] == 1
    assert "another process has ended, and with it the run" in answers[0][2]
    assert seconds < 60


def test_processes_with_different_problems_refuse_each_other(tmp_path):
    answers, _ = launched(2, "problem", tmp_path)
    assert "process 1 of 2 has another problem than the first" in answers[1][2]
    assert answers[1][0] == 1


@pytest.mark.parametrize("frames", [1, 2, 5, 7, 25])
@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_frames_are_shared_out_in_order_and_evenly(frames, size):
    shares = [own_frames(frames, rank, size) for rank in range(size)]
    found = [i for share in shares for i in range(frames)[share]]
    assert found == list(range(frames))
    lengths = [share.stop - share.start for share in shares]
    assert max(lengths) - min(lengths) <= 1


def test_one_process_is_alone(monkeypatch):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    with processes() as group:
        assert group == Group(0, 1, torch.device("cpu"))
        assert group.first
        assert group.share({"a": 1}) == {"a": 1}
        assert not torch.distributed.is_initialized()
