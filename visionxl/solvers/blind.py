"""Blind deblurring: the kernel of a blur, estimated from the blurred video alone.

It alternates two steps, from coarse to fine. Given the kernel ``k``, an image ``x`` of few edges is

    x = argmin |y - k * x|^2 + sparsity * (number of pixels where grad x is not 0),

by half-quadratic splitting (Xu, Zheng & Jia 2013; Xu, Lu, Xu & Jia 2011). It is not the
restoration: it has no texture, and its edges are sharper than any in a natural image. This
identifies the blur. With a prior of natural images, total variation or sparser, no blur at all
would be the best explanation (Levin et al. 2009). Given ``x``, the kernel minimises

    |grad y - k * grad x|^2 + ridge * |grad x|^2 |k|^2    (Cho & Lee 2009),

in closed form, and is then cleaned: taps below a twentieth of the largest and those not connected
with it are set to 0, and they sum to 1. One kernel explains all frames, so their equations add up.
"""

import math
from numbers import Integral
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate, max_pool2d

from visionxl.errors import InputError
from visionxl.protocols import Measurement, Video

Planes = Float[Tensor, "frames height width"]
Kernel = Float[Tensor, "size size"]

SPARSITY, FALL, LEAST_SPARSITY = 0.03, 1.1, 4e-4  # falls a little every turn
RIDGE = 0.03
FAINT = 0.05  # of the largest tap: less counts as none
COARSEST, RATIO = 5, 0.5**0.5  # of the kernel's sizes
TURNS, LAST_TURNS = 5, 15  # at a scale, and at the finest
FIRST_SPLIT, SPLIT_GROWTH, LAST_SPLIT = 2.0, 4.0, 1e5  # the splitting's weight; first x sparsity
LEAST_CONTRAST = 2 / 256  # a frame that varies by less is of one colour
LEAST_ENERGY = 1e-10  # a pixel, of the gradients
LARGEST = 101  # pixels a side: the equations of its taps take size**4 numbers, here 0.8 GB


