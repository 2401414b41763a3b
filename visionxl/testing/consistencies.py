"""The contract test of data consistency."""

import math
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

from visionxl.operators.checks import check_video_shape
from visionxl.priors.schedule import DiscreteSchedule
from visionxl.protocols import Correction, DataConsistency, InverseProblem, NoiseLevel
from visionxl.solvers.residual import data_residual
from visionxl.testing.laws import (
    ContractError,
    Draws,
    apart,
    ask,
    check_shape,
    check_value,
    require,
)

TIMES = (0.001, 0.3)


def check_consistency(
    consistency: object,
    operator: Any,
    shape: Sequence[int],
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> None:
    """Test a consistency against the laws of :class:`~visionxl.protocols.DataConsistency`.

    ``correct`` returns a :class:`~visionxl.protocols.Correction` of the estimate's shape, dtype and
    device, changes nothing in place and returns the same again for the same arguments. It moves an
    estimate towards ``{x : A x = y}``: from an estimate that is far away the residual ``|y - A x|``
    never grows, and falls at some level, with noise or without, whichever frame is wrong; the
    result does not depend on earlier calls; an estimate that fits a measurement without noise
    still does so afterwards, to 1 %.

    Args:
        consistency: to test.
        operator: ``A``, of a kind that it is made for; one that keeps the laws of operators.
        shape: (frames, channels, height, width) of videos that the operator takes.
        dtype: of the tensors.
        device: of the tensors.
        seed: of the random videos.

    Raises:
        ContractError: a law is broken.
    """
    check_value(consistency, "correct")
    check_value(operator, "forward")
    assert isinstance(consistency, DataConsistency)  # it has the method
    check_video_shape(shape)
    draws, schedule = Draws(seed, dtype, device), DiscreteSchedule.stable_diffusion()
    truth = draws.video(shape)
    clean = operator.forward(truth)
    error = 0.05 * draws.noise(clean.shape)
    noisy = clean + error
    far = 0.5 * truth + 0.3 * draws.noise(shape)
    left, fresh = [], deepcopy(consistency)  # which was asked nothing
    for level in map(schedule.level, TIMES):
        for problem in (
            InverseProblem(operator, clean),
            InverseProblem(operator, noisy, 0.05),
        ):
            left.append(_check_nearer(consistency, far, problem, level))
        _check_still_fits(consistency, truth, InverseProblem(operator, clean), level)
    require(
        min(left) < 1 - 1e-3,
        consistency,
        "correct moves an estimate towards the measurement",
        "the root mean square of y - A x did not fall in any case",
        "return the corrected video, and not the estimate as it was",
    )
    level, noisy_problem = schedule.level(TIMES[-1]), InverseProblem(operator, noisy, 0.05)
    other = InverseProblem(operator, operator.forward(-truth) - error, 0.05)
    away = max(
        apart(*(c.correct(far, problem, level).video for c in (deepcopy(fresh), consistency)))
        for problem in (noisy_problem, other)
    )
    require(
        away <= 1e-5,
        consistency,
        "a correction depends on its arguments alone",
        f"after other calls the answer differs by {away:.1e} from that of a copy that was asked "
        "nothing before",
        "keep nothing between calls, or store it under the problem and level that it belongs to",
    )
    # The opposite of everything before: what is kept anywhere, a class or module, leads away.
    before = data_residual(other, -far)
    after = data_residual(other, consistency.correct(-far, other, level).video)
    require(
        after <= before * (1 + 1e-4),
        consistency,
        "a correction depends on its arguments alone",
        f"of another measurement of the same shape y - A x grew from {before:.3g} to {after:.3g} "
        "(root mean squares)",
        "keep nothing of a measurement, in the object, its class or its module",
    )
    problems = InverseProblem(operator, clean), noisy_problem
    _check_every_frame(consistency, truth, draws, problems, schedule)


def _check_every_frame(
    consistency: DataConsistency,
    truth: Tensor,
    draws: Draws,
    problems: Sequence[InverseProblem],
    schedule: DiscreteSchedule,
) -> None:
    """Any single wrong frame is corrected in some case, if the measurement depends on it."""
    for frame in range(len(truth)):
        wrong = truth.clone()
        wrong[frame] = 0.5 * truth[frame] + 0.3 * draws.noise(truth[frame].shape)
        before = [data_residual(problem, wrong) for problem in problems]
        if before[0] < 1e-6:  # the measurement does not depend on that frame
            continue
        left = [
            data_residual(problem, consistency.correct(wrong, problem, level).video) / size
            for level in map(schedule.level, TIMES)
            for problem, size in zip(problems, before, strict=True)
        ]
        require(
            min(left) < 1 - 1e-3,
            consistency,
            "correct moves every frame towards the measurement",
            f"with frame {frame} wrong alone the root mean square of y - A x did not fall",
            "correct all frames of the estimate",
        )


def _corrected(
    consistency: DataConsistency, estimate: Tensor, problem: InverseProblem, level: NoiseLevel
) -> Tensor:
    def video(answer: object) -> tuple[Tensor]:
        if not isinstance(answer, Correction):
            law, seen = "correct returns Correction", f"it returned {type(answer).__name__}"
            way_out = "return Correction(video, iterations, residuals, stopped)"
            raise ContractError(consistency, law, seen, way_out)
        return (answer.video,)

    def question() -> Any:  # of a part that may answer anything
        return consistency.correct(estimate, problem, level)

    y = problem.measurement
    where = f", with noise_std {problem.noise_std} at time {level.time}"
    found = ask(
        consistency, "correct", question, estimate, y, tensors=video, tolerance=1e-5, where=where
    )
    words = "a video of the estimate's shape"
    way_out = "correct the estimate, and return all of its frames and pixels"
    check_shape(consistency, "correct", found.video, estimate.shape, words, way_out)
    require(
        bool(found.stopped),
        consistency,
        "a correction tells in words why it ended",
        "stopped is empty",
        "give stopped='converged', or what else ended it",
    )
    complete = found.iterations >= 0 and all(map(math.isfinite, found.residuals))
    require(
        complete and not found.broke_down,
        consistency,
        "a correction tells how it ended, and for a sound problem it is no breakdown",
        f"iterations {found.iterations}, residuals {found.residuals}, stopped {found.stopped!r}",
        "give a count from 0, finite residuals (or none) and words; examine the operator first "
        "(visionxl.testing.check_operator)",
    )
    return found.video


def _check_nearer(
    consistency: DataConsistency, estimate: Tensor, problem: InverseProblem, level: NoiseLevel
) -> float:
    """The share of the residual that is left."""
    before = data_residual(problem, estimate)
    after = data_residual(problem, _corrected(consistency, estimate, problem, level))
    require(
        after <= before * (1 + 1e-4),
        consistency,
        "correct moves an estimate towards the measurement",
        f"with noise_std {problem.noise_std} at time {level.time} the root mean square of y - A x "
        f"grew from {before:.3g} to {after:.3g}",
        "check the sign of the step, and take shorter steps: below 2 / |A|^2 "
        "(visionxl.operators.estimate_norm tells |A|)",
    )
    return after / before if before else 1.0


def _check_still_fits(
    consistency: DataConsistency, estimate: Tensor, problem: InverseProblem, level: NoiseLevel
) -> None:
    corrected = _corrected(consistency, estimate, problem, level)
    missed = apart(problem.measurement, problem.operator.forward(corrected))
    require(
        missed <= 0.01,
        consistency,
        "an estimate that fits a measurement without noise goes on fitting it",
        f"at time {level.time} the corrected video misses the measurement by {missed:.1e}, as a "
        "share of its size",
        "start from the estimate and add what the residual y - A x asks for, which is 0 there",
    )
