"""The page of the tasks: how each is simulated and restored, word for word."""

import re
import shlex
from pathlib import Path

import pytest

from visionxl.operators import NONLINEAR_TASKS, TASK_NAMES

PAGE = Path(__file__).parent.parent / "docs" / "tasks.rst"
COMMANDS = [shlex.split(line) for line in re.findall(r"^   visionxl .*", PAGE.read_text(), re.M)]


def after(command, option):
    return command[command.index(option) + 1]


@pytest.mark.parametrize("task", TASK_NAMES)
def test_every_task_is_simulated_and_restored_on_the_page(task):
    (simulated,) = [c for c in COMMANDS if c[1] == "simulate" and after(c, "--task") == task]
    (restored,) = [c for c in COMMANDS if after(simulated, "--output") in c and c[1] == "restore"]
    method = after(restored, "--method") if "--method" in restored else "vision_tv"
    assert (method == "gauss_newton") == (task in NONLINEAR_TASKS)


def test_no_command_of_the_page_writes_over_what_it_reads():
    for command in COMMANDS:
        assert after(command, "--output") not in command[: command.index("--output")]
    written = [after(command, "--output") for command in COMMANDS if command[1] == "simulate"]
    assert len(set(written)) == len(written)
