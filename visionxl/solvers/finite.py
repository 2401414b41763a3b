"""NaN and infinity stop a run where they occur, with an error that says where."""

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

    A finite sum has only finite terms, and is several times faster to compute; a sum that is not
    finite may have overflowed, and the terms are checked one by one.
    """
    return bool(values.sum().isfinite()) or bool(values.isfinite().all())


def check_finite(
    stage: str,
    answer: Tensor,
    first: int = 0,
    dtype: torch.dtype | None = None,
    given: Tensor | None = None,
) -> Tensor:
    """Returns ``answer``. Raises NotFiniteError for the first frame with a NaN or an infinity.

    Args:
        stage: that returned it.
        answer: frames first.
        first: number of its first frame.
        dtype: that the stage computed in, by default that of the answer.
        given: the input of the stage; if this is not finite, an earlier part is at fault.
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


def network_dtype(prior: object, stage: str) -> torch.dtype | None:
    """The dtype that a prior computes in, looked up through its wrappers; None if unknown."""
    while prior is not None:
        dtypes = getattr(prior, "dtypes", None)
        if dtypes is not None:
            return dtypes[stage]
        prior = getattr(prior, "prior", None)
    return None
