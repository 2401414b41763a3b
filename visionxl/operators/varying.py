"""Blurs that change over the image plane."""

from functools import lru_cache
from typing import Any

import torch
from attrs import field, frozen
from torch import Tensor

from visionxl.errors import InputError
from visionxl.operators.blur import GaussianBlur
from visionxl.operators.boundary import Boundary
from visionxl.operators.composition import Composable, find_parts
from visionxl.operators.lifting import divide_where_seen, signs_like
from visionxl.operators.reach import ByFrame, Reach, reach_of, unknown
from visionxl.protocols import ForwardOperator, Video, shape_of
from visionxl.validators import array, check_count, entries


def _blurs(value: Any) -> tuple[Any, ...]:
    return entries("blurs", value, lambda blur: blur, "several, in a tuple")


def _weights(value: Any) -> Tensor:
    weights = array("weights", value, "numbers >= 0, in a tensor or an array").clone()
    if weights.ndim != 3 or not weights.is_floating_point() or not bool((weights >= 0).all()):
        raise InputError(
            f"weights of shape {tuple(weights.shape)}: expected numbers >= 0 in the shape "
            "(blurs, height, width), one map for each blur"
        )
    return weights


@frozen(eq=False)
class VaryingBlur(Composable):
    """A spatially varying blur: several blurs, each weighted by a map.

    Forward: ``y = sum_k w_k * (B_k x)``, ``w_k`` a weight at every pixel. Adjoint:
    ``sum_k B_k^T (w_k * y)``. It interpolates between point spread functions (Nagy & O'Leary
    1998).

    Args:
        blurs: operators whose measurement has the size of the video, such as
            :class:`GaussianBlur` or :class:`Blur`.
        weights: (blurs, height, width), >= 0; usually they sum to 1 at every pixel.
    """

    blurs: tuple[ForwardOperator, ...] = field(converter=_blurs)
    weights: Tensor = field(converter=_weights, repr=shape_of)

    def __attrs_post_init__(self) -> None:
        for blur in self.blurs:
            if not isinstance(blur, ForwardOperator):
                raise InputError(f"blurs: {blur!r} is no blur: give GaussianBlur(1.5) or others")
        if len(self.blurs) != len(self.weights):
            raise InputError(
                f"weights has {len(self.weights)} maps for {len(self.blurs)} blurs: give one each"
            )

    @classmethod
    def radial(
        cls,
        height: int,
        width: int,
        sigmas: tuple[float, ...] = (0.5, 1.5, 2.5, 3.5),
        boundary: Boundary = "reflect",
    ) -> "VaryingBlur":
        """Gaussian blurs from the centre (the first sigma) to the corners (the last).

        In between the two nearest are mixed, linearly in the distance from the centre.
        """
        rows, columns = (  # a single one lies in the centre
            torch.linspace(-1, 1, size, dtype=torch.float64) * (size > 1)
            for size in (height, width)
        )
        place = torch.hypot(rows[:, None], columns) / 2**0.5 * (len(sigmas) - 1)
        return cls._between(place, sigmas, boundary)

    @classmethod
    def from_map(cls, sigma: Any, count: int = 6, boundary: Boundary = "reflect") -> "VaryingBlur":
        """Gaussian blurs whose sigma is given at every pixel, as by a map of depths.

        The two nearest of ``count`` evenly spaced sigmas are mixed at every pixel.

        Args:
            sigma: (height, width), in pixels.
            count: of the blurs; each costs as much as one that does not vary.
            boundary: of the blurs.
        """
        check_count("count", count)
        sigma = array("sigma", sigma, "numbers above 0, in a tensor or an array", torch.float64)
        if sigma.ndim != 2 or not bool((sigma > 0).all()) or not bool(sigma.isfinite().all()):
            raise InputError(
                f"sigma of shape {tuple(sigma.shape)}: expected finite numbers above 0 in the "
                "shape (height, width)"
            )
        low, high = sigma.min().item(), sigma.max().item()
        count = 1 if low == high else max(2, count)
        place = (sigma - low) / (high - low or 1.0) * (count - 1)
        sigmas = torch.linspace(low, high, count, dtype=torch.float64).tolist()
        return cls._between(place, tuple(sigmas), boundary)

    @classmethod
    def _between(
        cls, place: Tensor, sigmas: tuple[float, ...], boundary: Boundary
    ) -> "VaryingBlur":
        """At a place of 1.25 the second sigma by three quarters, and the third by one."""
        maps = [(1 - (place - k).abs()).clamp(min=0) for k in range(len(sigmas))]
        return cls(tuple(GaussianBlur(sigma, boundary) for sigma in sigmas), torch.stack(maps))

    def reach(self) -> Reach:
        """A reach of 0 frames, for blurs that treat all frames alike; InputError for others."""
        for blur in self.blurs:
            if find_parts(blur, ByFrame) or reach_of(blur).frames:
                raise unknown(self)
        return Reach()

    def _maps(self, video: Tensor) -> Tensor:
        if self.weights.shape[1:] != video.shape[-2:]:
            raise InputError(
                f"weights of {tuple(self.weights.shape[1:])} do not fit a video of "
                f"{tuple(video.shape)}: make them for height {video.shape[-2]} and width "
                f"{video.shape[-1]}"
            )
        return _maps_on(self, video.dtype, video.device)

    def forward(self, video: Video) -> Video:
        result = torch.zeros_like(video)
        for blur, weight in zip(self.blurs, self._maps(video), strict=True):
            blurred = blur.forward(video)
            if blurred.shape != video.shape:
                raise InputError(
                    f"{blur!r} turns a video of {tuple(video.shape)} into {tuple(blurred.shape)}: "
                    "expected a blur, which keeps its size"
                )
            result.addcmul_(blurred, weight)
        return result

    def adjoint(self, measurement: Video) -> Video:
        result = torch.zeros_like(measurement)
        for blur, weight in zip(self.blurs, self._maps(measurement), strict=True):
            result.add_(blur.adjoint(measurement * weight))
        return result

    def lift(self, measurement: Video) -> Video:
        one = measurement[:1, :1]
        terms = self.forward(signs_like(one)).abs().max().item()
        return divide_where_seen(measurement, self.forward(torch.ones_like(one)), terms)


@lru_cache(maxsize=2)
def _maps_on(blur: VaryingBlur, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Its weights: every call asks for them, and they are as large as frames."""
    with torch.inference_mode(False):
        return blur.weights.to(device, dtype)
