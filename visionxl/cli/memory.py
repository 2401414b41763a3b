"""How much memory a run takes, counted before it starts."""

from visionxl.errors import InputError
from visionxl.memory import machine_memory
from visionxl.solvers.motion import arrival_bytes
from visionxl.solvers.windows import CONTEXT

VIDEOS = 15  # of float32, held at once: tests/test_memory.py bounds it by 12, reports take more
MEASURED = 6  # the same of a video that is only measured, by an operator that sees all its frames
FIXED = 700_000_000  # interpreter, libraries and the pocket prior's own working memory


def working_bytes(
    frames: int, height: int, width: int, channels: int = 3, videos: int = VIDEOS
) -> int:
    """Bytes that a process takes to restore a video of that size on the CPU, about."""
    held = videos * 4 * frames * channels * height * width
    return FIXED + held + arrival_bytes(frames, height * width)


def check_memory(
    frames: int,
    channels: int,
    height: int,
    width: int,
    *,
    windows: bool = True,
    videos: int = VIDEOS,
) -> None:
    """Raise InputError, saying what would fit, for a run that cannot fit into this machine.

    Args:
        frames: of the video, as the next three.
        channels: of its frames.
        height: of its frames.
        width: of its frames.
        windows: whether the clip can be cut into windows.
        videos: held at once.
    """
    needed, there = working_bytes(frames, height, width, channels, videos), machine_memory()
    if there is None or needed <= there:
        return
    fitting = frames - 1
    while fitting and working_bytes(fitting, height, width, channels, videos) > there:
        fitting -= 1
    if windows and fitting > 2 * CONTEXT:
        option = f"restore --windows {fitting - 2 * CONTEXT}"
        way = f"{fitting} frames of this size would fit, so restore it in windows ({option})"
    elif fitting:
        way = f"{fitting} frames of this size would fit (simulate --frames {fitting})"
    else:
        way = "not one frame of this size would fit: make it smaller (simulate --size)"
    raise InputError(
        f"{frames} frames of {height}x{width} take about {needed / 1e9:.0f} GB of memory and this "
        f"machine has {there / 1e9:.0f} GB: {way}"
    )
