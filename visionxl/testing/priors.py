"""The contract test of priors."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from visionxl.operators.checks import check_video_shape
from visionxl.protocols import Denoised, LatentPrior, NoiseLevel
from visionxl.solvers.answers import check_schedule
from visionxl.testing.laws import (
    ContractError,
    Draws,
    apart,
    ask,
    check_shape,
    check_value,
    require,
)

NEARLY = 0.1  # mean distance from a ramp in [0, 1]: a decoder to [0, 1] comes nearer
TIMES = (0.001, 0.05, 0.3, 0.8)  # the first is where every leading grid ends
End = tuple[slice, str]
ENDS: tuple[End, End] = ((slice(0, 1), "first"), (slice(-1, None), "last"))
GRID = (0.001, *(n / 40 for n in range(1, 40)), 0.999)


def check_prior(
    prior: object,
    shape: Sequence[int],
    *,
    guided: bool = False,
    tolerance: float = 1e-4,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> None:
    """Test a prior against the laws of :class:`~visionxl.protocols.LatentPrior`.

    The schedule falls from signal to noise. ``encode``, ``decode`` and ``denoise`` keep frames,
    dtype and device, change nothing in place, draw nothing at random, and treat every frame
    independently; ``decode(encode(video))`` has the video's shape, and is not in [0, 1]. The clean
    latents and the noise that ``denoise`` returns combine to the latents it was given:
    ``z_t = signal * clean + noise * eps``. Whether it removes noise at all, which a network with
    random weights does not, :func:`check_denoising` tests.

    Args:
        prior: to test.
        shape: (frames, channels, height, width) of videos that it takes, of 2 frames or more.
        guided: the clean latents are guided and the noise is not (CFG++), so that together they
            need not make the latents.
        tolerance: share by which answers that should be equal may differ; for networks in half
            precision about 1e-2.
        dtype: of the tensors.
        device: of the tensors.
        seed: of the random video.

    Raises:
        InputError: the schedule is not a schedule, or the shape has a single frame.
        ContractError: a law is broken.
    """
    check_value(prior, "schedule", "encode", "decode", "denoise")
    assert isinstance(prior, LatentPrior)  # it has them all
    check_video_shape(shape, least=2)  # with fewer nobody sees whether frames are independent
    check_schedule(prior)
    levels = [_level(prior, time) for time in TIMES]
    _check_falling(prior, [_level(prior, time) for time in GRID])
    video = Draws(seed, dtype, device).video(shape)
    latent = _frames(prior, "encode", prior.encode, video, tolerance)
    decoded = _frames(prior, "decode", prior.decode, latent, tolerance)
    way_out = "crop, or pad and refuse sizes that do not fit: visionxl.Padded wraps a prior so"
    words = "a video of the shape that was encoded"
    check_shape(prior, "decode", decoded, shape, words, way_out)
    _check_range(prior, torch.linspace(-1, 1, shape[-1]).to(video).expand_as(video).contiguous())
    for level in levels:
        noise = Draws(seed + 1, dtype, device).noise(latent.shape)
        _check_denoise(prior, level.signal * latent + level.noise * noise, level, guided, tolerance)


def _check_range(prior: LatentPrior, ramp: Tensor) -> None:
    """Only a range of [0, 1] is refused: an untrained network may decode the ramp to anything."""
    decoded = prior.decode(prior.encode(ramp))
    require(
        not (decoded - (ramp + 1) / 2).abs().mean() < NEARLY,
        prior,
        "decode returns videos in [-1, 1]",
        f"for values from -1 to 1 it returned {decoded.min().item():.2g} to "
        f"{decoded.max().item():.2g}",
        "return 2 * decoded - 1, and have encode take (video + 1) / 2 where its network wants that",
    )


def _level(prior: LatentPrior, time: float) -> NoiseLevel:
    level = prior.schedule.level(time)
    law = "the schedule gives a NoiseLevel at every time in [0, 1]"
    if not isinstance(level, NoiseLevel):
        seen = f"level({time}) is {type(level).__name__}"
        raise ContractError(prior, law, seen, "return NoiseLevel(time, signal, noise)")
    positive = 0 < level.signal < float("inf") and 0 < level.noise < float("inf")
    require(positive, prior, law, f"level({time}) is {level}", "give a signal and a noise above 0")
    return level


def _check_falling(prior: object, levels: Sequence[NoiseLevel]) -> None:
    shares = [level.noise / level.signal for level in levels]
    # A schedule of few levels may have the same one at neighbouring times.
    falls = [i for i in range(1, len(shares)) if shares[i] < shares[i - 1]]
    falls += [len(shares) - 1] if shares[-1] <= shares[0] else []
    where = [f"{shares[i]:.3g} at time {GRID[i]:g}" for n in falls[:1] for i in (n - 1, n)]
    require(
        not falls,
        prior,
        "the schedule runs from clean at time 0 to noise at time 1",
        f"noise / signal is {' and '.join(where)}",
        "turn it around, or map times in [0, 1] to the model's own first",
    )


def _frames(
    prior: LatentPrior, method: str, action: Any, given: Tensor, tolerance: float
) -> Tensor:
    answer = ask(prior, method, lambda: action(given), given, tolerance=tolerance)
    _check_frames(prior, method, answer, given)
    for end in ENDS:
        _check_independent(prior, method, answer, end, action(given[end[0]]), tolerance)
    return answer


def _check_frames(prior: object, method: str, answer: Tensor, given: Tensor) -> None:
    require(
        answer.ndim == 4 and len(answer) == len(given),
        prior,
        f"{method} returns as many frames as it was given",
        f"it returned {tuple(answer.shape)} for {tuple(given.shape)}",
        "return four dimensions, the first of them frames",
    )


def _check_independent(
    prior: object, method: str, answer: Tensor, end: End, alone: Tensor, tolerance: float
) -> None:
    place, name = end
    far = apart(answer[place], alone)
    require(
        far <= tolerance,
        prior,
        f"{method} treats every frame by itself",
        f"the {name} frame alone got an answer {far:.1e} away from the one it got among "
        f"{len(answer)}, as a share of its size",
        "take statistics (means, norms, attention) over a frame and not over the batch",
    )


def _check_denoise(
    prior: LatentPrior, latent: Tensor, level: NoiseLevel, guided: bool, tolerance: float
) -> None:
    def parts(answer: object) -> tuple[Tensor, Tensor]:
        if not isinstance(answer, Denoised):
            law, seen = "denoise returns Denoised", f"it returned {type(answer).__name__}"
            raise ContractError(prior, law, seen, "return Denoised(clean, noise)")
        return answer.clean, answer.noise

    def question() -> Any:  # of a part that may answer anything
        return prior.denoise(latent, level)

    found = ask(prior, "denoise", question, latent, tensors=parts, tolerance=tolerance)
    for part in (found.clean, found.noise):
        words = "clean latents and noise of the latents' shape"
        check_shape(prior, "denoise", part, latent.shape, words, "do not crop or pad in denoise")
    for end in ENDS:
        alone = prior.denoise(latent[end[0]], level)
        for among, single in zip(parts(found), parts(alone), strict=True):
            _check_independent(prior, "denoise", among, end, single, tolerance)
    far = apart(latent, level.signal * found.clean + level.noise * found.noise)
    require(
        guided or far <= tolerance,
        prior,
        "the clean latents and the noise make the latents, z_t = signal * clean + noise * eps",
        f"at time {level.time} they make something {far:.1e} away, as a share of its size",
        "derive one from the other: noise = (latent - level.signal * clean) / level.noise; if both "
        "come from what the network predicts, one has the wrong sign, or the schedule is not the "
        "network's (a flow needs a FlowSchedule); say guided=True where the clean latents are "
        "guided and the noise is not",
    )
