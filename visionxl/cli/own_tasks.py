"""Tasks by name: the library's, or user-defined as ``FILE.py:FUNCTION``."""

from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any

import torch
from attrs import evolve
from torch import Generator

from visionxl.cli.own import Own, answered, find_own, is_own, place_in
from visionxl.errors import InputError, name_of
from visionxl.measurements import MOST_TRIED
from visionxl.operators import task_named
from visionxl.protocols import ForwardOperator, NonlinearOperator


def find_task(name: str) -> Own:
    """The task that ``--task`` means. A file of one's own is run.

    Raises:
        InputError: there is no such task, file or function, or the file cannot be run.
    """
    if not is_own(name):
        return Own(name, task_named(name))
    found = find_own("--task", name, "(frames, height, width, generator)", "an operator")
    return evolve(found, make=_checked(found.make, found.name))


def _checked(make: Callable[..., Any], label: str) -> Callable[..., Any]:
    """The function, whose answer is an operator or an error that says what to mend."""

    def checked(frames: int, height: int, width: int, generator: Generator) -> Any:
        return answered(
            partial(make, frames, height, width, generator),
            f"--task {label}",
            "(frames, height, width, generator)",
            "an operator, with the methods forward(video) and adjoint(measurement), or forward, "
            "linearize and lift where it is not linear",
            ForwardOperator | NonlinearOperator,
        )

    return checked


def check_answers(operator: Any, task: str, shape: tuple[int, int, int, int]) -> None:
    """Raise InputError for a user-defined operator whose outputs are no tensors or of wrong shape.

    Where the video is too large to be tried before, the run itself shows it.

    Args:
        operator: the task's.
        task: for messages.
        shape: of the video.
    """
    if prod(shape) > MOST_TRIED:
        return
    back = "adjoint" if isinstance(operator, ForwardOperator) else "lift"
    answer: Any = torch.zeros(shape)
    for method in ("forward", back):
        given = tuple(answer.shape)
        try:
            answer = getattr(operator, method)(answer)
        except (InputError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            place = place_in(error)
            where = f"{method} of {name_of(operator)}" if place is None else f"{place},"
            mistake = isinstance(error, NameError | AttributeError | ImportError)
            way = (
                "mend that line"
                if mistake
                else "make it accept that shape, or choose another --size"
            )
            raise InputError(
                f"--task {task}: {where} raised {type(error).__name__} for {given}: {error}; {way}"
            ) from error
        if not isinstance(answer, torch.Tensor) or not answer.is_floating_point():
            kind = answer.dtype if isinstance(answer, torch.Tensor) else type(answer).__name__
            raise InputError(
                f"--task {task}: {method} of {name_of(operator)} returned {kind}: expected a "
                "tensor of the dtype that it was given"
            )
    if answer.shape != shape:
        raise InputError(
            f"--task {task}: {back} of {name_of(operator)} returned {tuple(answer.shape)} for the "
            f"measurement of a video of {shape}: make it return the shape of that video"
        )
