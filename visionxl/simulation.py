"""Make an inverse problem from a known video."""

import warnings

from torch import Generator, Tensor

from visionxl.errors import InputError, name_of
from visionxl.protocols import (
    FAR,
    ForwardOperator,
    InverseProblem,
    Measurement,
    NonlinearOperator,
    Video,
    check_noise_std,
)
from visionxl.randomness import check_generator, draw_noise
from visionxl.validators import left_alone


def simulate(
    video: Video,
    operator: ForwardOperator | NonlinearOperator,
    noise_std: float = 0.0,
    *,
    generator: Generator,
) -> InverseProblem:
    """``y = A x + noise_std n`` with white Gaussian ``n``.

    Args:
        video: the truth, (frames, channels, height, width) in [-1, 1]. One in [0, 1] may be a
            bright one, and is warned of: if it is none, take ``2 * video - 1`` of it.
        operator: ``A``, linear or not.
        noise_std: of the noise, in units of the measurement.
        generator: of the noise.

    Raises:
        InputError: the video is not of that kind, or another argument cannot be used.
    """
    check_truth(video)
    _check_dark(video)
    check_measures(operator)
    check_noise_std(noise_std)
    if noise_std > 0:
        check_generator(generator)
    with left_alone(operator, "forward", "video", video):
        measured = _measured(operator, video)
    if not isinstance(measured, Tensor):
        raise InputError(
            f"forward of {name_of(operator)} returned {type(measured).__name__}: expected a tensor"
        )
    if measured.ndim == 0:
        raise InputError(
            f"forward of {name_of(operator)} returned a single number: expected a tensor with the "
            "measurement's frames first"
        )
    if measured.is_complex():
        raise InputError(
            f"{name_of(operator)} measures complex numbers: give real and imaginary part along "
            "a last axis of two, torch.view_as_real(...), and undo it in adjoint"
        )
    return InverseProblem(operator, noisy(measured, noise_std, generator), noise_std)


def _measured(operator: ForwardOperator | NonlinearOperator, video: Video) -> object:
    """Whatever ``forward`` answers; an InputError that names the operator where it cannot."""
    try:
        return operator.forward(video)
    except (RuntimeError, ValueError, IndexError) as error:
        # Torch says of a wrong shape that it is a RuntimeError, and nothing more special.
        if type(error) not in (RuntimeError, ValueError, IndexError) or "memory" in str(error):
            raise
        raise InputError(
            f"forward of {name_of(operator)} raised {type(error).__name__} for a video of "
            f"{tuple(video.shape)} ({error}): give a video of the shape that it is made for, or "
            "mend it"
        ) from error


def noisy(measurement: Measurement, noise_std: float, generator: Generator) -> Measurement:
    """A measurement with white Gaussian noise, drawn in float32."""
    if noise_std <= 0:
        return measurement
    return measurement + noise_std * draw_noise(measurement, len(measurement), generator)


def check_measures(operator: object) -> None:
    """Raise InputError unless ``operator`` can measure videos."""
    if isinstance(operator, str):
        raise InputError(
            f"operator {operator!r} is a name: give a value, as visionxl.operators.task_named"
            f"({operator!r})(*video.shape[:1], *video.shape[2:], generator)"
        )
    if isinstance(operator, type):
        name = operator.__name__
        raise InputError(f"operator {name} is a class: give a value of it, as {name}(...)")
    if not hasattr(operator, "forward"):
        raise InputError(f"operator {name_of(operator)} has no method forward(video): give one")


def _check_dark(video: Video) -> None:
    """Warn of a video without a dark pixel, which is probably one of [0, 1]."""
    low, high = video.min(), video.max()
    if 0 <= low < 0.1 and 0.9 < high <= 1:
        warnings.warn(
            f"video has values from {low:.2g} to {high:.2g}, of [-1, 1], in which 0 is grey: for "
            "values from 0 to 1, as of torchvision, give 2 * video - 1",
            stacklevel=3,
        )


def check_truth(video: object) -> None:
    """Raise InputError unless ``video`` is a video of finite values, about -1 to 1."""
    if not isinstance(video, Tensor) and hasattr(video, "forward"):
        raise InputError(
            f"video {name_of(video)} is an operator: give the video first, then the operator"
        )
    if not isinstance(video, Tensor):
        raise InputError(
            f"video is a {type(video).__name__}: expected a tensor of torch; for an array use "
            "torch.from_numpy(video)"
        )
    if not video.is_floating_point():
        kind = video.dtype
        raise InputError(
            f"video is {kind}: expected floating point numbers in [-1, 1]; for 8-bit pictures use "
            "video.float() / 127.5 - 1"
        )
    if video.ndim != 4 or (video.shape[-1] in (1, 3) and video.shape[1] > 4):
        raise InputError(
            f"video has shape {tuple(video.shape)}: expected (frames, channels, height, width); "
            "unsqueeze a picture's first dimension, and permute(0, 3, 1, 2) where channels are last"
        )
    if not video.numel():
        raise InputError(f"video of shape {tuple(video.shape)} has no values: give some frames")
    if not bool(video.isfinite().all()):
        count = int((~video.isfinite()).sum())
        raise InputError(f"video has {count} values that are not finite: look where they come from")
    if video.abs().max() > FAR:
        raise InputError(
            f"video has values up to {video.abs().max():.4g}: expected about -1 to 1; for values "
            "from 0 to 255 use video / 127.5 - 1"
        )
