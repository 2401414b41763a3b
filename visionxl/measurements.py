"""Measurements on disk, as safetensors that record how they were made, and their noise level."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from statistics import NormalDist
from typing import Any

import torch
from attrs import asdict, evolve, field, frozen
from torch import Generator, Tensor

from visionxl.errors import InputError
from visionxl.files import check_output, save_in_pieces, whole
from visionxl.operators import Mask, TemporalAverage, task_named
from visionxl.operators.composition import find_parts, replace_part
from visionxl.protocols import ForwardOperator, Measurement, NonlinearOperator
from visionxl.validators import from_one, from_zero
from visionxl.video import FLOATING, is_lossy, rate_of

FORMAT = "visionxl measurement 1"
ROUNDING = round(2 / 255 / 12**0.5, 5)  # standard deviation of rounding to 8 bits
CODEC = 0.1  # what to say of a lossy codec's errors, which are not white (docs/noise.rst)
MOST_TRIED = 10**8  # values of a video that an operator is tried on
SAME = 1e-3  # of what an operator answers: another one differs by more


def _pair(value: Any) -> tuple[float, float] | None:
    if value is None:
        return None
    first, second = value
    return float(first), float(second)


def _seed(_: object, __: object, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise InputError(f"seed {value!r} is not a whole number from 0, below 2**63")


@frozen(eq=False)
class Description:
    """How a measurement was made: enough to make its operator again.

    Args:
        task: name in ``visionxl.operators.TASK_NAMES``, or of a user-defined task, with ``make``.
        frames: of the video that was measured.
        height: of its frames.
        width: of its frames.
        noise_std: in units of the range [-1, 1].
        seed: of the mask and of the noise.
        window: of the temporal average, where it is not the task's own.
        rate: frames per second.
        mask: known pixels, where the task has a mask: (height, width), or for each frame
            (frames, 1, height, width).
        sound: the file whose sound belongs to the measurement, if any; not stored.
        make: of a user-defined task: ``(frames, height, width, generator) -> operator``; not
            stored.
        code: checksum of the file that ``make`` is in.
        answers: what :func:`answers_of` returns for its operator, if it could be tried.
    """

    task: str
    frames: int = field(validator=from_one)
    height: int = field(validator=from_one)
    width: int = field(validator=from_one)
    noise_std: float = field(default=0.0, validator=from_zero)
    seed: int = field(default=0, validator=_seed)
    window: int | None = None
    rate: Fraction = Fraction(25)
    mask: Tensor | None = field(default=None, repr=False)
    sound: Path | None = None
    make: Callable[..., Any] | None = field(default=None, repr=False)
    code: str | None = None
    answers: tuple[float, float] | None = field(default=None, converter=_pair)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of the video."""
        return self.frames, 3, self.height, self.width

    def operator(self, generator: Generator) -> ForwardOperator | NonlinearOperator:
        """The operator of the task, with this window and mask.

        Raises:
            InputError: it differs from the operator that measured, or has no such window or mask.
        """
        make = self.make or task_named(self.task)
        operator = make(self.frames, self.height, self.width, generator)
        if self.window is not None:
            operator = self._changed(operator, "window", TemporalAverage, window=self.window)
        if self.mask is not None:
            operator = self._changed(operator, "mask", Mask, mask=self.mask)
        # Of a file whose code has changed, too: what measures the same is the same operator.
        if self.answers is not None and not _same(answers_of(operator, self.shape), self.answers):
            raise InputError(
                f"{self.task} makes another operator than when it measured: its code or a file "
                "that it reads has changed, or it draws random numbers without the generator it "
                "is given; undo the change, or simulate again"
            )
        return operator

    def _changed(self, operator: Any, name: str, kind: type, **values: Any) -> Any:
        if not find_parts(operator, kind):
            raise InputError(
                f"{name} given, but task {self.task!r} has no {kind.__name__}: leave it out, or "
                "choose another task"
            )
        return replace_part(operator, kind, lambda part: evolve(part, **values))


def answers_of(operator: Any, shape: tuple[int, int, int, int]) -> tuple[float, float] | None:
    """Two numbers that distinguish operators of the same code that read or draw other values.

    They are projections of the operator's measurement of a fixed video of noise.

    Args:
        operator: on the CPU.
        shape: of its video.

    Returns:
        The numbers; None if the video has more than ``MOST_TRIED`` values, or the output is not
        a tensor.
    """
    if math.prod(shape) > MOST_TRIED:
        return None
    generator = generator_of(0)
    answer = operator.forward(2 * torch.rand(shape, generator=generator) - 1)
    if not isinstance(answer, Tensor):
        return None
    found = []
    for _ in range(2):
        direction = torch.randn(answer.shape, generator=generator)
        found.append((answer * direction).sum(dtype=torch.float64) / answer.numel() ** 0.5)
    return found[0].item(), found[1].item()


