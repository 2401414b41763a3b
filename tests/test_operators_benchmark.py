"""The comparison with deepinv's operators: same maps, exact adjoints, and its rows."""

import importlib
import json
import re

import pytest
import torch

from visionxl import InputError
from visionxl.operators import GaussianBlur, check_adjoint, task_named

pytest.importorskip("deepinv", reason="deepinv is not installed: docs/deepinv.rst")
operators = importlib.import_module("operators")  # a benchmark: it is in no package
peers = importlib.import_module("peers.deepinv")

FRAMES, HEIGHT, WIDTH = 15, 64, 72  # deepinv averages no more frames than there are
TOY = f"--frames {FRAMES} --height {HEIGHT} --width {WIDTH}".split()
FIELDS = [
    "operator",
    "action",
    "ours_seconds",
    "peer_seconds",
    "ratio",
    "ours_bytes",
    "peer_bytes",
    "ours_dot_error",
    "peer_dot_error",
]


def generator():
    return torch.Generator().manual_seed(1)


def both(task):
    operator = task_named(task)(FRAMES, HEIGHT, WIDTH, generator())
    mask = task_named("inpaint")(FRAMES, HEIGHT, WIDTH, generator()).mask
    return operator, peers.peers(HEIGHT, WIDTH, mask)[task]()


@pytest.mark.parametrize("task", operators.ORDER)
def test_both_compute_the_same_with_exact_adjoints(task):
    operator, peer = both(task)
    video = torch.rand(FRAMES, 3, HEIGHT, WIDTH, generator=generator())
    measured = operator.forward(video)
    theirs = peer.physics.A(peer.given(video))
    assert torch.allclose(peer.ours(theirs), measured, atol=1e-5)
    assert torch.allclose(peer.operator().adjoint(measured), operator.adjoint(measured), atol=1e-5)
    assert check_adjoint(peer.operator(), video.shape) < 1e-10


def test_ten_steps_of_both_solvers_agree():
    operator, peer = both("sr4+")
    # Of 7 frames: with more, modes of no weight grow from the rounding of either.
    video = torch.rand(7, 3, HEIGHT, WIDTH, generator=generator())
    measured = operator.forward(video)
    ours = operators.ours_solve(operator, measured, 10)
    theirs = peer.ours(peer.solve(peer.given(measured), 10))
    assert ((ours - theirs).norm() / ours.norm()).item() < 1e-4


def test_the_command_prints_and_keeps_a_row_for_every_action(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [*TOY, "--task", "inpaint+", "--task", "temporal", "--json", "out.json"]
    operators.main(words)
    rows = json.loads((tmp_path / "out.json").read_text())
    assert [(row["operator"], row["action"]) for row in rows] == [
        (task, action)
        for task in ("inpaint+", "temporal")
        for action in ("forward", "adjoint", "ten CG steps")
    ]
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 1 + len(rows)
    assert re.match(r"inpaint\+ +forward ", printed[1])
    video_bytes = FRAMES * 3 * HEIGHT * WIDTH * 4
    for row in rows:
        assert list(row)[: len(FIELDS)] == FIELDS
        assert (row["frames"], row["height"], row["width"]) == (FRAMES, HEIGHT, WIDTH)
        assert row["ratio"] == pytest.approx(row["peer_seconds"] / row["ours_seconds"], rel=0.3)
        assert min(row["ours_bytes"], row["peer_bytes"]) >= video_bytes
        assert max(row["ours_dot_error"], row["peer_dot_error"]) < 1e-6
        assert str(tmp_path) not in json.dumps(row)


def test_solving_takes_no_more_memory_with_more_steps():
    """The benchmark counts the bytes of two steps for those of ten."""
    operator, peer = both("temporal")
    video = torch.rand(FRAMES, 3, HEIGHT, WIDTH, generator=generator())
    for solve in (
        lambda steps: operators.ours_solve(operator, video, steps),
        lambda steps: peer.solve(peer.given(video), steps),
    ):
        two = operators.bytes_of(solve)
        assert operators.peak_bytes_of(lambda solve=solve: solve(10)) <= 1.01 * two


def test_operators_that_differ_are_not_compared():
    _, peer = both("deblur")
    video = torch.rand(FRAMES, 3, HEIGHT, WIDTH, generator=generator())
    with pytest.raises(InputError, match="differ"):
        next(operators.compare(GaussianBlur(2.0), peer, video))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--height", "30"], "not a multiple of 4"),
        (["--task", "deblu"], "did you mean 'deblur'"),
        (["--json", "nowhere/out.json"], "no folder"),
    ],
)
def test_wrong_words_are_told_in_one_sentence(words, told, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        operators.main([*TOY, *words])
    assert told in capsys.readouterr().err + str(stopped.value)
