"""Methods, as values."""

import math
from collections.abc import Callable

from attrs import evolve

from visionxl.errors import InputError, nearest
from visionxl.init.inversion import BatchConsistentInversion, CorrectedInversion
from visionxl.protocols import DataConsistency, Initializer
from visionxl.solvers import peers
from visionxl.solvers.consistency import NoiseAware
from visionxl.solvers.linearized import Linearized
from visionxl.solvers.loop import LowPass, Renoise, Sampler
from visionxl.solvers.parts import ScheduledLowPass, leading_times
from visionxl.solvers.renoising import SharedNoise
from visionxl.solvers.shrinkage import MotionShrinkage
from visionxl.solvers.space_time import SpaceTimeTV
from visionxl.solvers.spread import ConstantSpread


def vision_xl(
    *,
    count: int = 25,
    start: float = 0.3,
    initializer: Initializer | None = None,
    consistency: DataConsistency | None = None,
    low_pass: LowPass | None = None,
    renoise: Renoise | None = None,
) -> Sampler:
    """VISION-XL (Kwon & Ye, arXiv 2412.00156), with exact operators.

    25 leading-spaced times up to 0.3, batch-consistent inversion, a low-pass of
    ``sqrt(2 (1 - alpha_bar))`` pixels, shared noise with eta 0.2. It differs from the paper in
    two ways: the consistency knows the noise (``consistency=PlainCG(10)`` is the paper's), and the
    last step ends with the consistency, whose video is returned.

    Args:
        count: times over the whole schedule; it takes those up to ``start``, 8 of 25 and 3 of 10.
        start: latest time, the paper's tau.
        initializer: default ``BatchConsistentInversion()``.
        consistency: default ``NoiseAware()``.
        low_pass: default ``ScheduledLowPass()``.
        renoise: default ``SharedNoise(0.2)``.
    """
    return Sampler(
        times=leading_times(count, start),
        initializer=BatchConsistentInversion() if initializer is None else initializer,
        consistency=NoiseAware() if consistency is None else consistency,
        low_pass=ScheduledLowPass() if low_pass is None else low_pass,
        renoise=SharedNoise() if renoise is None else renoise,
    )


def vision_tv(
    *,
    count: int = 25,
    start: float = 0.15,
    consistency: SpaceTimeTV | None = None,
) -> Sampler:
    """The default: :func:`vision_xl` with total variation along edges and motion.

    An image prior sees each frame alone. Here the consistency also uses that frames follow one
    another, along the motion found in the estimate (:class:`SpaceTimeTV`), and the loop starts
    from what the measurement and the total variation determine alone: near enough that half of
    the paper's steps suffice. Finally, what does not repeat from frame to frame is removed from the
    last estimate (:class:`MotionShrinkage`; ``attrs.evolve(vision_tv(), finish=None)`` omits this).

    Operators without factors take several times as long: each iteration of the total variation then
    needs a few conjugate gradients.

    Args:
        count: times over the whole schedule; it takes those up to ``start``, 4 of 25 and 2 of 10.
        start: latest time.
        consistency: default ``SpaceTimeTV()``; the start is a :class:`CorrectedInversion` by the
            same with an infinite spread. For another kind, which raises InputError here, replace
            the start too and omit the finish (docs/own-consistency).
    """
    consistency = SpaceTimeTV() if consistency is None else consistency
    if not isinstance(consistency, SpaceTimeTV):
        raise InputError(
            f"consistency {consistency!r} is no SpaceTimeTV, from which this method also makes its "
            "start: take vision_xl(consistency=...), or replace all three with attrs.evolve("
            "vision_tv(), initializer=..., consistency=..., finish=...)"
        )
    alone = evolve(consistency, spread=ConstantSpread(math.inf))
    return Sampler(
        times=leading_times(count, start),
        initializer=CorrectedInversion(alone, at_once=True),
        consistency=consistency,
        low_pass=ScheduledLowPass(),
        renoise=SharedNoise(),
        finish=MotionShrinkage(),
    )


def gauss_newton(*, count: int = 25, start: float = 0.3) -> Sampler:
    """:func:`vision_tv` for operators that are not linear, and for those that are.

    Its consistency and its finish linearize the operator at every estimate (:class:`Linearized`).
    It begins at the paper's time, and trusts the prior more than :func:`vision_tv` does: where the
    curve is flat, the measurement carries no information. Slopes vary between pixels, so a step of
    the data term takes twice as many conjugate gradients.

    Args:
        count: times over the whole schedule; it takes those up to ``start``, as ``vision_xl``.
        start: latest time.
    """
    alone = Linearized(SpaceTimeTV(ConstantSpread(math.inf), data_iterations=10), rounds=3)
    return evolve(
        vision_tv(count=count, start=start),
        consistency=Linearized(SpaceTimeTV(ConstantSpread(0.1), data_iterations=10)),
        initializer=CorrectedInversion(alone, at_once=True),
        finish=Linearized(MotionShrinkage()),
    )


METHODS: dict[str, Callable[..., Sampler]] = {
    method.__name__: method
    for method in (
        vision_tv,
        vision_xl,
        gauss_newton,
        peers.svi,
        peers.dds,
        peers.diffpir,
        peers.ddnm,
        peers.ddnm_plus,
        peers.daps,
        peers.latino,
        peers.latent_dps,
        peers.psld,
        peers.resample,
    )
}
"""Methods by name, the default first; each takes ``count``, the times over the whole schedule."""


def method_named(name: str) -> Callable[..., Sampler]:
    """The method of that name. Raises InputError, with the nearest name, for an unknown one."""
    if name not in METHODS:
        raise InputError(f"method {name!r} is unknown: {nearest(name, METHODS)}")
    return METHODS[name]
