"""Several processes: the same result as one, and an end to all when one fails."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from split_cases import METHODS, OPERATORS, problem_of, random_video, results

from visionxl import DampedCG, GaussianPrior, InputError, NoiseLevel, restore
from visionxl.distributed import (
    ProcessError,
    Processes,
    SplitDampedCG,
    SplitFrames,
    processes,
    split_restore,
)
from visionxl.operators import TemporalSubsample
from visionxl.operators.cutting import operator_at

TESTS = Path(__file__).parent


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(TESTS.parent)}


def launched(count, *words):
    """``split_cases.py`` by torchrun, with gloo on the CPU."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", str(count), str(TESTS / "split_cases.py"), *map(str, words)]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=240)


@pytest.fixture(scope="module")
def alone(stable_diffusion_folders):
    return results(Processes(), stable_diffusion_folders["epsilon"])


@pytest.fixture(scope="module", params=[2, 3])
def together(request, stable_diffusion_folders, tmp_path_factory):
    """How many processes, the first one's tensors, and what was told."""
    output = tmp_path_factory.mktemp("split") / "videos.safetensors"
    networks = [stable_diffusion_folders["epsilon"]] if request.param == 2 else []
    ended = launched(request.param, "equal", output, *networks)
    assert ended.returncode == 0, ended.stderr
    return request.param, load_file(output), json.loads(output.with_suffix(".json").read_text())


def test_the_result_is_that_of_one_process(alone, together):
    count, found, _ = together
    names = [n for n in alone if not n.startswith("seen") and (count == 2 or "network" not in n)]
    assert set(names) <= set(found)
    for name in names:
        # A frame's numbers are computed alike anywhere; inner products are summed otherwise.
        bound = 1e-10 if alone[name].dtype == torch.float64 else 1e-5
        torch.testing.assert_close(found[name], alone[name], rtol=0, atol=bound, msg=name)


def test_alone_the_split_consistency_is_damped_cg(alone):
    for name, operator in OPERATORS.items():
        problem = problem_of(5, operator=operator_at(operator, range(5), 7))
        level = NoiseLevel(0.1, 0.9, 0.4)
        whole = DampedCG().correct(random_video(5), problem, level).video
        assert torch.equal(alone[f"cg {name} 5"], whole)


def test_the_first_process_keeps_what_all_go_on_from(alone, together):
    _, found, _ = together
    assert torch.equal(found["gaussian gone on 5"], found["gaussian vision_xl 5"])
    assert torch.equal(alone["gaussian gone on 5"], alone["gaussian vision_xl 5"])


def test_the_networks_of_each_process_see_its_own_frames(alone, together):
    count, found, _ = together
    for method in METHODS:
        by_process = found[f"seen {method} 7"]
        assert len(by_process) == count
        assert by_process.sum() == alone[f"seen {method} 7"].sum()
        assert by_process[1:].max() < alone[f"seen {method} 7"].sum() / 2
    assert found["seen vision_tv 1"][1:].sum() == 0


def test_a_failure_is_told_in_all_processes(together):
    count, _, told = together
    own, *others = reversed(told["raising"])
    assert own == "ValueError: the third call is one too many"
    assert len(others) == count - 1
    assert set(others) == {f"ProcessError: process {count - 1} of {count} failed: {own}"}
    frame = Processes(count - 1, count).part(5).start
    *others, own = told["not a number"]
    assert re.match(rf"NotFiniteError: .* \(step \d, frame {frame}, float64\)", own)
    assert all(f"answered NaN or infinity (frame {frame}, float64)" in words for words in others)


def test_processes_with_other_seeds_or_methods_do_not_begin(together):
    count, _, told = together
    assert len(told["seed"]) == count
    assert all("generator is not the same in all processes" in words for words in told["seed"])
    assert all("sampler is not the same in all processes" in words for words in told["sampler"])
    assert len(told["sampler"]) == count


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize("frames", [0, 1, 2, 5, 7, 100])
def test_every_frame_belongs_to_one_process(frames, count):
    parts = [Processes(rank, count).part(frames) for rank in range(count)]
    owned = [frame for part in parts for frame in range(frames)[part]]
    assert owned == list(range(frames))
    sizes = [len(range(frames)[part]) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert sizes[0] > 0 or frames == 0  # the first process tells the others shapes


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("killed", ("Signal 9 (SIGKILL)", "rank      : 1")),  # torchrun names the process
        ("raising", ("process 1 of 2 failed: ValueError: the third call is one too many",)),
    ],
    ids=["killed", "raising"],
)
def test_a_process_that_fails_ends_the_run(case, words):
    began = time.monotonic()
    ended = launched(2, case)
    assert time.monotonic() - began < 60
    assert ended.returncode != 0
    assert all(part in ended.stderr for part in words)


def test_without_torchrun_the_survivor_names_the_one_that_was_killed():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    there = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    command = [sys.executable, str(TESTS / "split_cases.py"), "killed"]
    both = [
        subprocess.Popen(
            command,
            env={**ENVIRONMENT, **there, "RANK": rank, "LOCAL_RANK": rank},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    ]
    words = [process.communicate(timeout=60)[1] for process in both]
    assert both[0].returncode == 1
    assert "ProcessError: process 1 of 2 gave no sign of life: killed" in words[0]
    assert both[1].returncode == -signal.SIGKILL


def test_one_process_is_restore():
    problem, prior = problem_of(2), GaussianPrior.natural(32, 32)
    sampler = METHODS["vision_xl"](count=4)
    with processes() as only:
        split = split_restore(
            problem,
            prior,
            sampler,
            processes=only,
            generator=torch.Generator().manual_seed(1),
        )
    whole = restore(problem, prior, sampler, generator=torch.Generator().manual_seed(1))
    assert torch.equal(split.video, whole.video)


def test_gradients_do_not_cross_processes():
    prior = SplitFrames(GaussianPrior.natural(8, 8), Processes(0, 2))
    video = torch.zeros(2, 3, 8, 8, requires_grad=True)
    with pytest.raises(InputError, match="gradients"):
        prior.encode(video)


def test_an_incomplete_environment_is_named(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match="LOCAL_RANK is not set"), processes():
        pass
    monkeypatch.setenv("LOCAL_RANK", "one")
    with pytest.raises(InputError, match="LOCAL_RANK is 'one'"), processes():
        pass


@pytest.mark.parametrize("device", ["cuda:1", "cuda"])
def test_a_gpu_that_is_not_there_is_named(device, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "99")
    with pytest.raises(InputError, match=r"each takes its own|no GPU"), processes(device):
        pass


def test_a_failure_elsewhere_is_an_input_error():
    assert issubclass(ProcessError, InputError)  # so that a checkpoint's advice is added to it


def test_what_the_split_consistency_cannot_take_is_named():
    fewer = problem_of(4, operator=TemporalSubsample(2))
    with pytest.raises(InputError, match="measurement has 2 frames and the video 4"):
        SplitDampedCG(Processes()).correct(random_video(4), fewer, NoiseLevel(0.1, 0.9, 0.4))


def test_the_process_after_the_last_gpu_has_none(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda number: None)
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("LOCAL_RANK", "2")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match="process 2 of this machine has no GPU"), processes("cuda"):
        pass
    monkeypatch.setenv("LOCAL_RANK", "1")  # the next word is on what else is missing
    with pytest.raises(InputError, match="RANK is not set"), processes("cuda"):
        pass
