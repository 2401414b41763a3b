"""Interrupt a restoration at every rename and removal of a file that it makes, and go on with it.

    python benchmarks/interrupt.py
    python benchmarks/interrupt.py --frames 11 --context 3 -- --windows 4

What a run leaves behind changes when a file takes its place or goes. So a run is interrupted just
before and just after each of these calls, once each, and gone on with by the same command and
``--resume``; the exit code is 0 if every run ended with the same video and the same files as one
that nobody interrupted. Where kill.py draws moments, this leaves none out. Words after ``--`` are
more options of ``visionxl restore``. It forks, so it needs Linux or macOS.
"""

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from kill import OUTPUT, contents
from words import count, frame_size

from visionxl import PocketPrior
from visionxl.cli import main as visionxl
from visionxl.files import whole
from visionxl.solvers import windows
from visionxl.video import DEMO_CLIP

CALLS = ("replace", "rename", "unlink", "rmdir")


def run(folder: Path, *words: str, point: int = 0, after: bool = False, number: int = 0) -> int:
    """Run the command in a process of its own; its exit code, negative for a signal.

    Args:
        folder: to run it in; what it prints goes to ``told`` there, and last how many calls it has
            made.
        words: of the command.
        point: the call at which it is interrupted, from 1; 0 for none.
        after: whether after the call or before it.
        number: of the signal.
    """
    child = os.fork()
    if child == 0:
        _become(folder, words, point, after, number)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def _become(folder: Path, words: tuple[str, ...], point: int, after: bool, number: int) -> None:
    """The command itself, in the child."""
    os.chdir(folder)
    told = os.open("told", os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
    os.dup2(told, 1)
    os.dup2(told, 2)
    count = 0

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*given: Any, **named: Any) -> Any:
            nonlocal count
            count += 1
            here = count == point
            if here and not after:
                os.kill(os.getpid(), number)
            try:
                return call(*given, **named)
            finally:
                if here and after:
                    os.kill(os.getpid(), number)

        return counting

    for name in CALLS:
        setattr(os, name, counted(getattr(os, name)))
    sys.argv = ["visionxl", *words]
    code = 1
    try:
        visionxl()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    finally:
        os.write(1, f"\n{count}".encode())
        os._exit(code)


def trials(make: Path, place: Path, words: list[str], number: int, every: int) -> dict[str, int]:
    """How many runs were interrupted, and how many of these ended as ``make`` has."""
    calls = int((make / "told").read_text().split()[-1])
    (make / "told").unlink()
    expected, interrupted, same = contents(make), 0, 0
    for point in range(1, calls + 1, every):
        for after in (False, True):
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            shutil.copy(make / "y.safetensors", place)
            code = run(place, *words, point=point, after=after, number=number)
            interrupted += code in (-number, 128 + number)
            again = run(place, *words, "--resume")
            told = (place / "told").read_text()
            (place / "told").unlink()
            good = again == 0 and contents(place) == expected
            same += good
            if not good:
                where = "after" if after else "before"
                print(f"{where} call {point}: DIFFERENT, exit code {again}\n{told}", flush=True)
    runs = 2 * len(range(1, calls + 1, every))
    return {"calls": calls, "runs": runs, "interrupted": interrupted, "same": same}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--signal", default="SIGKILL", choices=["SIGKILL", "SIGTERM", "SIGINT"])
    parser.add_argument("--frames", type=count, default=3)
    parser.add_argument(
        "--size", type=frame_size(8), default=(32, 48), help="HEIGHTxWIDTH; default 32x48"
    )
    parser.add_argument(
        "--context", type=count, help="frames that windows see on either side; default restore's"
    )
    parser.add_argument("--every", type=count, default=1, help="leave calls out between; default 1")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("more", nargs="*", help="options of restore")
    given = parser.parse_args()
    torch.set_num_threads(1)  # a process that forks has one
    if given.context is not None:
        windows.CONTEXT = windows.NEAR = given.context
    PocketPrior.load()  # what it imports need not be imported by every child
    number = getattr(signal, given.signal)
    with tempfile.TemporaryDirectory() as temporary:
        make, place = Path(temporary) / "whole", Path(temporary) / "trial"
        make.mkdir()
        words = ["simulate", str(DEMO_CLIP), "--task", "deblur+", "--noise", "0.01"]
        words += ["--frames", str(given.frames), "--size", "x".join(map(str, given.size))]
        assert run(make, *words, "--output", "y.safetensors") == 0
        words = ["restore", "y.safetensors", "--output", OUTPUT, *given.more]
        assert run(make, *words) == 0, (make / "told").read_text()
        found = trials(make, place, words, number, given.every)
    told = {"signal": given.signal, "more": given.more, **found}
    if given.json is not None:
        rows = json.loads(given.json.read_text()) if given.json.exists() else []
        rows = [row for row in rows if (row["signal"], row["more"]) != (given.signal, given.more)]
        with whole(given.json) as partial:
            partial.write_text(json.dumps([*rows, told], indent=1) + "\n")
    print(
        f"{given.signal}{' with ' + ' '.join(given.more) if given.more else ''}: {found['calls']} "
        f"calls, {found['runs']} runs, {found['interrupted']} of them interrupted; "
        f"{found['same']} ended with the same bytes and the same files"
    )
    sys.exit(found["same"] != found["runs"])


if __name__ == "__main__":
    main()
