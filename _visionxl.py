"""The console script. It stands outside the package so that Ctrl-C is answered from the start:
importing anything of the package loads torch, which takes seconds."""

import os
import signal
import sys


def main() -> None:
    """Load the command line and run it; Ctrl-C while it is loaded ends in a line and code 130."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:  # as nohup and a shell's & have it
        signal.signal(signal.SIGINT, _leave)
    # PyTorch then takes memory in large pages: that of a fresh video is there four times as soon.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    from visionxl.cli import main as run

    signal.signal(signal.SIGINT, before)
    run()


def _leave(*_: object) -> None:
    print("stopped: nothing had begun", file=sys.stderr, flush=True)
    os._exit(130)  # at once: an exception would come out of torch's half-done import as any other
