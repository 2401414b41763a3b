"""The protocols of the library and the small values they exchange.

A restoration is ``y = A x + noise`` (an :class:`InverseProblem` with a
:class:`ForwardOperator`), an image prior (:class:`LatentPrior`), a pull towards the measurement
(:class:`DataConsistency`) and a place to start (:class:`Initializer`). Implementations are plain
classes with these methods; nothing has to be inherited.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol, no_type_check, runtime_checkable

from attrs import field, frozen
from jaxtyping import Float
from torch import Generator, Tensor

from visionxl.errors import InputError

NOT_A_NUMBER = "breakdown: a value is not a number or infinite"  # why a Correction stopped
FAR = 16.0  # no video in units of the range [-1, 1] has such values, and one of 0 to 255 has

Video = Float[Tensor, "frames channels height width"]
"""A video: values in [-1, 1], shape (frames, channels, height, width)."""

Latent = Float[Tensor, "frames z_channels z_height z_width"]
"""One latent per frame, scaled to about unit variance."""

Measurement = Float[Tensor, "..."]
"""What a forward operator returns; its shape depends on the operator."""


@runtime_checkable
class ForwardOperator(Protocol):
    """A linear map ``A`` from a video to a measurement, with its exact adjoint.

    Law: ``<A x, y> == <x, A^T y>`` to rounding, for every video shape that :meth:`forward`
    accepts (:func:`visionxl.operators.check_adjoint`). Both methods keep dtype and device.
    """

    @abstractmethod
    def forward(self, video: Video) -> Measurement:
        """``A x``. Raises :class:`~visionxl.errors.InputError` for a shape it cannot take."""
        ...

    @abstractmethod
    def adjoint(self, measurement: Measurement) -> Video:
        """``A^T y``, of the shape of the video that was measured."""
        ...


@runtime_checkable
class NonlinearOperator(Protocol):
    """A map ``f`` from a video to a measurement that is not linear, with its derivative.

    Law: ``f(x + h v) == f(x) + h J v`` up to terms of higher order in ``h``, with
    ``J = linearize(x)``, wherever ``f`` is differentiable. Everything keeps dtype and device.
    """

    @abstractmethod
    def forward(self, video: Video) -> Measurement:
        """``f(x)``. Raises :class:`~visionxl.errors.InputError` for a shape it cannot take."""
        ...

    @abstractmethod
    def linearize(self, video: Video) -> ForwardOperator:
        """The Jacobian at ``video``: a linear operator with its exact adjoint."""
        ...

    @abstractmethod
    def lift(self, measurement: Measurement) -> Video:
        """A video that looks like ``measurement``, of the shape that was measured."""
        ...


def shape_of(value: object) -> str:
    """A tensor's shape, for a line in place of its values."""
    return f"<{'x'.join(map(str, getattr(value, 'shape', ())))}>"


@frozen
class NoiseLevel:
    """A point of a noise schedule: ``z_t = signal * z_0 + noise * eps``.

    ``time`` runs from 0 (clean) to 1 (pure noise). For a variance-preserving schedule
    ``signal**2`` is the papers' alpha-bar and ``signal**2 + noise**2 == 1``.
    """

    time: float
    signal: float
    noise: float


@frozen(eq=False)
class Passage(NoiseLevel):
    """The next noise level, and everything that a renoise may use to get there.

    Args:
        before: the level of the current step.
        latent: ``z_t`` at that level, with which the step began.
        denoised: the denoiser's clean latents for it, before any correction.
        problem: the inverse problem, for a renoise that depends on the measurement.
        consistency: the one that made the correction, for the same purpose.
    """

    before: NoiseLevel
    latent: Latent = field(repr=shape_of)
    denoised: Latent = field(repr=shape_of)
    problem: "InverseProblem"
    consistency: "DataConsistency"


@runtime_checkable
class NoiseSchedule(Protocol):
    """The signal and noise of every time; variance-preserving and flow schedules alike."""

    @abstractmethod
    def level(self, time: float) -> NoiseLevel:
        """The level at ``time`` in [0, 1]."""
        ...


