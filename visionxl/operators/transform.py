"""Coefficients of blocks, and their quantisation: compression as a linear measurement."""

import math
from numbers import Real

import torch
from attrs import field, frozen
from torch import Generator, Tensor

from visionxl.errors import InputError
from visionxl.operators.composition import EachFrame
from visionxl.operators.factors import Factors, Shape
from visionxl.operators.pooling import check_divides
from visionxl.protocols import ForwardOperator, InverseProblem, Measurement, Video
from visionxl.randomness import check_generator, draw_uniform
from visionxl.simulation import check_measures, check_truth
from visionxl.validators import entries

# JPEG's luminance table (ITU-T T.81, table K.1) as a product of two equal axes, relative to the
# first entry: the least-squares fit to its logarithm, off by 22 % on average.
STEPS = (1.0, 1.11, 1.33, 1.69, 2.34, 3.13, 3.76, 3.69)


def _steps(value: object) -> tuple[float, ...]:
    steps = entries("steps", value, float, "positive numbers, one for each frequency")
    if not steps or not all(0 < step < math.inf for step in steps):
        raise InputError(f"steps {steps!r}: give positive numbers, one for each frequency")
    return steps


def cosines(size: int) -> Tensor:
    """The orthonormal discrete cosine transform of type II, (frequency, place), float64."""
    frequency = torch.arange(size, dtype=torch.float64)[:, None]
    place = torch.arange(size, dtype=torch.float64) + 0.5
    scale = torch.full((size, 1), math.sqrt(2 / size), dtype=torch.float64)
    scale[0] = math.sqrt(1 / size)
    return scale * torch.cos(math.pi / size * frequency * place)


@frozen
class BlockCosine(EachFrame):
    """The cosine coefficients of square blocks, each divided by its relative rounding step.

    Forward: ``y = (D_h x D_w^T) / (s s^T)`` in every block, ``D`` the orthonormal discrete cosine
    transform. Adjoint: the transposed matrices. With steps of 1 it is orthogonal.

    JPEG rounds such coefficients: with :func:`dithered` the rounding error is white noise, and the
    coarser a frequency's step, the less is known of it. Channels are treated independently, and the
    steps are a product over both axes; JPEG's tables are only roughly so, and it converts colours
    first.

    Args:
        steps: relative size of the rounding step of each frequency along an axis, from the mean
            to the finest; as many as a block has pixels. The default is near JPEG's luminance.
    """

    steps: tuple[float, ...] = field(default=STEPS, converter=_steps)

    def _matrix(self, size: int) -> Tensor:
        block = cosines(len(self.steps))
        block = block / torch.tensor(self.steps, dtype=torch.float64)[:, None]
        return torch.kron(torch.eye(size // len(self.steps), dtype=torch.float64), block)

    def _blocks(self, video: Tensor, block: Tensor) -> Tensor:
        """``block`` applied to both axes of every block."""
        check_divides(len(self.steps), video)
        split = video.unflatten(-1, (-1, len(self.steps))).unflatten(-3, (-1, len(self.steps)))
        split = torch.einsum("ai,...riwj,bj->...rawb", block, split, block)
        return split.flatten(-4, -3).flatten(-2, -1)

    def _block(self, like: Tensor) -> Tensor:
        return self._matrix(len(self.steps)).to(like)

    def forward(self, video: Video) -> Measurement:
        return self._blocks(video, self._block(video))

    def adjoint(self, measurement: Measurement) -> Video:
        return self._blocks(measurement, self._block(measurement).T)

    def lift(self, measurement: Measurement) -> Video:
        """The inverse: what a decoder shows."""
        inverse = torch.linalg.inv(self._matrix(len(self.steps)))
        return self._blocks(measurement, inverse.to(measurement))

    def factors(self, shape: Shape) -> Factors:
        return Factors((None, None, self._matrix(shape[2]), self._matrix(shape[3])))


def dithered(
    video: Video, operator: ForwardOperator, step: float, *, generator: Generator
) -> InverseProblem:
    """A measurement rounded to multiples of ``step``, with subtractive dither.

    ``y = Q(A x + d) - d`` with ``d`` uniform over one step: then ``y - A x`` is uniform, white and
    independent of the video (Schuchman 1964), so that a quantiser, which is not linear, becomes a
    linear measurement with noise of the standard deviation ``step / sqrt(12)``.

    Args:
        video: the truth, (frames, channels, height, width) in [-1, 1].
        operator: ``A``, for instance :class:`BlockCosine`.
        step: of the rounding, in units of the measurement.
        generator: of the dither.
    """
    if not isinstance(step, Real) or not 0 < step < math.inf:
        raise InputError(f"step {step!r} rounds nothing: give a finite number > 0")
    check_truth(video)
    check_measures(operator)
    check_generator(generator)
    exact = operator.forward(video)
    dither = draw_uniform(generator, *exact.shape).to(exact)
    dither = (dither - 0.5) * step
    measurement = torch.round((exact + dither) / step) * step - dither
    return InverseProblem(operator, measurement, step / math.sqrt(12))
