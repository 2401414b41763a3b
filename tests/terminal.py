"""Running the console script on a terminal of its own."""

import os
import re
import select
import signal
import sys
import time
from pathlib import Path

import pytest

import visionxl

pty = pytest.importorskip("pty", reason="there are no pseudo-terminals on this system")
SCRIPT = Path(sys.executable).with_name("visionxl")


def environment(**more):
    """Of a process that is to find this package, with two of its own variables."""
    kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    sources = str(Path(visionxl.__file__).parents[1])
    return kept | {"PYTHONPATH": sources, "TERM": "xterm-256color"} | more


def on_a_terminal(*words, until=None, send=signal.SIGINT, **more):
    """All that ``visionxl WORDS`` writes to a terminal of 80 columns, and its exit code.

    As soon as what it wrote matches ``until`` it gets Ctrl-C, or the signal ``send``.
    """
    child, terminal = pty.fork()
    if child == 0:
        try:
            os.execve(SCRIPT, ["visionxl", *words], environment(COLUMNS="80", **more))
        finally:  # or this copy of the tests would go on, too
            os._exit(127)
    written, stop = b"", time.monotonic() + 120
    while time.monotonic() < stop:
        if not select.select([terminal], [], [], 1)[0]:
            continue
        try:
            part = os.read(terminal, 65536)
        except OSError:  # Linux says so when the other side is closed
            part = b""
        if not part:
            break
        written += part
        if until is not None and re.search(until, written):
            until = None
            os.write(terminal, b"\x03") if send == signal.SIGINT else os.kill(child, send)
    else:
        os.kill(child, signal.SIGKILL)
    os.close(terminal)
    return written, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