@frozen(eq=False)
class Denoised:
    """A denoiser's output at ``z_t``.

    ``clean`` is Tweedie's estimate of ``z_0`` (guided, if the prior is). ``noise`` is the ``eps``
    to renoise with: the unguided one under CFG++ (Chung et al. 2024). Priors do not set
    ``unmeasured``: it is the prior's own ``clean``, for a method whose condition changes ``clean``
    but not ``noise``.
    """

    clean: Latent = field(repr=shape_of)
    noise: Latent = field(repr=shape_of)
    unmeasured: Latent | None = field(default=None, repr=False)


@runtime_checkable
class LatentPrior(Protocol):
    """An image model: an autoencoder and a denoiser of its latents.

    Frames are independent: ``prior.encode(video)[i]`` depends on ``video[i]`` alone, so the loop
    may call it a few frames at a time. Results keep the dtype and device of the argument,
    whatever the networks use inside. Conditioning (a prompt, a guidance scale) is set in the prior.
    """

    @property
    @abstractmethod
    def schedule(self) -> NoiseSchedule:
        """The noise schedule the denoiser was trained with."""
        ...

    @abstractmethod
    def encode(self, video: Video) -> Latent:
        """The latents of a video, deterministic (the mode of the encoder's posterior)."""
        ...

    @abstractmethod
    def decode(self, latent: Latent) -> Video:
        """The video of some latents."""
        ...

    @abstractmethod
    def denoise(self, latent: Latent, level: NoiseLevel) -> Denoised:
        """Clean latents and noise of ``latent`` at ``level``."""
        ...


def check_noise_std(value: Any) -> None:
    """Raise InputError unless ``value`` is a standard deviation."""
    try:
        sound = bool(0 <= value < float("inf"))
    except (TypeError, ValueError, RuntimeError):  # several numbers are neither above nor below
        sound = False
    if not sound:
        raise InputError(
            f"noise_std {value!r} is not a standard deviation: give one finite number >= 0, "
            "in units of the measurement; where each value has its own, divide measurement and "
            "operator by it"
        )


def _number(value: Any) -> Any:
    """A number of whatever kind as Python's own, which records hold; all else as it is."""
    try:
        return value if isinstance(value, str | bool) else float(value)
    except (TypeError, ValueError, RuntimeError):
        return value


def _check_measurement(_: object, __: object, value: object) -> None:
    if isinstance(value, Tensor) and value.is_complex():
        raise InputError(
            f"measurement is {value.dtype}: give torch.view_as_real(y), real and imaginary part "
            "along a last axis, and have forward return the same"
        )
    if isinstance(value, Tensor) and not value.is_floating_point():
        raise InputError(
            f"measurement is {value.dtype}: expected a tensor of floating point numbers; for 8-bit "
            "pictures give y.float() / 127.5 - 1"
        )
    if isinstance(value, Tensor):
        return
    kind, way_out = type(value).__name__, "torch.from_numpy(y) for an array"
    if hasattr(value, "video"):
        way_out = "clip.video for a clip"
    elif hasattr(value, "forward"):
        way_out = "the operator first, and then the measurement"
    elif isinstance(value, list | tuple):
        way_out = "one problem for each, and visionxl.operators.stacked makes one of them"
    raise InputError(f"measurement is {kind}: expected a tensor of torch; give {way_out}")


@no_type_check  # `restore` says what is wrong with a value that is neither
def _operator(value: ForwardOperator | NonlinearOperator) -> Any:
    return value  # it is read as a ForwardOperator: see InverseProblem


