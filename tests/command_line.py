"""Running the command line in the test's process, and clips for it."""

import socket
import sys
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from attrs import frozen

from visionxl.cli import main, running
from visionxl.writing import write_clip


@frozen
class Answer:
    """What a command said."""

    code: int
    out: str
    err: str


def visionxl(monkeypatch, capfd, *words: object) -> Answer:
    """Run ``visionxl WORDS`` as the console script does."""
    capfd.readouterr()
    code = exit_code(monkeypatch, *words)
    captured = capfd.readouterr()
    return Answer(code, captured.out, captured.err)


def run_in(folder: Path, *words: object) -> None:
    """Run ``visionxl WORDS`` in a folder, for a fixture of a module; it has to go well."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(folder)
        assert exit_code(monkeypatch, *words) == 0


def exit_code(monkeypatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["visionxl", *map(str, words)])
    try:
        main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def cut_off_after(monkeypatch, steps, error=KeyboardInterrupt):
    """The next run in this process ends as soon as it has kept so many steps."""
    save = running.save_state

    def save_and_stop(folder, kind, state, trace):
        save(folder, kind, state, trace)
        if state.index == steps:
            raise error

    monkeypatch.setattr(running, "save_state", save_and_stop)


def moving_scene(frames: int = 5, height: int = 32, width: int = 48):
    """A smooth pattern that moves, with values in [-0.8, 0.8]."""
    t = torch.arange(frames).view(-1, 1, 1, 1)
    phase = torch.arange(3).view(1, 3, 1, 1)
    rows = torch.arange(height).view(1, 1, -1, 1) / 7
    columns = torch.arange(width).view(1, 1, 1, -1) / 5
    return 0.8 * torch.sin(rows + phase + 0.3 * t) * torch.cos(columns - 0.2 * t)


def make_clip(path: Path, frames: int = 5, height: int = 32, width: int = 48) -> Path:
    write_clip(path, moving_scene(frames, height, width), Fraction(24))
    return path


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return opened.getsockname()[1]