def _same(found: tuple[float, float] | None, stored: tuple[float, float]) -> bool:
    """Whether two operators answer alike, but for the rounding of another machine."""
    if found is None:
        return False
    near = SAME * math.hypot(*stored)
    return all(abs(a - b) <= near for a, b in zip(found, stored, strict=True))


def generator_of(seed: int) -> Generator:
    """A CPU generator of that seed: the same draws on every machine."""
    return torch.Generator().manual_seed(seed)


def save_measurement(
    path: Path,
    pieces: Iterator[Measurement],
    frames: int,
    operator: object,
    description: Description,
    overwrite: bool,
) -> None:
    """Write ``y`` as safetensors, with its description and mask, whole or not at all.

    Args:
        path: of the file.
        pieces: of ``y``, in order.
        frames: of all of them.
        operator: that measured it, for its mask.
        description: of it.
        overwrite: replace what is there.
    """
    check_output(path, overwrite)
    # A task of one's own draws its masks again, and may have several.
    drawn = find_parts(operator, Mask) if description.make is None else []
    mask = drawn[0].mask if drawn else description.mask
    others = {} if mask is None else {"mask": mask.to(torch.uint8)}
    facts = asdict(description, recurse=False) | {"rate": str(description.rate)}
    del facts["mask"], facts["sound"], facts["make"]
    with whole(path) as partial:
        told = {FORMAT: json.dumps(facts)}
        save_in_pieces(partial, "measurement", pieces, frames, told, others)


def load_measurement(path: str | Path) -> tuple[Tensor, Description | None]:
    """Read a safetensors measurement, with its description if it has one.

    For a named task they make the problem again::

        measurement, described = load_measurement("y.safetensors")
        operator = described.operator(generator_of(described.seed))
        problem = InverseProblem(operator, measurement, described.noise_std)

    Raises:
        InputError: as for :func:`described_in`.
    """
    from safetensors import safe_open

    path = Path(path)
    name, description = described_in(path)
    with safe_open(path, framework="pt") as file:
        return file.get_tensor(name).float(), description


