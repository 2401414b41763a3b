"""NaN and infinity stop a run where they come up, and say where."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from visionxl.errors import NotFiniteError
from visionxl.operators.finite import SOLVABLE

WAYS_OUT = {
    "start": "try another initializer, such as Noise(), to see whether the networks are sound",
    "denoise": "load the networks in bfloat16 or float32; with guidance, try a smaller scale",
    "encode": "give the fp16-safe autoencoder (for SDXL, madebyollin/sdxl-vae-fp16-fix), "
    "or load the networks in bfloat16 or float32",
    "consistency": SOLVABLE,
    "low-pass": "return finite values for a finite video",
    "renoise": "return finite latents for finite arguments",
}
BEFORE = "look at the initializer and the consistency, and " + SOLVABLE
WAYS_OUT["decode"] = WAYS_OUT["encode"]


def is_finite(values: Tensor) -> bool:
    """Whether there is no NaN and no infinity.

    A sum is finite where all its terms are, and several times as quick to make; where it is not it
    may have overflowed, and they are looked at one by one.
    """
    return bool(values.sum().isfinite()) or bool(values.isfinite().all())


def check_finite(
    stage: str,
    answer: Tensor,
    first: int = 0,
    dtype: torch.dtype | None = None,
    given: Tensor | None = None,
) -> Tensor:
    """The answer. Raises NotFiniteError for the first frame that has a NaN or an infinity.

    Args:
        stage: that answered it.
        answer: frames first.
        first: number of its first frame.
        dtype: that the stage computed in, by default that of the answer.
        given: that the stage was asked for; the fault is not its own where this is not finite.
    """
    # A GPU is waited for once, and not for every frame.
    if not len(answer) or bool(torch.stack([v.sum() for v in answer]).isfinite().all()):
        return answer
    for frame, values in enumerate(answer, first):
        if not bool(values.isfinite().all()):
            if given is not None and not bool(given.isfinite().all()):
                stage, way_out = f"the part before {stage}", BEFORE
            else:
                way_out = WAYS_OUT[stage]
            raise NotFiniteError(stage, frame, dtype or answer.dtype, way_out)
    return answer


@contextmanager
def step_named(index: int) -> Iterator[None]:
    """A NotFiniteError that is raised inside says in which step."""
    try:
        yield
    except NotFiniteError as error:
        raise error.at(step=index) from None


def network_dtype(prior: object, stage: str) -> torch.dtype | None:
    """What a prior computes in, through those that wrap it; None where none of them tells."""
    while prior is not None:
        dtypes = getattr(prior, "dtypes", None)
        if dtypes is not None:
            return dtypes[stage]
        prior = getattr(prior, "prior", None)
    return None
