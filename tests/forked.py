"""The command line in a copy of this process, which need not import anything first."""

import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from visionxl.cli import main

if not hasattr(os, "fork"):
    pytest.skip("this system does not fork", allow_module_level=True)


class Forked:
    """``visionxl WORDS``, begun at once; what it says goes into a new ``folder``."""

    def __init__(self, folder: Path, words: Sequence[str], more: Mapping[str, str]) -> None:
        folder.mkdir()
        self._told = [folder / name for name in ("stdout", "stderr")]
        self._code: int | None = None
        for told in self._told:
            told.touch()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of other threads, not used there
            self._child = os.fork()
        if self._child == 0:
            _become(words, more, self._told)

    def running(self) -> bool:
        if self._code is None:
            child, status = os.waitpid(self._child, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if child else None
        return self._code is None

    def kill(self) -> None:
        os.kill(self._child, signal.SIGKILL)

    def end(self, timeout: float = 200) -> tuple[int, str, str]:
        """Its exit code, negative for a signal, and what it said on either stream."""
        stop = time.monotonic() + timeout
        while self.running():
            if time.monotonic() > stop:
                self.kill()
            time.sleep(0.01)
        assert self._code is not None
        out, err = (told.read_text() for told in self._told)
        return self._code, out, err


def _become(words: Sequence[str], more: Mapping[str, str], told: list[Path]) -> None:
    code = 1
    try:
        for number, path in enumerate(told, 1):
            os.dup2(os.open(path, os.O_WRONLY), number)
        sys.stdout, sys.stderr = (os.fdopen(n, "w", buffering=1, closefd=False) for n in (1, 2))
        os.environ.update(more)
        sys.argv = ["visionxl", *words]
        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)
