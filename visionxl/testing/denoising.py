"""The test of a denoiser: that it denoises."""

from visionxl.errors import InputError
from visionxl.protocols import LatentPrior, NoiseLevel, Video
from visionxl.simulation import check_truth
from visionxl.testing.laws import Draws, check_value, require

SHARES = (0.25, 0.5, 1.0, 2.0)  # noise over the latents' own standard deviation
GRID = tuple(n / 200 for n in range(1, 200))


def check_denoising(prior: object, video: Video, *, seed: int = 0) -> None:
    """Test that ``denoise`` removes noise from the latents of a video.

    :func:`check_prior` tests the form of a prior's answers, which a network with a wrong sign, time
    or scale has, too. Here noise is added to the latents of a real video, a quarter to twice as
    strong as they vary. Tweedie's estimate, the posterior mean (Efron, Tweedie's Formula and
    Selection Bias, 2011), has the least mean square error on average over videos of the prior's
    kind. So on a typical one it is better than the best single factor (Wiener's), which shrinks all
    latents towards their channel's mean by ``s^2 / (s^2 + r^2)``, with ``s`` their standard
    deviation and ``r`` that of the noise. That much is required, of the root mean square over all
    latents. ``s`` is taken from the video itself: on one of very low contrast (haze, night) even an
    exact denoiser can fail.

    Args:
        prior: that keeps the laws of priors, without guidance, of a trained network.
        video: of the kind that it was trained for and of usual contrast, (frames, channels,
            height, width) in [-1, 1]; two frames are enough.
        seed: of the noise.

    Raises:
        InputError: the video is none, or its latents are constant.
        ContractError: at some level the answers are no better than shrunken latents.
    """
    check_value(prior, "schedule", "encode", "decode", "denoise")
    assert isinstance(prior, LatentPrior)  # it has them all
    check_truth(video)
    latent = prior.encode(video)
    mean = latent.mean((0, 2, 3), keepdim=True)
    size = (latent - mean).square().mean().sqrt().item()
    if not size > 0:
        raise InputError("video: its latents are constant; give one that shows something")
    noise = Draws(seed, latent.dtype, latent.device).noise(latent.shape)
    levels = [prior.schedule.level(time) for time in GRID]
    for share in SHARES:
        level = min(levels, key=lambda one: abs(one.noise / one.signal - share * size))
        clean = prior.denoise(level.signal * latent + level.noise * noise, level).clean
        _check_error(prior, level, (clean - latent).square().mean().sqrt().item(), size)


def _check_error(prior: LatentPrior, level: NoiseLevel, error: float, size: float) -> None:
    far = level.noise / level.signal
    shrunken = (size**-2 + far**-2) ** -0.5
    require(
        error < shrunken,
        prior,
        "denoise is nearer to the clean latents than the noisy latents, shrunken, are",
        f"at time {level.time:g} the noise is {far:.3g}, the error of its clean latents {error:.3g}"
        f", and that of the shrunken ones {shrunken:.3g} (root mean squares)",
        "compare with the network's training: the sign of what it predicts (noise, v, or a flow's "
        "velocity, noise - clean or clean - noise), the time or noise level that it is given, the "
        "scale of its input and latents, and the schedule (a flow needs a FlowSchedule); and take "
        "a video of usual contrast",
    )
