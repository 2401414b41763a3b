"""The precision needed to solve for a video, whatever the caller has set for networks."""

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

DEVICES = "cpu", "cuda", "mps", "xpu"


@contextmanager
def no_autocast() -> Iterator[None]:
    """Turns autocast off: it would round the equations, too. Priors have their own dtype."""
    with ExitStack() as stack:
        for kind in DEVICES:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


def check_precision(device: torch.device) -> None:
    """Warn where products of float32 are rounded to a thousandth, by TensorFloat-32."""
    precision = torch.get_float32_matmul_precision()
    if device.type == "cuda" and precision != "highest":
        warnings.warn(
            f"float32_matmul_precision is {precision!r}, which rounds the products that solve for "
            "the video to a thousandth: call torch.set_float32_matmul_precision('highest'), and "
            "for speed give the prior dtype=torch.bfloat16 or float16",
            stacklevel=4,
        )
