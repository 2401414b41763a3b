"""Where an operator answers what is not finite."""

from visionxl.errors import NotFiniteError
from visionxl.operators.cutting import uncut
from visionxl.protocols import ForwardOperator, NonlinearOperator, Video

SOLVABLE = (
    "give the right noise_std, not 0 where there is noise, and check the operator's adjoint "
    "(visionxl.operators.check_adjoint)"
)


def unsolved(operator: ForwardOperator | NonlinearOperator, video: Video) -> NotFiniteError:
    """The error for NaN or infinity in a consistency, with the frame where ``A`` returns it."""
    return NotFiniteError("consistency", broken_frame(operator, video), video.dtype, SOLVABLE)


def broken_frame(operator: ForwardOperator | NonlinearOperator, video: Video) -> int | None:
    """The first frame for which the operator's output for a video has a NaN or an infinity.

    None if there is none, or if the output does not have one frame for each of the video's.
    """
    every, cut = uncut(operator)
    seen = operator.forward(video)
    answers = [seen if cut is None else every.forward(video)]
    if isinstance(operator, ForwardOperator):
        answers.append(operator.adjoint(seen))
    for answer in answers:
        wrong = ~answer.isfinite()
        if answer.ndim == 4 and len(answer) == len(video) and bool(wrong.any()):
            return int(wrong.flatten(1).any(1).nonzero()[0])
    return None
