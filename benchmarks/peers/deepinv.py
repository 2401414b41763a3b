"""The benchmark's operators as deepinv has them, in the fastest of its ways that has an adjoint.

- Blur: ``Blur`` with Fourier transforms, which deepinv advises for large kernels. Two ``Blur`` of
  one row and one column would be faster, but in deepinv 0.5 the adjoint of a kernel that is 1
  wide fails unless it is computed with Fourier transforms.
- Pooling: ``Downsampling`` with a box as its filter.
- Mask: ``Inpainting``.
- Average over frames: a three-dimensional ``Blur``, with Fourier transforms for the same reason.
- What is composed: deepinv's composition, with linear maps between that only lay the frames out as
  a batch of pictures and back.
"""

# pyright: reportMissingImports=false

import warnings
from collections.abc import Callable
from typing import Any

import torch
from attrs import frozen
from deepinv.optim.linear import conjugate_gradient
from deepinv.physics import Blur, Downsampling, Inpainting, LinearPhysics
from deepinv.physics.forward import compose
from torch import Tensor

from visionxl.interop.deepinv import DeepinvOperator
from visionxl.operators.blur import gaussian_taps
from visionxl.protocols import ForwardOperator

WINDOW, ALONE, SIGMA, FACTOR = 7, 13, 3.0, 4  # the paper's, as visionxl.operators.TASKS has them


@frozen(eq=False)
class Peer:
    """A physics of deepinv with the layout of its input: frames, or one video."""

    physics: LinearPhysics
    whole: bool

    def given(self, video: Tensor) -> Tensor:
        """A video as this physics takes it."""
        return video.transpose(0, 1)[None].contiguous() if self.whole else video

    def ours(self, measured: Tensor) -> Tensor:
        """Its measurement as ours."""
        return measured[0].transpose(0, 1) if self.whole else measured

    def operator(self) -> ForwardOperator:
        """For the dot test."""
        return DeepinvOperator(self.physics, "video" if self.whole else "frames")

    def solve(self, measured: Tensor, iterations: int) -> Tensor:
        """Conjugate gradients on the normal equations, deepinv's own."""
        physics = self.physics
        right = physics.A_adjoint(measured)
        return conjugate_gradient(physics.A_adjoint_A, right, max_iter=iterations, tol=0.0)


def blur() -> Blur:
    taps = torch.tensor(gaussian_taps(SIGMA))
    return Blur(filter=torch.outer(taps, taps)[None, None], padding="reflect", use_fft=True)


def pool(height: int, width: int) -> Downsampling:
    box = torch.full((1, 1, FACTOR, FACTOR), 1 / FACTOR**2)
    return Downsampling((3, height, width), filter=box, factor=FACTOR, padding="valid")


def inpainting(mask: Tensor) -> Inpainting:
    size: Any = (3, *mask.shape)
    return Inpainting(size, mask=mask.float().expand(size))


def average(window: int = WINDOW) -> Blur:
    filter = torch.full((1, 1, window, 1, 1), 1 / window)
    return Blur(filter=filter, padding="circular", use_fft=True)


def after_average(spatial: LinearPhysics) -> Any:
    def frames(video: Tensor, **_: object) -> Tensor:
        return video[0].transpose(0, 1)

    def video(frames: Tensor, **_: object) -> Tensor:
        return frames.transpose(0, 1)[None]

    parts: Any = (
        average(),
        LinearPhysics(A=frames, A_adjoint=video),
        spatial,
        LinearPhysics(A=video, A_adjoint=frames),
    )
    with warnings.catch_warnings():  # that a composed mask has no closed form
        warnings.filterwarnings("ignore", message="At least one input physics is a Decomposable")
        return compose(*parts)


def peers(height: int, width: int, mask: Tensor) -> dict[str, Callable[[], Peer]]:
    """By the name of the task; made when called, so that one at a time takes memory."""
    return {
        "deblur": lambda: Peer(blur(), False),
        "sr4": lambda: Peer(pool(height, width), False),
        "inpaint": lambda: Peer(inpainting(mask), False),
        "temporal": lambda: Peer(average(ALONE), True),
        "deblur+": lambda: Peer(after_average(blur()), True),
        "sr4+": lambda: Peer(after_average(pool(height, width)), True),
        "inpaint+": lambda: Peer(after_average(inpainting(mask)), True),
    }
