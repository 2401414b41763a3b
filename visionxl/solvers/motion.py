"""Where each pixel of a frame lies in the next one, and videos followed along it.

The optical flow is dense inverse search (Kroeger et al. 2016) with variational refinement, as
implemented in OpenCV. Frames are sampled along it by PyTorch's bicubic interpolation, a linear map
``W_t``, here with its exact adjoint. The kernel is that of cubic convolution with ``a = -3/4``,
sharper than that of Keys (1981) with ``-1/2``, which is exact on ramps.
"""

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from attrs import evolve, frozen
from torch import Tensor
from torch.nn.functional import embedding_bag, grid_sample

from visionxl.protocols import Video

SMALLEST = 32  # the side of a frame, in pixels, below which the search finds nothing
CROWDED = 1.5  # pixels that may move to the place of one before their weight is reduced
BICUBIC, BORDER = 2, 1  # the numbers of PyTorch's interpolation and padding
ADJOINT_FRAMES = 4  # frames that the adjoint takes at once
PARTS = 16  # of a frame, at most, that are sampled at once
SHARPNESS = -0.75  # of PyTorch's bicubic interpolation
SORTED = 2**24  # pixels whose neighbours are kept sorted: 2.2 GB
ARRIVAL_BYTES = 132  # of a pixel: 16 numbers of pixels, 16 weights, an end
FEWEST = 8  # frames: preparing fewer is not worth it
PAYS = 5  # uses of the adjoint from which on sorting is worth it


def arrival_bytes(frames: int, pixels: int) -> int:
    """The bytes that a prepared motion of so many frames of so many pixels takes beside itself."""
    count = SORTED // max(pixels, 1)
    return ARRIVAL_BYTES * pixels * min(frames - 1, count) if count >= FEWEST else 0


@frozen(eq=False)
class Arrivals:
    """``W_t^T`` as a sparse matrix by rows: which pixels of frame ``t`` come to each of the next.

    Args:
        sources: the column of each entry: a pixel of frame ``t``, 16 times each.
        weights: the entries: those of the interpolation.
        ends: where each row, a pixel of frame ``t + 1``, begins; and the end of the last.
    """

    sources: Tensor
    weights: Tensor
    ends: Tensor

    @classmethod
    def of(cls, places: Tensor) -> "Arrivals":
        """Those of one frame's places (height, width, 2)."""
        height, width = places.shape[:2]
        columns, across = _taps(places[..., 0], width)
        rows, down = _taps(places[..., 1], height)
        found, order = (rows.unsqueeze(1) * width + columns).flatten().sort(stable=True)
        pixels = torch.arange(height * width + 1, dtype=found.dtype, device=found.device)
        ends = torch.searchsorted(found, pixels, out_int32=True)
        del found, rows, columns  # each of them, and order, is as large as the result or larger
        weights = (down.unsqueeze(1) * across).flatten()[order]
        return cls(order.remainder_(height * width).to(torch.int32), weights, ends)

    def summed(self, frame: Tensor) -> Tensor:
        """``W_t^T q_t`` of one frame (channels, height, width)."""
        # Converting to channels last is several times faster than transposing, which it amounts to.
        pixels = frame.unsqueeze(0).contiguous(memory_format=torch.channels_last)
        summed = embedding_bag(
            self.sources,
            pixels.permute(0, 2, 3, 1).flatten(0, 2),
            self.ends,
            mode="sum",
            per_sample_weights=self.weights,
            include_last_offset=True,
        )
        return summed.T.view_as(frame)


@frozen(eq=False)
class Motion:
    """``W``: the pixels of each frame, found in the next one.

    Args:
        places: of the pixels of frame ``t`` in frame ``t + 1``, (frames - 1, height, width, 2), x
            and y, from -1 to 1 over the frame (:func:`torch.nn.functional.grid_sample`).
        seen: weight of each pixel, (frames - 1, height, width): the share of it that lands inside
            the next frame, less where many pixels move to the same place, as they do where
            something is covered.
        arrivals: of the first frames, for a faster adjoint; see :meth:`prepared`.
    """

    places: Tensor
    seen: Tensor
    arrivals: tuple[Arrivals, ...] = ()

    @classmethod
    def of(cls, video: Video, fine: bool = False) -> "Motion | None":
        """The motion of a video; None for one frame, or frames too small to search.

        Args:
            video: (frames, channels, height, width).
            fine: to search at full resolution too, which takes longer; by default at half of it
                and less, as suits a video whose fine detail is missing or wrong.
        """
        if len(video) < 2 or min(video.shape[-2:]) < SMALLEST:
            return None
        return cls.along(optical_flow(video, fine))

    @classmethod
    def along(cls, flow: Tensor) -> "Motion":
        """The motion of a known optical flow.

        Args:
            flow: of each frame to the next, in pixels, (frames - 1, 2, height, width), x and y.
        """
        height, width = flow.shape[-2:]
        x, y = _ends(flow)
        inside = _overlap(x, width) * _overlap(y, height)
        motion = cls(places_of(flow), inside)
        return evolve(motion, seen=inside * _room(motion))

    def prepared(self, uses: int) -> "Motion":
        """The same motion, with its adjoint prepared if ``uses`` make it worthwhile.

        On a CPU PyTorch's own adjoint takes several times as long as a sum over presorted pixels.
        These take ``ARRIVAL_BYTES`` per pixel, and are stored for ``SORTED`` pixels at most, of
        frames of up to an eighth of them: sorting a frame takes 320 bytes a pixel.
        """
        count = SORTED // max(self.seen.shape[1:].numel(), 1)
        if uses < PAYS or count < FEWEST or self.places.device.type != "cpu":
            return self
        return evolve(self, arrivals=tuple(Arrivals.of(p) for p in self.places[:count]))

    def ahead(self, t: int, following: Tensor) -> Tensor:
        """``W_t x_(t+1)``: frame ``t + 1`` (channels, height, width), moved to where ``t`` is."""
        return sampled(following, self.places[t])

    def back(self, first: int, q: Tensor) -> Tensor:
        """``W_t^T q_t`` for the frames ``t`` from ``first`` on, (n, channels, height, width).

        On CUDA it adds in no fixed order: equal runs differ there by rounding.
        """
        known = self.arrivals[first : first + len(q)]
        if known and len(known) == len(q):
            pairs = zip(known, q, strict=True)
            return torch.stack([arrivals.summed(frame) for arrivals, frame in pairs])
        places = self.places[first : first + len(q)]
        adjoint: Any = torch.ops.aten.grid_sampler_2d_backward
        return adjoint(q, q, places, BICUBIC, BORDER, False, (True, False))[0]


