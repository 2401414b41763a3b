"""Measurements on disk: safetensors that know how they were made."""

import json
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from attrs import asdict, evolve, field, frozen
from torch import Generator, Tensor

from visionxl.errors import InputError
from visionxl.files import check_output, save_tensors, whole
from visionxl.operators import Mask, TemporalAverage, task_named
from visionxl.operators.composition import find_parts, replace_part
from visionxl.protocols import ForwardOperator, InverseProblem, NonlinearOperator

FORMAT = "visionxl measurement 1"


@frozen(eq=False)
class Description:
    """How a measurement was made: enough to make its operator again.

    Args:
        task: name in ``visionxl.operators.TASK_NAMES``.
        frames: of the video that was measured.
        height: of its frames.
        width: of its frames.
        noise_std: in units of the range [-1, 1].
        seed: of the mask and of the noise.
        window: of the temporal average, where it is not the task's own.
        rate: frames per second.
        mask: known pixels, where the task has a mask.
        sound: the file whose sound belongs to the measurement, if any; not stored.
    """

    task: str
    frames: int
    height: int
    width: int
    noise_std: float = 0.0
    seed: int = 0
    window: int | None = None
    rate: Fraction = Fraction(25)
    mask: Tensor | None = field(default=None, repr=False)
    sound: Path | None = None

    def operator(self, generator: Generator) -> ForwardOperator | NonlinearOperator:
        """The operator of the task, with this window and mask."""
        make = task_named(self.task)
        operator = make(self.frames, self.height, self.width, generator)
        if self.window is not None:
            operator = self._changed(operator, "window", TemporalAverage, window=self.window)
        if self.mask is not None:
            operator = self._changed(operator, "mask", Mask, mask=self.mask)
        return operator

    def _changed(self, operator: Any, name: str, kind: type, **values: Any) -> Any:
        if not find_parts(operator, kind):
            raise InputError(
                f"{name} given, but task {self.task!r} has no {kind.__name__}: leave it out, or "
                "choose another task"
            )
        return replace_part(operator, kind, lambda part: evolve(part, **values))


def generator_of(seed: int) -> Generator:
    """A CPU generator of that seed: the same draws on every machine."""
    return torch.Generator().manual_seed(seed)


def save_measurement(
    path: Path, problem: InverseProblem, description: Description, overwrite: bool
) -> None:
    """Write ``y`` as float32 safetensors, with its description and mask, whole or not at all."""
    check_output(path, overwrite)
    tensors = {"measurement": problem.measurement}
    masks = find_parts(problem.operator, Mask)
    if masks:
        tensors["mask"] = masks[0].mask.to(torch.uint8)
    told = asdict(description, recurse=False) | {"rate": str(description.rate)}
    del told["mask"], told["sound"]
    with whole(path) as partial:
        save_tensors(partial, tensors, {FORMAT: json.dumps(told)})


def load_measurement(path: Path) -> tuple[Tensor, Description | None]:
    """Read a safetensors measurement, with its description where it has one.

    Raises:
        InputError: missing, unreadable, or without a tensor named measurement or video.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise InputError(f"measurement {str(path)!r} does not exist: give a file made by simulate")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"measurement {str(path)!r} cannot be read, it is damaged or no safetensors file "
            f"({error}): make it again with visionxl simulate"
        ) from error
    measurement = tensors.get("measurement", tensors.get("video"))
    if measurement is None:
        raise InputError(
            f"measurement {str(path)!r} has the tensors {', '.join(tensors)}: expected one named "
            "'measurement'"
        )
    if not measurement.is_floating_point():
        raise InputError(
            f"measurement {str(path)!r} is {measurement.dtype}: expected floating point numbers "
            "in units of the range [-1, 1]"
        )
    mask = tensors["mask"].bool() if "mask" in tensors else None
    return measurement.float(), description_in(path, metadata, mask)


def description_in(
    path: Path, metadata: Mapping[str, str], mask: Tensor | None
) -> Description | None:
    """How a measurement was made, from its file's metadata; None where they do not tell.

    Raises:
        InputError: they cannot be read.
    """
    if FORMAT not in metadata:
        return None
    try:
        told = json.loads(metadata[FORMAT])
        return Description(**{**told, "rate": Fraction(told["rate"]), "mask": mask})
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"measurement {str(path)!r} has a description that cannot be read ({error}): make it "
            "again with visionxl simulate"
        ) from error
