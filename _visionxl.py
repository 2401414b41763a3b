"""The console script. It stands outside the package so that Ctrl-C is answered from the start:
importing anything of the package loads torch, which takes seconds."""

import gc
import os
import signal
import sys

# PyTorch then takes memory in large pages, and pins it with several threads: that of a fresh video
# is there two to four times as soon.
MEMORY = {
    "THP_MEM_ALLOC_ENABLE": "1",
    "PYTORCH_CUDA_ALLOC_CONF": "pinned_use_cuda_host_register:True,pinned_num_register_threads:8",
}


def main() -> None:
    """Load the command line and run it; Ctrl-C while it is loaded ends in a line and code 130."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:  # as nohup and a shell's & have it
        signal.signal(signal.SIGINT, _leave)
    for name, value in MEMORY.items():
        if name == "THP_MEM_ALLOC_ENABLE" or "PYTORCH_ALLOC_CONF" not in os.environ:
            os.environ.setdefault(name, value)
    gc.disable()  # a fifth of the time it takes: all that is made there stays
    from visionxl.cli import main as run

    gc.freeze()
    gc.enable()
    signal.signal(signal.SIGINT, before)
    run()


def _leave(*_: object) -> None:
    print("stopped: nothing had begun", file=sys.stderr, flush=True)
    os._exit(130)  # at once: an exception would come out of torch's half-done import as any other
