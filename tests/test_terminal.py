"""Manners on a terminal and in a log: help, near names, colours, progress, signals, completion."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import shellingham
import typer
from command_line import make_clip, visionxl
from terminal import SCRIPT, environment, on_a_terminal

import _visionxl
import visionxl as package
from visionxl.cli import simulate
from visionxl.cli.options import app
from visionxl.operators import TASK_NAMES
from visionxl.solvers import METHODS

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "cli.rst"
COMMANDS = typer.main.get_command(app).commands
COLOUR = re.compile(rb"\x1b\[[0-9;]*3[0-9][0-9;]*m")
HIDE, SHOW = b"\x1b[?25l", b"\x1b[?25h"
MANY_STEPS = ("--method", "vision_xl", "--steps", "50")  # 15 of them
STEP = re.compile(
    r"step \d+/\d+ of \d+ frames, time \d\.\d{3}, residual \d+\.\d{4}, \d+\.\d s"
    r"(, about \d+ s left)?"
)


@pytest.fixture
def measured(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    make_clip(Path("clip.mkv"), frames=3, height=64, width=96)
    words = ["simulate", "clip.mkv", "--task", "deblur", "--noise", "0.05", "--output"]
    assert visionxl(monkeypatch, capfd, *words, "y.safetensors").code == 0
    return tmp_path


# Help


@pytest.mark.parametrize("command", [None, *COMMANDS])
@pytest.mark.parametrize("columns", [80, 100])
def test_help_fits_a_screen_and_ends_in_an_example(command, columns, monkeypatch, capfd):
    monkeypatch.setenv("COLUMNS", str(columns))
    words = ["--help"] if command is None else [command, "--help"]
    lines = visionxl(monkeypatch, capfd, *words).out.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= columns
    example = next(i for i, line in enumerate(lines) if "Example: visionxl" in line)
    assert all(line.split("visionxl")[0].strip() in ("", "Example:") for line in lines[example:])


def test_every_example_of_the_help_has_options_that_exist():
    for name, command in COMMANDS.items():
        known = {option for parameter in command.params for option in parameter.opts}
        for line in command.epilog.splitlines()[1:]:
            words = shlex.split(line.removeprefix("Example:"))
            assert words[:2] == ["visionxl", name]
            assert {word for word in words if word.startswith("--")} <= known


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_on_the_page_of_the_command_line(name):
    section = re.split(r"^(.+)\n-+$", PAGE.read_text(), flags=re.MULTILINE)
    words = dict(zip(section[1::2], section[2::2], strict=True))[name]
    options = {o for p in COMMANDS[name].params for o in p.opts if o.startswith("--")} - {"--help"}
    assert set(re.findall(r"``(--[\w-]+)``", words)) == options


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (["restor", "y"], "Did you mean 'restore'?"),
        (["restore", "y", "--taks", "sr4"], "--task"),
        (["restore", "y", "--ouput", "x.mp4"], "--output"),
        (["simulate", "clip.mkv", "--task", "debblur"], "did you mean 'deblur'?"),
        (["restore", "y.safetensors", "--method", "vison_xl"], "did you mean 'vision_xl'?"),
    ],
)
def test_what_is_unknown_gets_the_near_name(words, near, measured, monkeypatch, capfd):
    answer = visionxl(monkeypatch, capfd, *words)
    assert answer.code == 2
    assert near in answer.err
    assert answer.err.count("\n") == 1


# Progress, colours and signals


def test_a_log_gets_a_plain_line_for_each_step(measured, monkeypatch, capfd):
    answer = visionxl(monkeypatch, capfd, "restore", "y.safetensors", "--output", "x.safetensors")
    assert answer.code == 0
    start, *lines = answer.err.splitlines()
    assert re.fullmatch(r"start, \d+\.\d s", start)
    assert len(lines) == 4
    assert all(STEP.fullmatch(line) for line in lines)
    assert "\x1b" not in answer.out


def test_ctrl_c_leaves_the_terminal_clean_and_tells_how_to_go_on(measured):
    words = ["restore", "y.safetensors", *MANY_STEPS, "--output", "x.safetensors"]
    written, code = on_a_terminal(*words, until=rb"step [1-9]\d*/15")
    assert code == 130
    assert COLOUR.search(written)
    assert written.rindex(SHOW) > written.rindex(HIDE)
    assert b"Traceback" not in written
    goodbye = written[written.rindex(SHOW) :].decode()
    again = re.search(r"go on with\r\n  visionxl (.*)\r\n", goodbye)
    assert again
    written, code = on_a_terminal(*shlex.split(again[1]), NO_COLOR="1")
    assert code == 0
    assert HIDE in written  # it moves,
    assert not COLOUR.search(written)  # without colours
    assert b"note: went on after step" in written
    assert {path.name for path in measured.iterdir() if path.name.startswith("x")} == {
        "x.safetensors",
        "x.png",
        "x.html",
        "x.json",
    }


def test_ctrl_c_while_torch_is_loaded_is_a_line(tmp_path):
    (tmp_path / "torch.py").write_text(
        "import time\nprint('loading', flush=True)\ntime.sleep(60)\n"
    )
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    module, _, function = settings["project"]["scripts"]["visionxl"].partition(":")
    script = f"from {module} import {function}; {function}()"
    kept = environment()
    started = subprocess.Popen(
        [sys.executable, "-c", script, "info"],
        env=kept | {"PYTHONPATH": os.pathsep.join([str(tmp_path), kept["PYTHONPATH"]])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert started.stdout.readline() == b"loading\n"
    started.send_signal(signal.SIGINT)
    _, told = started.communicate(timeout=30)
    assert (started.returncode, told) == (130, b"stopped: nothing had begun\n")


def test_a_terminal_that_cannot_move_gets_lines_and_sigterm_is_told(measured):
    words = ["restore", "y.safetensors", *MANY_STEPS, "--output", "x.safetensors"]
    written, code = on_a_terminal(*words, until=rb"step 1/15 of", send=signal.SIGTERM, TERM="dumb")
    assert code == 143
    assert b"\x1b" not in written
    assert b"stopped: what is finished is kept in x.safetensors.checkpoint" in written


def test_sigterm_is_told_by_every_command(monkeypatch, tmp_path, capfd):
    monkeypatch.chdir(tmp_path)
    make_clip(Path("clip.mkv"))

    def terminated(*_, **__):
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(simulate, "simulate_long", terminated)
    answer = visionxl(monkeypatch, capfd, "simulate", "clip.mkv", "--task", "sr4")
    assert answer.code == 143
    assert answer.err == "stopped: nothing half-written is left behind\n"
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_what_should_not_happen_asks_for_a_report(monkeypatch, tmp_path, capfd):
    monkeypatch.chdir(tmp_path)
    make_clip(Path("clip.mkv"))
    monkeypatch.setattr(simulate, "simulate_long", lambda *_, **__: 1 // 0)
    with pytest.raises(ZeroDivisionError) as raised:
        visionxl(monkeypatch, capfd, "simulate", "clip.mkv", "--task", "sr4")
    assert "visionxl info" in raised.value.__notes__[0]


def test_a_reader_that_goes_away_is_no_traceback(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [SCRIPT, "info", "--json"],
        stdout=writing,
        stderr=subprocess.PIPE,
        env=environment(),
        cwd=tmp_path,
    )
    os.close(writing)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr


# Completion


def completed(monkeypatch, capfd, *words):
    monkeypatch.setenv("_VISIONXL_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "\n".join(["visionxl", *words]))
    monkeypatch.setenv("COMP_CWORD", str(len(words)))
    return visionxl(monkeypatch, capfd).out.split()


def test_the_shell_completes_commands_options_tasks_and_methods(monkeypatch, capfd):
    assert completed(monkeypatch, capfd, "re") == ["restore"]
    assert completed(monkeypatch, capfd, "restore", "--frames") == ["--frames-at-once"]
    tasks = completed(monkeypatch, capfd, "simulate", "--task", "de")
    assert tasks == [name for name in TASK_NAMES if name.startswith("de")]
    assert completed(monkeypatch, capfd, "restore", "--method", "") == list(METHODS)


def test_completion_is_installed_for_the_shell_that_asks(monkeypatch, tmp_path, capfd):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(shellingham, "detect_shell", lambda: ("bash", "/bin/bash"))
    answer = visionxl(monkeypatch, capfd, "--install-completion")
    assert answer.code == 0, answer.err
    (script,) = (tmp_path / ".bash_completions").iterdir()
    assert str(script) in (tmp_path / ".bashrc").read_text()
    asked = (
        f"source {shlex.quote(str(script))}; COMP_WORDS=(visionxl ev); COMP_CWORD=1; "
        f'_visionxl_completion {shlex.quote(str(SCRIPT))}; echo "${{COMPREPLY[@]}}"'
    )
    done = subprocess.run(["bash", "-c", asked], env=environment(), capture_output=True, text=True)
    assert done.stdout == "evaluate\n"


# What a report of a bug needs


def test_info_tells_what_a_report_needs_and_no_secret(monkeypatch, tmp_path, capfd):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HF_TOKEN", "hf_of_mine")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "models"))
    told = json.loads(visionxl(monkeypatch, capfd, "info", "--json").out)
    assert told["versions"]["visionxl"] == package.__version__
    assert {"python", "torch", "diffusers", "av", "typer"} <= set(told["versions"])
    assert told["environment"]["HF_HOME"] == "~/models"
    assert "hf_of_mine" not in json.dumps(told)
    assert ".mp4 (libx264) .mkv (ffv1)" in told["video"]["writes"]
    assert told["tasks"] == list(TASK_NAMES)
    assert told["methods"] == list(METHODS)
    words = visionxl(monkeypatch, capfd, "info").out
    assert len(words.splitlines()) <= 40
    assert all(f"{name.replace('_bytes', '').replace('_', ' ')}: " in words for name in told)


@pytest.mark.parametrize("name", list(_visionxl.MEMORY))
def test_the_command_asks_for_memory_that_is_quick_to_have_unless_told_otherwise(name, monkeypatch):
    """PyTorch reads it from the environment once it is loaded."""
    seen = []
    monkeypatch.setattr("visionxl.cli.main", lambda: seen.append(os.environ[name]))
    monkeypatch.delenv(name, raising=False)
    _visionxl.main()
    monkeypatch.setenv(name, "0")
    _visionxl.main()
    assert seen == [_visionxl.MEMORY[name], "0"]
