"""Where an operator answers what is not finite."""

from visionxl.operators.cutting import uncut
from visionxl.protocols import ForwardOperator, NonlinearOperator, Video


def broken_frame(operator: ForwardOperator | NonlinearOperator, video: Video) -> int | None:
    """The first frame where the operator's answers for a video have a NaN or an infinity.

    None where they have none, or where they are no frames of the video.
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