def described_in(path: Path) -> tuple[str, Description | None]:
    """The name of a measurement's tensor in its file, and how it was made, if the file states it.

    Raises:
        InputError: missing, unreadable, or without a tensor named measurement or video.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise InputError(f"measurement {str(path)!r} does not exist: give a file made by simulate")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            kinds = {key: file.get_slice(key).get_dtype() for key in file.keys()}  # noqa: SIM118
            mask = file.get_tensor("mask").bool() if "mask" in kinds else None
            name = next((name for name in ("measurement", "video") if name in kinds), None)
            shape = None if name is None else file.get_slice(name).get_shape()
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"measurement {str(path)!r} cannot be read, it is damaged or no safetensors file "
            f"({error}): make it again with visionxl simulate"
        ) from error
    if name is None:
        raise InputError(
            f"measurement {str(path)!r} has the tensors {', '.join(kinds)}: expected one named "
            "'measurement'"
        )
    if not shape or 0 in shape:
        what = f"has shape {tuple(shape)}" if shape else "is a single number"
        raise InputError(f"measurement {str(path)!r} {what}: expected values of frames")
    if kinds[name] not in FLOATING:
        raise InputError(
            f"measurement {str(path)!r} is {kinds[name]}: expected floating point numbers "
            "in units of the range [-1, 1]"
        )
    return name, _description(path, metadata, mask)


def _description(
    path: Path, metadata: Mapping[str, str], mask: Tensor | None
) -> Description | None:
    """How a measurement was made, from its file's metadata; None where they do not tell.

    Raises:
        InputError: they cannot be read.
    """
    if FORMAT not in metadata:
        return None
    try:
        facts = json.loads(metadata[FORMAT])
        rate = rate_of(facts["rate"], path)
        return Description(**{**facts, "rate": rate, "mask": mask})
    except InputError:
        raise
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"measurement {str(path)!r} has a description that cannot be read ({error}): make it "
            "again with visionxl simulate"
        ) from error


def least_noise(path: Path) -> float:
    """The noise of a measurement by its file alone: rounding to 8 bits, or a lossy codec's errors.

    Args:
        path: of any video that can be read. A ``.safetensors`` file has none.
    """
    if path.suffix.lower() == ".safetensors":
        return 0.0
    return CODEC if is_lossy(path) else ROUNDING


def estimate_noise(
    measurement: Measurement, axes: Sequence[int] = (0, -2, -1), known: Tensor | None = None
) -> float:
    """Standard deviation of white noise in a measurement, estimated from the measurement alone.

    The second difference ``y[i] - 2 y[i + 1] + y[i + 2]`` is taken along each of ``axes``. This
    removes what is smooth along any one of them, and multiplies the standard deviation of white
    noise by ``6 ** (len(axes) / 2)``. The median of the absolute values is robust to the few large
    ones that edges leave: for Gaussian noise it is 0.6745 standard deviations.

    In space this is the filter of Immerkaer (Fast Noise Variance Estimation, 1996); the median is
    that of Donoho & Johnstone (Ideal Spatial Adaptation by Wavelet Shrinkage, 1994).

    Args:
        measurement: with at least 3 entries along each of ``axes``: usually (frames, channels,
            height, width) in units of the range [-1, 1].
        axes: along which neighbours look alike. For a single picture ``(-2, -1)``.
        known: 1 where a pixel was measured, as :class:`~visionxl.operators.Mask` takes it; None
            for all. A mask that does not change in time hides all three frames of a temporal
            difference or none, and each difference is divided by the noise that its known pixels
            contribute. Otherwise only differences whose pixels are all known count.

    Returns:
        The ``noise_std`` of a problem, in units of the range [-1, 1]. Texture that is fine and
        moves adds to it; noise that was compressed, clipped or blurred is underestimated.

    Raises:
        InputError: values are not finite, axes are too short, repeated or missing, or the mask does
            not fit or has no known pixels, or too few adjacent ones.
    """
    if not isinstance(measurement, Tensor) or not measurement.is_floating_point():
        kind = getattr(measurement, "dtype", type(measurement).__name__)
        raise InputError(
            f"measurement is {kind}: expected a tensor of floating point numbers; for 8-bit "
            "pictures use y.float() / 127.5 - 1"
        )
    if not isinstance(axes, Sequence) or not all(isinstance(axis, int) for axis in axes):
        raise InputError(f"axes {axes!r}: give several whole numbers, such as (0, -2, -1)")
    weights, together = None, False  # of the noise's variance in each difference
    if known is not None:
        known = torch.as_tensor(known)
        if not bool(known.any()):
            raise InputError(
                f"known of shape {tuple(known.shape)} is 0 everywhere: give 1 where something was "
                "measured"
            )
        mask = Mask(known)
        measurement = mask.forward(measurement)
        weights = mask.forward(torch.ones_like(measurement))
        still = bool((weights == weights[:1]).all())
        together = not (still and 0 in {axis % measurement.ndim for axis in axes})
    shape = tuple(measurement.shape)
    if not bool(torch.isfinite(measurement).all()):
        raise InputError(
            f"measurement of {shape} holds values that are not finite: give known, 0 where nothing "
            "was measured"
        )
    places = {axis % len(shape) for axis in axes if -len(shape) <= axis < len(shape)}
    if not axes or len(places) != len(axes) or min(shape[place] for place in places) < 3:
        raise InputError(
            f"axes {tuple(axes)} of a measurement of {shape}: expected different ones with at "
            "least 3 entries each; name fewer, such as (-2, -1) for a picture"
        )
    for axis in axes:
        measurement = measurement.diff(n=2, dim=axis)
        if weights is not None:
            size = measurement.shape[axis]
            first, middle, last = (weights.narrow(axis, start, size) for start in range(3))
            weights = first + 4 * middle + last
            if together:  # what is hidden would leave the picture itself
                weights = weights * ((first > 0) & (middle > 0) & (last > 0))
    deviations = NormalDist().inv_cdf(0.75)  # of the median of absolute values
    if weights is None:
        return measurement.abs().median().item() / (deviations * 6 ** (len(axes) / 2))
    counted = weights > 0
    if not bool(counted.any()):
        raise InputError(
            f"known leaves no three neighbours along axes {tuple(axes)}: name fewer axes, or give "
            "the noise yourself"
        )
    return (measurement[counted].abs() / weights[counted].sqrt()).median().item() / deviations
