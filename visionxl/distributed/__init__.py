"""One restoration on several GPUs or machines (torch.distributed)."""

from visionxl.distributed.frames import SplitFrames, split_restore
from visionxl.distributed.processes import Processes, ProcessError, processes

__all__ = ["ProcessError", "Processes", "SplitFrames", "processes", "split_restore"]