def estimate_kernel(measurement: Measurement, size: int, *, frames: int = 3) -> Kernel:
    """The kernel of a blur that is the same for all frames, found in the measurement alone.

    The kernel is assumed to be nowhere negative, as it is light; to sum to 1; to be in one
    piece; and, of kernels that explain the edges equally well, to be the one of least ``|k|^2``.
    The video is assumed to have sharp edges in more than one direction. A shift between kernel and
    video cannot be determined: the kernel's centre of mass is put in the middle.

    Source: Xu, Zheng & Jia, Unnatural L0 Sparse Representation for Natural Image Deblurring
    (CVPR 2013), with the kernel of Cho & Lee, Fast Motion Deblurring (2009); see the module.

    Args:
        measurement: (frames, channels, height, width) in about [-1, 1]: blurred in space, not
            in time, with noise of about 0.01 or less.
        size: of the kernel, odd, in pixels: slightly more than the width of the blur. At most half
            of a frame's smaller side, and 101.
        frames: how many to read, evenly from the first to the last. Three are more reliable than
            one.

    Returns:
        The kernel for :class:`~visionxl.operators.Blur`, (size, size), float64.

    Raises:
        InputError: a measurement that is no video, not finite or of one colour; a size that is
            even or does not fit; no edges; fewer than one frame.
    """
    _check(measurement, "measurement", size)
    if not isinstance(frames, Integral) or frames < 1:
        raise InputError(f"frames {frames!r}: give how many to read, a whole number from 1")
    picked = torch.linspace(0, len(measurement) - 1, min(frames, len(measurement))).round().long()
    grey = measurement[picked.to(measurement.device)].float().mean(1)
    sizes = [size]
    while sizes[-1] > COARSEST:
        sizes.append(max(3, round(sizes[-1] * RATIO) // 2 * 2 + 1))
    smooth = torch.tensor([0.25, 0.5, 0.25], dtype=torch.float64, device=grey.device)
    kernel, sparsity = torch.outer(smooth, smooth), SPARSITY
    for at in reversed(sizes):
        height, width = (round(side * at / size) for side in grey.shape[-2:])
        small = tapered(_resized(grey, height, width), at)
        kernel = _resized(kernel[None], at, at)[0].clamp(min=0)
        kernel = kernel / kernel.sum()
        for _ in range(LAST_TURNS if at == size else TURNS):
            kernel = centred(_fitted(few_edges(small, kernel, sparsity), small, at))
            sparsity = max(sparsity / FALL, LEAST_SPARSITY)
    return kernel


def few_edges(measurement: Planes, kernel: Kernel, sparsity: float) -> Planes:
    """``x`` of small ``|y - k * x|^2 + sparsity * (pixels with an edge)``, with periodic borders.

    ``grad x`` is split off as ``g`` by ``weight |grad x - g|^2`` with growing weight: ``g`` keeps
    gradients above ``sqrt(sparsity / weight)``, and ``x`` follows by a division in Fourier space.
    """
    height, width = measurement.shape[-2:]
    transfer = _transfer(kernel.to(measurement), height, width)
    seen = transfer * torch.fft.rfft2(measurement)
    power = transfer.abs().square()
    rows = torch.fft.fftfreq(height, device=power.device)[:, None]
    columns = torch.fft.rfftfreq(width, device=power.device)
    laplacian = 4 * (torch.sin(math.pi * rows) ** 2 + torch.sin(math.pi * columns) ** 2)
    video, weight = measurement, FIRST_SPLIT * sparsity
    while weight < LAST_SPLIT:
        down, right = gradients(video)
        edges = down.square() + right.square() >= sparsity / weight
        down, right = down * edges, right * edges
        divergence = down.roll(1, -2) - down + right.roll(1, -1) - right
        wanted = seen + weight * torch.fft.rfft2(divergence)
        video = torch.fft.irfft2(wanted / (power + weight * laplacian), s=(height, width))
        weight *= SPLIT_GROWTH
    return video


def fit_kernel(video: Video, measurement: Measurement, size: int) -> Kernel:
    """The kernel that blurs the edges of a known video into those of the measurement.

    For another round with a restored video, or with one that was recorded sharp. The assumptions
    about the kernel are those of :func:`estimate_kernel`, except that the video sets its position.

    Args:
        video: (frames, channels, height, width) in about [-1, 1].
        measurement: of the same shape, blurred.
        size: of the kernel, odd, in pixels. Half of a frame's smaller side, and 101, at most.

    Returns:
        The kernel for :class:`~visionxl.operators.Blur`, (size, size), float64.

    Raises:
        InputError: as :func:`estimate_kernel`, or the shapes differ.
    """
    _check(video, "video", size)
    _check(measurement, "measurement", size)
    if video.shape != measurement.shape:
        raise InputError(
            f"video of shape {tuple(video.shape)} and measurement of {tuple(measurement.shape)}: "
            "a blur changes no shape, give two of the same"
        )
    sharp, blurred = (tapered(v.float().mean(1), size) for v in (video, measurement))
    return _fitted(sharp, blurred, size)


def _fitted(sharp: Planes, blurred: Planes, size: int) -> Kernel:
    """The kernel of ``size`` from two images with periodic borders, cleaned by :func:`light`."""
    height, width = sharp.shape[-2:]
    auto = cross = torch.zeros((), dtype=torch.float64, device=sharp.device)
    for of_sharp, of_blurred in zip(gradients(sharp), gradients(blurred), strict=True):
        spectrum = torch.fft.rfft2(of_sharp.double())
        auto = auto + spectrum.abs().square().sum(0)
        cross = cross + (spectrum * torch.fft.rfft2(of_blurred.double()).conj()).sum(0)
    lags = torch.fft.irfft2(auto, s=(height, width))
    right = torch.fft.irfft2(cross, s=(height, width)).roll((size // 2, size // 2), (0, 1))
    if not lags[0, 0] > LEAST_ENERGY * sharp.numel():
        raise InputError("measurement has no edges left that tell a blur: give frames with some")
    tap = torch.arange(size, device=sharp.device)
    rows, columns = (tap[:, None] - tap) % height, (tap[:, None] - tap) % width
    square = lags[rows[:, None, :, None], columns[None, :, None, :]].reshape(size**2, size**2)
    square.diagonal().add_(RIDGE * lags[0, 0])
    kernel = torch.linalg.solve(square, right[:size, :size].reshape(-1)).view(size, size)
    return light(kernel)


def light(kernel: Kernel) -> Kernel:
    """Nowhere negative, in one piece, and of sum 1."""
    strong = kernel > FAINT * kernel.max()
    piece = kernel == kernel.max()
    while True:
        grown = (max_pool2d(piece[None].double(), 3, 1, 1)[0] > 0) & strong
        if torch.equal(grown, piece):
            break
        piece = grown
    kernel = torch.where(piece, kernel, 0.0)
    return kernel / kernel.sum()


def centred(kernel: Kernel) -> Kernel:
    """The kernel shifted by whole pixels: its mean in the middle, or as near as it fits inside."""
    place = torch.arange(len(kernel), dtype=kernel.dtype, device=kernel.device)
    moves = []
    for taps in (kernel.sum(1), kernel.sum(0)):
        wanted = len(kernel) // 2 - round(((taps * place).sum() / taps.sum()).item())
        there = taps.nonzero()
        first, last = int(there[0]), int(there[-1])
        moves.append(min(max(wanted, -first), len(kernel) - 1 - last))
    return kernel.roll(moves, (0, 1))


def tapered(video: Planes, reach: int) -> Planes:
    """Smooth towards the border, over ``reach`` pixels, so that it may count as periodic."""
    height, width = video.shape[-2:]
    taps = torch.arange(-reach, reach + 1, device=video.device) / (reach / 2)
    taps = torch.exp(-0.5 * taps.square())
    plane = torch.outer(taps, taps) / taps.sum() ** 2
    softened = _transfer(plane, height, width) * torch.fft.rfft2(video)
    soft = torch.fft.irfft2(softened, s=(height, width))
    kept = _rise(height, reach).to(video)[:, None] * _rise(width, reach).to(video)
    return soft + kept * (video - soft)


def gradients(video: Planes) -> tuple[Planes, Planes]:
    """Differences to the next row and to the next column, periodic."""
    return video.roll(-1, -2) - video, video.roll(-1, -1) - video


def _rise(size: int, reach: int) -> Tensor:
    """From 0 at both ends to 1, ``reach`` pixels inside."""
    place = torch.arange(size)
    inside = torch.minimum(place, size - 1 - place).clamp(max=reach) / reach
    return 0.5 - 0.5 * torch.cos(math.pi * inside)


def _transfer(kernel: Tensor, height: int, width: int) -> Tensor:
    """Its spectrum; the convolution with it is the adjoint of the blur, a correlation.

    A kernel larger than the plane goes round it.
    """
    size = len(kernel)
    place = torch.arange(size, device=kernel.device) - size // 2
    rows, columns = place % height, place % width
    plane = kernel.new_zeros(height, width)
    plane.index_put_((rows[:, None], columns), kernel, accumulate=True)
    return torch.fft.rfft2(plane)


def _resized(planes: Planes, height: int, width: int) -> Tensor:
    if planes.shape[-2:] == (height, width):
        return planes
    size = [height, width]
    return interpolate(planes[None], size=size, mode="bilinear", antialias=True)[0]


def _check(video: Any, name: str, size: Any) -> None:
    if not isinstance(video, Tensor):
        raise InputError(f"{name} is a {type(video).__name__}: expected a tensor of torch")
    shape = tuple(video.shape)
    if len(shape) != 4 or 0 in shape or not video.is_floating_point():
        raise InputError(
            f"{name} of shape {shape} and {video.dtype}: expected a video, (frames, channels, "
            "height, width), of floating-point numbers"
        )
    largest = min(min(shape[-2:]) // 2, LARGEST)
    if not isinstance(size, Integral) or not 3 <= int(size) <= largest or int(size) % 2 == 0:
        raise InputError(
            f"size {size!r}: give an odd number of pixels from 3 to {largest}, half of the smaller "
            f"side of a frame and at most {LARGEST}; for a wider blur make the frames smaller"
        )
    if not bool(torch.isfinite(video).all()):
        raise InputError(f"{name} has values that are not finite: replace them first")
    grey = video.float().mean(1)
    if not bool((grey.amax((1, 2)) - grey.amin((1, 2)) > LEAST_CONTRAST).any()):
        raise InputError(
            f"{name} has frames of one colour only: a blur shows at edges, give frames with some"
        )
