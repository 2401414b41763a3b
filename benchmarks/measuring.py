"""One method on one case: run it, and measure its answer."""

import ctypes
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from attrs import frozen
from peers.case import Case, Estimate, Method
from results import number

from visionxl import InverseProblem, Video
from visionxl.memory import peak_bytes
from visionxl.metrics import difference_psnr, lpips, psnr, ssim
from visionxl.operators import lift
from visionxl.protocols import LatentPrior
from visionxl.solvers.decomposition import decompose, svd_of
from visionxl.solvers.residual import data_residual

MARGIN = 1.0  # dB below the back-projection at which a method has diverged


@frozen(eq=False)
class Run:
    """A method's answer and what it cost; ``peak_bytes`` None where it cannot be measured."""

    estimate: Estimate
    seconds: float
    peak_bytes: int | None


def run(method: Method, case: Case, prior: LatentPrior) -> Run:
    """Run a method, with nothing left over from the method before it."""
    decompose.cache_clear()
    svd_of.cache_clear()
    device = case.truth.device
    give_back()
    can_tell = begin_peak(device)
    began = time.perf_counter()
    estimate = method(case, prior)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    seconds = time.perf_counter() - began
    return Run(estimate, seconds, peak_bytes(device) if can_tell else None)


def begin_peak(device: torch.device) -> bool:
    """Set the high-water mark of memory back to what is in use: on a GPU that of its allocator,
    else the process's (Linux only).

    The mark never falls by itself: without this, every method would seem to take as much as the
    hungriest before it. False where the system cannot set the mark.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return True
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def give_back() -> None:
    """Give the system back what was freed, as far as the C library can: only GNU's."""
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def residual(problem: InverseProblem, video: Video) -> float:
    """Root mean square of ``y - A x``, divided by the noise's standard deviation where there is
    noise: about 1 for the truth. Without noise it is the plain root mean square."""
    return data_residual(problem, video) / (problem.noise_std or 1.0)


MEASURES = {
    "psnr": (psnr, 3),
    "ssim": (ssim, 5),
    "lpips": (lpips, 5),
    "difference_psnr": (difference_psnr, 3),
}
"""With the decimals that are kept."""


def measures(case: Case, estimate: Estimate) -> dict[str, Any]:
    """The fields of a record that the answer alone decides; None where it is not finite.

    A method may tell in its note that it diverged, and put finite values for those that were not.
    """
    truth, problem, video = case.truth, case.problem, estimate.video
    if not bool(torch.isfinite(video).all()):
        return {**dict.fromkeys(MEASURES), "residual": None, "diverged": True}
    least = psnr(lift(problem.operator, problem.measurement), truth) - MARGIN
    diverged = estimate.note == "diverged" or psnr(video, truth) < least
    told = {"residual": number(residual(problem, video), 7), "diverged": diverged}
    video, truth = video.cpu(), truth.cpu()  # where the network of LPIPS is
    return {
        **{name: number(of(video, truth), digits) for name, (of, digits) in MEASURES.items()},
        **told,
    }
