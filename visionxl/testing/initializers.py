"""The contract test of initializers."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from visionxl.operators.checks import check_video_shape
from visionxl.protocols import Initializer, InverseProblem, LatentPrior, NoiseLevel
from visionxl.testing.laws import Draws, ask, check_shape, check_value

TIMES = (0.281, 0.121, 0.001)


def check_initializer(
    initializer: object,
    operator: Any,
    prior: LatentPrior,
    shape: Sequence[int],
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> None:
    """Test an initializer against the laws of :class:`~visionxl.protocols.Initializer`.

    ``start`` returns latents, one per frame, of the shape, dtype and device that the prior's
    ``encode`` returns for a video; it does not change the measurement, and its only randomness is
    the generator's: the same seed gives the same latents. It takes one level as well as several.
    The latents also have to be as noisy as the first level, but this is not tested.

    Args:
        initializer: to test.
        operator: that measures; one that keeps the laws of operators.
        prior: one that keeps the laws of priors.
        shape: (frames, channels, height, width) of videos that both take.
        dtype: of the tensors.
        device: of the tensors.
        seed: of the random video and of the generator.

    Raises:
        ContractError: a law is broken.
    """
    check_value(initializer, "start")
    check_value(operator, "forward")
    check_value(prior, "schedule", "encode")
    assert isinstance(initializer, Initializer)  # it has the method
    check_video_shape(shape)
    video = Draws(seed, dtype, device).video(shape)
    problem = InverseProblem(operator, operator.forward(video))
    levels = [prior.schedule.level(time) for time in TIMES]
    expected = prior.encode(video).shape
    for some in (levels, levels[:1]):
        latent = _started(initializer, problem, prior, some, seed)
        words = "latents of the prior, one per frame"
        way_out = "lift the measurement to a video first (visionxl.operators.lift) and encode that"
        check_shape(initializer, "start", latent, expected, words, way_out)


def _started(
    initializer: Initializer,
    problem: InverseProblem,
    prior: LatentPrior,
    levels: Sequence[NoiseLevel],
    seed: int,
) -> Tensor:
    def question() -> Any:  # of a part that may answer anything
        generator = Generator().manual_seed(seed)
        return initializer.start(problem, prior, levels, generator)

    where = f", with {len(levels)} level{'' if len(levels) == 1 else 's'}"
    return ask(initializer, "start", question, problem.measurement, tolerance=1e-5, where=where)
