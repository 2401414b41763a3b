"""How much of a video its measurement determines."""

from visionxl.operators.cutting import uncut
from visionxl.protocols import ForwardOperator, Video
from visionxl.solvers.data_term import Iterated
from visionxl.solvers.hosted_operator import HostedOperator
from visionxl.solvers.modes import Modes

DEVIATION = 0.5  # of the values of natural pictures, in the range [-1, 1]


def without_ends(operator: ForwardOperator) -> ForwardOperator:
    """The operator with all frames measured, including those that a window leaves out at its ends:
    what is derived from it is then the same for every window of a clip."""
    if isinstance(operator, HostedOperator):
        return HostedOperator(uncut(operator.operator)[0], operator.device)
    return uncut(operator)[0]


def determined_share(operator: ForwardOperator, video: Video, noise_std: float) -> float:
    """The share of a video's values that a measurement determines, from 0 to 1.

    ``trace of A^T A (A^T A + d)^-1`` divided by their number, ``d`` being the noise's variance
    divided by that of natural images: what MacKay (1992) calls well-determined parameters. The
    frames that a window leaves out at its ends count as measured.

    Args:
        operator: ``A``.
        video: for its size.
        noise_std: of the measurement, above 0.
    """
    whole = without_ends(operator)
    data = Modes.of(whole, video) or Iterated(whole, video)
    return data.determined((noise_std / DEVIATION) ** 2) / video.numel()
