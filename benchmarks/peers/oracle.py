"""The weight of a classical method, chosen by the truth: an oracle that no real method has.

The mean square error is taken to fall and then to rise with the weight. The search goes from a
guess in factors of 4, then 2, and ends at the vertex of a parabola over the logarithm of the
weight. It stops early where a factor of 4 changes the error by less than 0.001 dB. Every solve
begins where the last one will: from another solution it would come nearer with each weight, and the
last weight tried would look the best.

A clip with frames of ``WHOLE`` pixels or more is searched on four tiles of the truth, measured anew
with the same task, noise and seed: one in the middle of each quarter of the frame, a quarter of its
height and width (rounded to a multiple of 16), all frames. The one weight that is best for them
together then solves the clip. A smaller clip is searched itself.
"""

import math
from collections.abc import Callable

from attrs import frozen
from torch import Tensor

from peers.case import Case
from visionxl.protocols import InverseProblem, Video

WHOLE = 192 * 320
MULTIPLE = 16
LIMITS = 1e-16, 10.0
NOTHING_GAINED = 2e-4  # relative change of the mean square error: 0.001 dB


@frozen(eq=False)
class Solution:
    """A minimiser, with what another weight can start from.

    Args:
        video: (frames, channels, height, width).
        weight: it was found for.
        dual: of a primal-dual method, or None.
    """

    video: Video
    weight: float
    dual: Tensor | None = None


Solve = Callable[[InverseProblem, float, Solution | None], Solution]
"""(problem, weight, start) -> the minimiser at this weight."""


def at_best_weight(case: Case, solve: Solve, guess: float) -> Solution:
    """The solution at the weight that the truth likes best.

    Args:
        case: the clip.
        solve: the method.
        guess: where the search starts.
    """
    weight = best_weight(tiles(case), solve, guess)
    return solve(case.problem, weight, None)


def tiles(case: Case) -> list[Case]:
    """What the weight is searched on."""
    height, width = case.truth.shape[-2:]
    if height * width < WHOLE:
        return [case]
    rows, columns = (max(1, round(s / 4 / MULTIPLE)) * MULTIPLE for s in (height, width))
    corners = [
        (quarter * height // 8 - rows // 2, other * width // 8 - columns // 2)
        for quarter in (2, 6)
        for other in (2, 6)
    ]
    return [
        Case.make(
            case.truth[..., top : top + rows, left : left + columns].contiguous(),
            case.task,
            case.noise,
            case.seed,
            case.truth.device,
        )
        for top, left in corners
    ]


def best_weight(cases: list[Case], solve: Solve, guess: float) -> float:
    """The weight of least mean square error over the cases, all of one size."""

    def error(place: int) -> float:
        weight = guess * 2.0**place
        return sum(_square_error(solve(c.problem, weight, None), c) for c in cases)

    least, most = (round(math.log2(limit / guess)) for limit in LIMITS)
    return guess * 2.0 ** lowest_place(error, least, most)


def lowest_place(error: Callable[[int], float], least: int, most: int) -> float:
    """Where a function that falls and then rises is lowest: from 0 in steps of 2 of whole numbers,
    then one step of 1 to the side of the vertex, then the vertex, of the parabola through the
    lowest value and its neighbours. It asks for four values if 0 is a good guess."""
    known: dict[int, float] = {}

    def at(place: int) -> float:
        if place not in known:
            known[place] = error(place)
        return known[place]

    best, moved = 0, True
    while moved:
        around = [p for p in (best - 2, best + 2) if least <= p <= most]
        lowest = min((best, *around), key=at)
        moved = at(lowest) < at(best) * (1 - NOTHING_GAINED)
        best = lowest if moved else best
    side = 1 if _vertex(known, best) > best else -1
    if least <= best + side <= most:
        at(best + side)
    return _vertex(known, min(known, key=at))


def _vertex(known: dict[int, float], best: int) -> float:
    """Of the parabola through the value at ``best`` and at the nearest places on both sides, where
    there are both and it has a lowest point."""
    left = max((place for place in known if place < best), default=best)
    right = min((place for place in known if place > best), default=best)
    below, above = known[left] - known[best], known[right] - known[best]
    bend = (best - left) * above + (right - best) * below
    if bend <= 0 or left == best or right == best:
        return best
    return best + ((right - best) ** 2 * below - (best - left) ** 2 * above) / (2 * bend)


def _square_error(solution: Solution, case: Case) -> float:
    return (solution.video.clamp(-1, 1) - case.truth).square().mean().item()
