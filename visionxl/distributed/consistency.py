"""Conjugate gradients over processes: each has its own frames and its neighbours' nearest."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
import torch.distributed as dist
from attrs import evolve, field, frozen
from torch import Tensor

from visionxl.distributed.group import ProcessError, Processes
from visionxl.errors import InputError
from visionxl.operators.cutting import operator_at
from visionxl.operators.reach import reach_of
from visionxl.protocols import (
    Correction,
    ForwardOperator,
    InverseProblem,
    Measurement,
    NoiseLevel,
    Video,
)
from visionxl.solvers.cg import damped_cg, dot
from visionxl.solvers.consistency import DampedCG
from visionxl.solvers.hosted_operator import HostedOperator
from visionxl.solvers.spread import damping_of


@frozen(eq=False, slots=False)
class SplitOperator:
    """``operator`` on a video whose frames are split over processes, each holding only its own.

    Before each call every process fetches the frames on either side that ``operator`` sees; the
    extended piece is treated as a clip, and the output for the fetched frames is dropped. So
    forward and adjoint are exact for an operator that keeps the number of frames and states its
    reach in time (:class:`~visionxl.operators.reach.Reaching`). At both ends of the video the
    operator's own border rule applies, unless it is circular.

    Args:
        operator: such as ``AveragePool(4) @ TemporalAverage(7)``.
        processes: that share the frames.
        frames: of the whole video.
        device: where ``operator`` is computed; None for where the frames are.

    Raises:
        InputError: the operator's reach is not known.
    """

    operator: ForwardOperator
    processes: Processes
    frames: int
    device: str | None = None

    def forward(self, video: Video) -> Measurement:
        return self._inside(lambda part, x: part.forward(x), video)

    def adjoint(self, measurement: Measurement) -> Video:
        return self._inside(lambda part, y: part.adjoint(y), measurement)

    def _inside(self, action: Callable[[Any, Tensor], Tensor], own: Tensor) -> Tensor:
        if self.processes.size == 1:
            return action(self._there(self.operator), own)
        answer, failure = None, None
        try:
            answer = self._answer(action, own)
        except ProcessError:
            raise
        except Exception as error:  # the others would wait for what this process does not send
            failure = error
        self.processes.exchange(failure=failure)
        assert answer is not None  # else the failure was raised
        return answer

    def _answer(self, action: Callable[[Any, Tensor], Tensor], own: Tensor) -> Tensor:
        if len(own) == 0:  # its shape alone is asked for
            one = operator_at(self.operator, [0], self.frames)
            return action(self._there(one), own.new_zeros(1, *own.shape[1:]))[:0]
        (before, after), here = self._around[self.processes.rank], self.processes.part(self.frames)
        numbers = [*before, *range(here.start, here.stop), *after]
        part = operator_at(self.operator, numbers, self.frames)
        return action(self._there(part), self._extended(own))[len(before) : len(before) + len(own)]

    def _there(self, operator: Any) -> Any:
        return operator if self.device is None else HostedOperator(operator, self.device)

    @cached_property
    def _around(self) -> list[tuple[list[int], list[int]]]:
        """For every process the numbers of the frames that it needs before and after its own."""
        around, reach = [], reach_of(self.operator)
        far = reach.frames  # and for the adjoint of a border that reflects one more
        far += reach.frames > 0 and not reach.circular
        for rank in range(self.processes.size):
            own = self.processes.part(self.frames, rank)
            sides = [range(own.start - far, own.start)]
            sides += [range(own.stop, own.stop + far)]
            if own.start == own.stop:
                sides = [range(0), range(0)]
            if reach.circular:
                before, after = ([t % self.frames for t in side] for side in sides)
            else:
                before, after = ([t for t in side if 0 <= t < self.frames] for side in sides)
            around.append((before, after))
        return around

    def _wanted(self, receiver: int, sender: int) -> list[int]:
        """The frames that a process needs from another, each once."""
        there = self.processes.part(self.frames, sender)
        needed = {t for side in self._around[receiver] for t in side}
        return sorted(t for t in needed if there.start <= t < there.stop)

    def _extended(self, own: Tensor) -> Tensor:
        """The own frames with those around them."""
        rank, first = self.processes.rank, self.processes.part(self.frames).start
        others = [r for r in range(self.processes.size) if r != rank]
        messages, arriving = [], {}
        for other in others:
            if there := self._wanted(other, rank):
                parcel = own[[t - first for t in there]]
                messages.append(dist.P2POp(dist.isend, parcel, other))
            if here := self._wanted(rank, other):
                arriving[other] = own.new_empty(len(here), *own.shape[1:])
                messages.append(dist.P2POp(dist.irecv, arriving[other], other))
        self.processes.send(messages)
        frames = {first + i: frame for i, frame in enumerate(own)}
        for other, parcel in arriving.items():
            frames.update(zip(self._wanted(rank, other), parcel, strict=True))
        before, after = self._around[rank]
        middle = range(first, first + len(own))
        return torch.stack([frames[t] for t in (*before, *middle, *after)])


@frozen
class SplitDampedCG:
    """:class:`~visionxl.solvers.DampedCG` with its frames split over processes.

    Each iteration exchanges the frames that the operator sees beside a process' own, on two sides
    for ``A`` and two for ``A^T``, and two inner products; at the end the corrected frames are
    gathered. The result is that of ``DampedCG`` to rounding, and its memory other than for the
    videos is divided.

    Args:
        processes: that share the frames; all call ``correct`` with the same arguments at once.
        solver: whose settings are used.
    """

    processes: Processes
    solver: DampedCG = field(factory=DampedCG)

    def correct(self, estimate: Video, problem: InverseProblem, level: NoiseLevel) -> Correction:
        frames, measured = len(estimate), problem.measurement
        if len(measured) != frames:
            raise InputError(
                f"measurement has {len(measured)} frames and the video {frames}: SplitDampedCG "
                "needs an operator that keeps their number; use DampedCG"
            )
        own = self.processes.part(frames)
        whole, device = problem.operator, None
        if isinstance(whole, HostedOperator):  # of videos in host memory
            whole, device = whole.operator, whole.device
        operator = SplitOperator(whole, self.processes, frames, device)
        found = damped_cg(
            operator,
            measured[own],
            estimate[own],
            damping_of(problem, level, self.solver.spread, self.solver.least_noise),
            iterations=self.solver.iterations,
            tolerance=self.solver.tolerance,
            inner_product=self._inner_product,
        )
        return evolve(found, video=self.processes.gather(found.video, frames))

    def _inner_product(self, left: Tensor, right: Tensor) -> float:
        return self.processes.total(dot(left, right) if len(left) else 0.0)
