"""Shrinkage along the motion: it keeps what repeats from frame to frame and removes the rest.

Patches of a frame and of its neighbours, followed along the motion, are transformed by a discrete
cosine transform over time, height, width and colour. The video's content is in few large
coefficients, remaining noise in many small ones, which are set to 0. This is like the first stage
of V-BM3D (Dabov, Foi & Egiazarian 2007) on volumes along the motion, as in V-BM4D (Maggioni,
Boracchi, Foi & Egiazarian 2012), but without grouping similar volumes. A denoiser alternating with
a consistency, from a large error to a small one, is plug-and-play (Venkatakrishnan, Bouman &
Wohlberg 2013; with falling error Zhang et al. 2022).
"""

from collections.abc import Iterator

import torch
from attrs import field, frozen
from torch import Tensor
from torch.nn.functional import conv2d, fold, hardshrink, pad, unfold

from visionxl.operators.transform import cosines
from visionxl.protocols import Correction, InverseProblem, NoiseLevel, Video
from visionxl.solvers.consistency import NoiseAware
from visionxl.solvers.contract import check_linear
from visionxl.solvers.determined import determined_share
from visionxl.solvers.gain import gain_of, is_fine
from visionxl.solvers.spread import LEAST_NOISE, ConstantSpread
from visionxl.solvers.trajectories import Trajectories
from visionxl.validators import above_zero, from_one

PATCH = 8  # pixels, a side
STRIDE = 3  # pixels between patches
TIMES = 5  # frames together: two on each side; near an end, the first or last five
LEAST = 2.7  # coefficients that are kept, in units of the error
SPREAD = 2.0  # the consistency's r_t, in units of the error: the shrinkage makes errors itself;
SURE = 1.0  # less by this in the last turn if the measurement determines the whole video
NOISES = 5.0  # the first error, in units of the noise, if the measurement determines the video
FALL = 5.0  # the first error, in units of the last
PATCHES_AT_ONCE = 2**12  # patches at once, at most
FEW_PATCHES = 2**7  # at least, half a megabyte: for small frames call overhead would dominate


@frozen
class MotionShrinkage:
    """Shrinkage along the motion, alternating with noise-aware consistency.

    The motion is estimated once, before the first turn: a video shrunk along a motion then shows
    that motion, even where it is wrong.

    It removes what does not repeat from frame to frame, and needs no model. It is a final stage:
    as ``Sampler.finish`` it works on a nearly correct estimate. Without noise in the measurement
    (less than ``LEAST_NOISE``) it changes nothing: an exact measurement determines even fine
    detail, which a threshold would remove.

    The consistency's spread is twice the error, because the threshold also removes detail. Where
    the measurement determines nearly all of a video (:func:`determined_share`), little detail is
    missing, and the measurement would restore mostly noise: there the factor falls from turn to
    turn, to 1 in the last.

    Args:
        error: of the first estimate, a standard deviation in units of the video's range, which the
            last of several turns uses a fifth of. Where the measurement determines nearly all of a
            video the estimate is better than that: there it is at most five times the noise.
        turns: of denoiser and consistency.
    """

    error: float = field(default=0.05, validator=above_zero)
    turns: int = field(default=6, validator=from_one)

    def correct(self, estimate: Video, problem: InverseProblem, level: NoiseLevel) -> Correction:
        check_linear(problem, self)
        video, gain = estimate, gain_of(problem.operator, estimate)
        noise = problem.noise_std / gain
        if noise < LEAST_NOISE:
            return Correction(video, 0, residuals=(), stopped="no noise")
        share = determined_share(problem.operator, video, problem.noise_std)
        first = self.error * min(1.0, NOISES * noise / self.error) ** share**2
        paths = Trajectories.of(video, is_fine(problem.operator, video, gain))
        for turn in range(self.turns):
            part = turn / max(self.turns - 1, 1)
            error = first * FALL**-part
            cleaned = shrunk(video, error, paths)
            spread = error * (SPREAD - SURE * part * share**2)
            consistency = NoiseAware(ConstantSpread(spread), LEAST_NOISE * gain)
            found = consistency.correct(cleaned, problem, level)
            video = found.video
            if found.broke_down:
                return Correction(video, turn + 1, residuals=(), stopped=found.stopped)
        return Correction(video, self.turns, residuals=(), stopped="turns used up")