def _ends(flow: Tensor) -> tuple[Tensor, Tensor]:
    """Where the pixels come to, x and y, of a flow (..., 2, height, width)."""
    height, width = flow.shape[-2:]
    rows = torch.arange(height, dtype=flow.dtype, device=flow.device).view(-1, 1)
    columns = torch.arange(width, dtype=flow.dtype, device=flow.device)
    return columns + flow[..., 0, :, :], rows + flow[..., 1, :, :]


def places_of(flow: Tensor) -> Tensor:
    """The same, (..., height, width, 2), from -1 to 1 over the frame."""
    height, width = flow.shape[-2:]
    x, y = _ends(flow)
    return torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], -1)


def _overlap(x: Tensor, size: int) -> Tensor:
    """What share of a pixel at ``x`` lies on an axis of ``size`` pixels."""
    return (1 - torch.maximum(-x, x - (size - 1))).clamp(0, 1)


def _taps(places: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The four neighbours on one axis of ``size`` pixels, and their weights, (4, height, width)."""
    x = ((places + 1) * size - 1) / 2
    floor = x.floor()
    x = x - floor
    distances = torch.stack([x + 1, x, 1 - x, 2 - x])
    squares = distances.square()
    inner = ((SHARPNESS + 2) * distances - (SHARPNESS + 3)) * squares + 1
    outer = SHARPNESS * (distances * squares - 5 * squares + 8 * distances - 4)
    weights = torch.cat([outer[:1], inner[1:3], outer[3:]])
    offsets = torch.arange(-1, 3, dtype=torch.int32, device=x.device).view(4, 1, 1)
    return (floor.to(torch.int32) + offsets).clamp_(0, size - 1), weights


def sampled(picture: Tensor, places: Tensor) -> Tensor:
    """A picture (channels, height, width) at some places (height, width, 2), bicubic."""
    pixels = places.flatten(0, 1)
    # On a CPU each picture is one thread's work: parts of the places make as many pictures of one.
    parts = math.gcd(len(pixels), PARTS) if places.device.type == "cpu" else 1
    found = grid_sample(
        picture.expand(parts, -1, -1, -1),
        pixels.view(parts, 1, -1, 2),
        mode="bicubic",
        padding_mode="border",
        align_corners=False,
    )
    return found.transpose(0, 1).reshape(-1, *places.shape[:2])


def _room(motion: Motion) -> Tensor:
    """A weight for each pixel: 1, or less where more than ``CROWDED`` pixels move to one place."""
    crowd = motion.back(0, motion.seen.unsqueeze(1))
    found = torch.stack([motion.ahead(t, frame) for t, frame in enumerate(crowd)])
    return CROWDED / found[:, 0].clamp_min(CROWDED)


def optical_flow(video: Video, fine: bool = False) -> Tensor:
    """The flow of each frame to the next, in pixels, (frames - 1, 2, height, width), x and y.

    With ``fine`` it is searched at the video's own resolution too, not only at half of it and less.

    Dense inverse search takes 256 shades of gray, here scaled for each pair of frames: the darkest
    and brightest hundredth of their pixels are clipped. So other frames do not affect the pair.
    """
    import cv2

    flow = partial(_flow, cv2, fine)
    with _one_thread(cv2), ThreadPoolExecutor(torch.get_num_threads()) as pool:
        found = list(pool.map(flow, video[:-1], video[1:]))
    return torch.stack(found).permute(0, 3, 1, 2).to(video)


def _flow(cv2: Any, fine: bool, frame: Tensor, following: Tensor) -> Tensor:
    gray = torch.stack([frame, following]).mean(1).cpu()
    low, high = _limits(gray)
    shades = ((gray - low) * (255 / max(high - low, 1e-3))).round_().clamp_(0, 255)
    here, there = shades.to(torch.uint8).numpy()
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setFinestScale(0 if fine else 1)  # how often the resolution is halved
    return torch.from_numpy(search.calc(here, there, None))


def _limits(gray: Tensor) -> tuple[float, float]:
    """The shades that a hundredth of the pixels is darker, and brighter, than."""
    few = gray.flatten()[:: math.ceil(gray.numel() / 1e5)].sort().values
    return few[len(few) // 100].item(), few[-1 - len(few) // 100].item()


@contextmanager
def _one_thread(cv2: Any) -> Iterator[None]:
    """The search propagates findings within each thread's part: the number of threads changes the
    result. So each pair of frames is searched by one thread, and several pairs at once."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
