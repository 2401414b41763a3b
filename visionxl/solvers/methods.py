"""Methods, as values."""

from visionxl.init.inversion import BatchConsistentInversion
from visionxl.protocols import DataConsistency, Initializer
from visionxl.solvers.consistency import NoiseAware
from visionxl.solvers.loop import LowPass, Renoise, Sampler
from visionxl.solvers.parts import ScheduledLowPass, SharedNoise, leading_times


def vision_xl(
    *,
    count: int = 25,
    start: float = 0.3,
    initializer: Initializer | None = None,
    consistency: DataConsistency | None = None,
    low_pass: LowPass | None = None,
    renoise: Renoise | None = None,
) -> Sampler:
    """VISION-XL (Kwon & Ye, arXiv 2412.00156), with exact operators.

    25 leading-spaced times up to 0.3, batch-consistent inversion, a low-pass of
    ``sqrt(2 (1 - alpha_bar))`` pixels, shared noise with eta 0.2. It differs from the paper in
    two ways: the consistency knows the noise (``consistency=PlainCG(10)`` is the paper's), and a
    consistency step ends it, whose result is returned.

    Args:
        count: times over the whole schedule.
        start: latest time, the paper's tau.
        initializer: default ``BatchConsistentInversion()``.
        consistency: default ``NoiseAware()``.
        low_pass: default ``ScheduledLowPass()``.
        renoise: default ``SharedNoise(0.2)``.
    """
    return Sampler(
        times=leading_times(count, start),
        initializer=initializer or BatchConsistentInversion(),
        consistency=consistency or NoiseAware(),
        low_pass=low_pass or ScheduledLowPass(),
        renoise=renoise or SharedNoise(),
    )
