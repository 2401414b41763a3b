"""The singular modes of a factored operator."""

from functools import partial

import torch
from attrs import evolve, frozen
from torch import Tensor

from visionxl.protocols import Measurement, Video
from visionxl.solvers.data_term import DataStep
from visionxl.solvers.decomposition import NEGLIGIBLE_FLOAT32, AxisSVD, along, spectrum_of


@frozen(eq=False)
class Modes:
    """``A = mask * U S V^T``, where ``U`` and ``V`` are products of one small matrix per axis.

    Args:
        axes: the decomposition along frames, channels, height and width; None for the identity.
        mask: of 0 and 1, broadcasting to the video, or None.
        shape: of the modes.
        unit: the number 1, of their dtype and on their device.
    """

    axes: tuple[AxisSVD | None, ...]
    mask: Tensor | None
    shape: tuple[int, ...]
    unit: Tensor

    @classmethod
    def of(cls, operator: object, like: Video, *, weak: bool = False) -> "Modes | None":
        """The modes for videos like this one; None for an operator without factors.

        Args:
            operator: ``A``.
            like: a video of the shape, dtype and device.
            weak: whether to keep the many modes that are negligible in float32. An exact solution
                needs them if the damping is small.
        """
        spectrum = spectrum_of(operator, like)
        if spectrum is None:
            return None
        axes, mask = spectrum
        if not weak and like.dtype != torch.float64:
            axes = tuple(None if svd is None else _strong(svd) for svd in axes)
        sizes = zip(like.shape, axes, strict=True)
        shape = tuple(size if svd is None else len(svd.values) for size, svd in sizes)
        return cls(axes, mask, shape, like.new_ones(()))

    @property
    def values(self) -> Tensor:
        """``S``, broadcasting to (frames, channels, rows, columns) of the modes."""
        values = self.unit.view(1, 1, 1, 1)
        for axis, svd in enumerate(self.axes):
            if svd is not None:
                values = values * svd.values.view([-1 if i == axis else 1 for i in range(4)])
        return values

    def determined(self, damping: float) -> float:
        """``trace of A^T A (A^T A + damping)^-1``: how many numbers of a video are measured."""
        square = self.values.square()
        share = square / (square + damping)
        total = share.sum(dtype=torch.float64).item()
        for size, modes in zip(self.shape, share.shape, strict=True):
            total *= size // modes
        return total if self.mask is None else total * self.mask.mean(dtype=torch.float64).item()

    def step(self, measurement: Measurement, total: float) -> DataStep:
        """``v + V (S / (S^2 + total)) (U^T y - S V^T v)``, in place: exact."""
        values = self.values
        gain = values / (values.square() + total)
        target = self.measured(measurement) * gain
        gain = gain * values

        # If only time is transformed, one channel at a time takes less memory.
        alone = self.axes[1:] == (None, None, None)
        return partial(self._pull_channels if alone else self._pull, gain, target)

    def _pull(self, gain: Tensor, target: Tensor, video: Video) -> None:
        found = self.analyse(video)
        own = None if found is video else found
        self.add_synthesis(video, torch.addcmul(target, found, gain, value=-1, out=own))

    def _pull_channels(self, gain: Tensor, target: Tensor, video: Video) -> None:
        for c in range(video.shape[1]):
            self.of_channel(c)._pull(gain, target[:, c : c + 1], video[:, c : c + 1])

    def of_channel(self, c: int) -> "Modes":
        """Those of one channel, where channels are left alone."""
        mask = self.mask
        if mask is not None and mask.shape[1] > 1:
            mask = mask[:, c : c + 1]
        return evolve(self, mask=mask, shape=(self.shape[0], 1, *self.shape[2:]))

    def measured(self, measurement: Measurement) -> Tensor:
        """``U^T y``."""
        if self.mask is not None:
            measurement = measurement * self.mask
        for axis in (3, 2, 1, 0):
            svd = self.axes[axis]
            if svd is not None:
                measurement = along(measurement, axis, svd.left.T)
        return measurement

    def analyse(self, video: Video) -> Tensor:
        """``V^T x``. It may be the video itself."""
        rows, columns = self.axes[2:]
        if rows is not None or columns is not None:
            count = [
                n if s is None else len(s.values)
                for s, n in zip((rows, columns), video.shape[2:], strict=True)
            ]
            planes = video.new_empty(*video.shape[:2], *count)
            for frame, plane in zip(video, planes, strict=True):
                plane.copy_(_plane(frame, rows, columns))
            video = planes
        for axis in (1, 0):
            svd = self.axes[axis]
            if svd is not None:
                video = along(video, axis, svd.right.T)
        return video

    def add_synthesis(self, video: Video, coefficients: Tensor) -> Video:
        """``x + mask * V c``, in place of the video, whose frames are each in one piece."""
        for axis in (0, 1):
            svd = self.axes[axis]
            if svd is not None:
                coefficients = along(coefficients, axis, svd.right)
        rows, columns = self.axes[2:]
        for t, (frame, part) in enumerate(zip(video, coefficients, strict=True)):
            if rows is not None:
                part = rows.right @ part
            if columns is not None:
                frame.view(-1, frame.shape[-1]).addmm_(part.flatten(0, 1), columns.right.T)
            elif self.mask is not None:
                frame.addcmul_(part, self.mask[t % len(self.mask)])
            else:
                frame.add_(part)
        return video


def _strong(svd: AxisSVD) -> AxisSVD:
    kept = svd.values > NEGLIGIBLE_FLOAT32 * svd.values[0]
    return AxisSVD(
        svd.left[:, kept].contiguous(), svd.values[kept], svd.right[:, kept].contiguous()
    )


def _plane(frame: Tensor, rows: AxisSVD | None, columns: AxisSVD | None) -> Tensor:
    if columns is not None:
        frame = frame @ columns.right
    return frame if rows is None else rows.right.T @ frame