def shrunk(video: Video, error: float, paths: Trajectories | None = None) -> Video:
    """Hard thresholding of the cosine coefficients of patches in space and time, along the motion.

    Five frames together: two on each side or, near an end, the first or last five.
    Overlapping patches are averaged, those with fewer coefficients kept counting more.

    Args:
        video: (frames, channels, height, width).
        error: standard deviation of white noise in it, in units of its values.
        paths: the motion; by default the video's own.
    """
    paths = Trajectories.of(video) if paths is None else paths
    result = torch.empty_like(video)
    times = min(TIMES, len(video))
    over_time = cosines(times).to(video)
    over_colour = cosines(video.shape[1]).to(video)
    line = cosines(PATCH).to(video)
    basis = torch.kron(line, line)
    height, width = video.shape[-2:]
    more = [(max(PATCH - size, 0) + -max(size - PATCH, 0) % STRIDE) for size in (height, width)]
    for t in range(len(video)):
        first = min(max(t - TIMES // 2, 0), len(video) - times)
        volume = paths.around(video, t, first, first + times)
        volume = torch.einsum("ab,cd,bdhw->achw", over_time, over_colour, volume)
        volume = pad(volume, (0, more[1], 0, more[0]), mode="replicate")
        frame = _shrunk_volume(volume, basis, LEAST * error, over_time[:, t - first])
        result[t] = torch.einsum("cd,chw->dhw", over_colour, frame[..., :height, :width])
    return result


def _shrunk_volume(volume: Tensor, basis: Tensor, threshold: float, there: Tensor) -> Tensor:
    """One frame of a volume whose patches' small coefficients are set to 0.

    Args:
        volume: cosines over time and colour, (times, channels, height, width).
        basis: of a patch, (PATCH**2, PATCH**2).
        threshold: of the coefficients.
        there: what the cosines over time are in that frame, (times,).
    """
    channels, height, width = volume.shape[1:]
    total = volume.new_zeros(channels, height, width)
    weights = volume.new_zeros(1, height, width)
    for rows in _strips(height, width):
        strip = volume[:, :, rows]
        size = tuple(strip.shape[-2:])
        found = _coefficients(strip, basis)
        mean = found[0, :, 0].clone()  # it is kept, however small
        found[0, :, 0] = 0
        found = hardshrink(found, threshold)
        weight = 1 / (channels + torch.count_nonzero(found, (0, 1, 2))).to(found)
        found[0, :, 0] = mean
        back = basis.T @ (torch.einsum("a,acpl->cpl", there, found) * weight)
        total[:, rows] += fold(back, size, PATCH, stride=STRIDE)[:, 0]
        weight = weight.expand(1, PATCH**2, -1)
        weights[:, rows] += fold(weight, size, PATCH, stride=STRIDE)[0]
    return total / weights


def _coefficients(volume: Tensor, basis: Tensor) -> Tensor:
    """The cosines of a volume's patches, (times, channels, PATCH**2, patches)."""
    pictures = volume.flatten(0, 1).unsqueeze(1)
    if pictures.device.type == "cpu":  # a GPU would round to TF32, which is coarser than errors
        found = conv2d(pictures, basis.view(-1, 1, PATCH, PATCH), stride=STRIDE).flatten(2)
    else:
        found = basis @ unfold(pictures, PATCH, stride=STRIDE)
    return found.unflatten(0, volume.shape[:2])


def _strips(height: int, width: int) -> Iterator[slice]:
    """Strips of rows with few patches, each patch in exactly one strip.

    The coefficients of 5 frames take 36 times the memory of one frame (64 / 9 * 5): they are held
    for ``PATCHES_AT_ONCE`` patches, in small frames for a sixteenth of them, but for no fewer than
    ``FEW_PATCHES``; and for one row at least.
    """
    down, across = ((size - PATCH) // STRIDE + 1 for size in (height, width))
    rows = max(min(PATCHES_AT_ONCE // across, max(down // 16, FEW_PATCHES // across)), 1)
    for first in range(0, down, rows):
        last = min(first + rows, down) - 1
        yield slice(STRIDE * first, STRIDE * last + PATCH)
