"""One restoration on several GPUs or machines (torch.distributed)."""

from visionxl.distributed.consistency import SplitDampedCG, SplitOperator
from visionxl.distributed.frames import SplitFrames, split_restore
from visionxl.distributed.group import ProcessError, Processes, processes

__all__ = [
    "ProcessError",
    "Processes",
    "SplitDampedCG",
    "SplitFrames",
    "SplitOperator",
    "processes",
    "split_restore",
]