@frozen(eq=False)
class InverseProblem:
    """``y = A x + noise``: find ``x``.

    Args:
        operator: ``A``; it may be a :class:`NonlinearOperator`. It is typed as linear, so that a
            consistency may call its ``adjoint``: ``restore`` refuses one that is not linear, unless
            the method linearizes it.
        measurement: ``y``, of the shape that ``operator.forward`` returns for videos in [-1, 1].
            One of videos in [0, 1] is not refused: docs/own-operator explains how to convert it.
        noise_std: standard deviation of the white Gaussian noise in ``y``, in ``y``'s own units:
            those of the range [-1, 1] for a blur or an average of videos. 0 means no noise: if
            there is some, give its level (:func:`~visionxl.measurements.estimate_noise` finds it).
    """

    operator: ForwardOperator = field(converter=_operator)
    measurement: Tensor = field(repr=shape_of, validator=_check_measurement)
    noise_std: float = field(
        default=0.0, converter=_number, validator=lambda _, __, std: check_noise_std(std)
    )


@frozen(eq=False)
class Correction:
    """A video pulled towards the measurement, and how the solver got there.

    ``residuals`` are the solver's own residual norms relative to its right-hand side, beginning
    with the initial one; ``stopped`` states why it ended, and begins with "breakdown" if the result
    cannot be trusted.
    """

    video: Video = field(repr=shape_of)
    iterations: int = 0
    residuals: tuple[float, ...] = ()
    stopped: str = "done"

    @property
    def broke_down(self) -> bool:
        """Whether the result cannot be trusted."""
        return self.stopped.startswith("breakdown")


@runtime_checkable
class DataConsistency(Protocol):
    """Moves an estimate towards ``{x : A x = y}``.

    It may set ``takes_nonlinear = True``, if it also solves for a :class:`NonlinearOperator`, and
    ``fits_noise = True``, if its results are no farther from the measurement than the noise:
    ``restore`` then warns of a result that is farther.
    """

    @abstractmethod
    def correct(self, estimate: Video, problem: InverseProblem, level: NoiseLevel) -> Correction:
        """The corrected estimate. ``level`` determines how far the estimate may be trusted.

        ``estimate`` must not be changed in place: the loop yields it, and uses it to see whether
        anything changed.
        """
        ...


@runtime_checkable
class Initializer(Protocol):
    """Makes the latents that the loop starts from."""

    @abstractmethod
    def start(
        self,
        problem: InverseProblem,
        prior: LatentPrior,
        levels: Sequence[NoiseLevel],
        generator: Generator,
    ) -> Latent:
        """Latents at ``levels[0]``, one per frame. ``levels`` fall from noisy to clean."""
        ...


@frozen
class StepRecord:
    """The figures of one step: one entry of the trace.

    ``data_residual`` is the root mean square of ``y - A x`` after the correction, in units of
    ``y``; with a correct model it falls to the noise level. In the last step it and
    ``seconds`` include the method's finish. ``peak_bytes`` is the
    process's (on CUDA: the device allocator's) high-water mark so far.
    """

    index: int
    time: float
    data_residual: float
    iterations: int
    residuals: tuple[float, ...]
    stopped: str
    seconds: float
    peak_bytes: int

    @property
    def broke_down(self) -> bool:
        """Whether the correction cannot be trusted."""
        return self.stopped.startswith("breakdown")


@frozen(eq=False)
class State:
    """The state of the loop between two steps: all it needs to go on.

    Args:
        index: of the next step.
        latent: at that step's level.
        chance: the generator's state, as ``generator.get_state()`` returns it.
        time: of that step's level.
    """

    index: int
    latent: Latent = field(repr=shape_of)
    chance: Tensor = field(repr=shape_of)
    time: float


@frozen(eq=False)
class Step:
    """What the loop yields after each step.

    Args:
        level: of the step.
        decoded: the estimate before the correction.
        corrected: the estimate after it.
        record: the step's figures.
        following: the state from which ``trajectory`` can go on; None after the last step.
    """

    level: NoiseLevel
    decoded: Video = field(repr=shape_of)
    corrected: Video = field(repr=shape_of)
    record: StepRecord
    following: State | None


@frozen(eq=False)
class Restoration:
    """The restored video and the trace of every step."""

    video: Video = field(repr=shape_of)
    trace: tuple[StepRecord, ...] = field(repr=lambda trace: f"<{len(trace)} steps>")
