"""The figures of a run as plots, in SVG, for light and for dark pages."""

import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

from attrs import frozen

from visionxl.report.watching import STAGES

INK, GRID = "#1f2328", "#d8dce1"
DARK = {b"#1f2328": b"#e6e8eb", b"#d8dce1": b"#3a4048"}  # their places on a dark page
BLUE, ORANGE, GREEN, GRAY = "#3f7fd9", "#e0892b", "#3fa06a", "#8b929b"
STAGE_COLOURS: dict[str, str] = dict(zip(STAGES, (BLUE, ORANGE, GRAY, GREEN), strict=True))
RC: dict[Any, Any] = {
    "svg.fonttype": "path",
    "svg.hashsalt": "visionxl",  # the same plot has the same bytes
    "font.size": 9.0,
    "axes.titlesize": 9.0,  # the unit, above the numbers
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.labelcolor": INK,
    "axes.edgecolor": GRID,
    "grid.color": GRID,
    **{f"{name}.color": INK for name in ("xtick", "ytick", "text")},
}
PLACE = (0.14, 0.18, 0.83, 0.72)  # of the axes: left, bottom, width, height
FEW = 120  # steps that have a bar, a dot or a line of their own
MOST = 2000  # places that a plot shows
Draw = Callable[[Any], None]


@frozen
class Plot:
    """A plot.

    Args:
        title: above it.
        text: what it shows and, for readers who cannot see it, its figures.
        light: the SVG file for a light page.
        dark: for a dark one.
    """

    title: str
    text: str
    light: bytes
    dark: bytes


def plots(
    trace: Sequence[Mapping[str, Any]],
    noise_std: float,
    stages: Sequence[Mapping[str, Any] | None] = (),
    psnr_by_frame: Mapping[str, Sequence[float]] | None = None,
    psnr_by_step: Sequence[Sequence[float] | None] = (),
) -> list[Plot]:
    """Residual, solver, seconds, memory and PSNR by step, and PSNR by frame.

    Args:
        trace: the records of the steps.
        noise_std: of the measurement.
        stages: what the stages of each step took; None where that is not known.
        psnr_by_frame: in dB, by the title of a video.
        psnr_by_step: of the prior's estimate and of it corrected, in dB; None where not known.
    """
    made = list(_of_trace(trace, noise_std, stages)) if trace else []
    if any(psnr_by_step):
        made.insert(1, _psnr_by_step(psnr_by_step))
    if psnr_by_frame:
        made.append(_psnr(psnr_by_frame))
    return made


def _of_trace(
    trace: Sequence[Mapping[str, Any]],
    noise_std: float,
    stages: Sequence[Mapping[str, Any] | None],
) -> Iterator[Plot]:
    yield _residual([r["data_residual"] for r in trace], noise_std)
    if any(r["iterations"] for r in trace):  # else it was solved in closed form
        yield _iterations([r["iterations"] for r in trace])
    residuals = [r["residuals"] for r in trace]
    if any(len(one) > 1 for one in residuals):
        yield _convergence(residuals)
    yield _seconds([r["seconds"] for r in trace], stages)
    if any(r["peak_bytes"] for r in trace):
        yield _memory([r["peak_bytes"] / 1e9 for r in trace])


def _residual(values: Sequence[float], noise_std: float) -> Plot:
    def draw(axes: Any) -> None:
        _line(axes, values, color=BLUE, markersize=4)
        if noise_std > 0:
            axes.axhline(noise_std, color=ORANGE, linestyle="--", linewidth=1.2)
        if min(values) > 0 and max(values) > 5 * min(values):
            axes.set_yscale("log")
        else:
            axes.set_ylim(bottom=0, top=1.15 * max(noise_std, *values, 1e-12))
        axes.set_xlabel("step")

    noise = f"; dashed: the noise, {noise_std:g}" if noise_std > 0 else ""
    text = f"Root mean square of y - A x after each step{noise}. It ends at {values[-1]:.4g}."
    return _plot("Data residual", text, draw)


def _iterations(values: Sequence[int]) -> Plot:
    def draw(axes: Any) -> None:
        _bars(axes, values, [0] * len(values), color=BLUE)
        axes.yaxis.get_major_locator().set_params(integer=True)
        axes.set_ylim(bottom=0, top=max(1, *values) * 1.08)
        axes.set_xlabel("step")

    text = f"Iterations of the consistency's solver, {sum(values)} in all."
    return _plot("Solver iterations", text, draw)


def _convergence(residuals: Sequence[Sequence[float]]) -> Plot:
    def draw(axes: Any) -> None:
        for index in range(0, len(residuals), -(-len(residuals) // FEW)):
            values, share = residuals[index], (index + 1) / len(residuals)
            floor = [max(value, 1e-16) for value in values]
            axes.plot(range(len(values)), floor, color=BLUE, alpha=0.25 + 0.75 * share)
        axes.set_yscale("log")
        axes.set_xlabel("iteration")

    text = "Relative residual of the solver within each step; later steps have stronger lines."
    return _plot("Convergence of the solver", text, draw)


def _seconds(seconds: Sequence[float], stages: Sequence[Mapping[str, Any] | None]) -> Plot:
    known = [s if s is not None else {} for s in [*stages, *[None] * len(seconds)]][: len(seconds)]
    parts = {n: [s[n]["seconds"] if s else 0.0 for s in known] for n in STAGES}
    parts["not known by stage"] = [0.0 if s else t for s, t in zip(known, seconds, strict=True)]
    parts = {name: values for name, values in parts.items() if any(values)}

    def draw(axes: Any) -> None:
        bottom = [0.0] * len(seconds)
        for name, values in parts.items():
            colour = STAGE_COLOURS.get(name, "#b9a7d6")
            _bars(axes, values, bottom, color=colour, label=name)
            bottom = [b + v for b, v in zip(bottom, values, strict=True)]
        axes.set_ylim(top=max(bottom) * 1.3)
        axes.legend(frameon=False, fontsize=7.5, ncols=2, loc="upper right", labelcolor="linecolor")
        axes.set_xlabel("step")

    shares = ", ".join(f"{name} {sum(values):.3g} s" for name, values in parts.items())
    return _plot("Seconds", f"By stage: {shares}.", draw)


def _memory(gigabytes: Sequence[float]) -> Plot:
    values = list(accumulate(gigabytes, max))

    def draw(axes: Any) -> None:
        _line(axes, values, color=BLUE, markersize=4, drawstyle="steps-mid")
        axes.set_ylim(bottom=0, top=max(values) * 1.15)
        axes.set_xlabel("step")
        axes.set_title("GB")

    text = f"High-water mark so far; {values[-1]:.2f} GB at the end."
    return _plot("Memory", text, draw)


def _psnr(by_title: Mapping[str, Sequence[float]]) -> Plot:
    def draw(axes: Any) -> None:
        for (title, values), colour in zip(by_title.items(), (BLUE, ORANGE, GREEN), strict=False):
            _line(axes, values, color=colour, markersize=3, label=title)
        axes.legend(frameon=False, fontsize=7.5, labelcolor="linecolor")
        axes.set_xlabel("frame")
        axes.set_title("dB")

    means = ", ".join(f"{t}: from {min(v):.1f} to {max(v):.1f} dB" for t, v in by_title.items())
    return _plot("PSNR of each frame", f"Against the truth; {means}.", draw)


def _psnr_by_step(pairs: Sequence[Sequence[float] | None]) -> Plot:
    titles = ("the prior's estimate", "after the consistency")
    both = [[math.nan if pair is None else pair[i] for pair in pairs] for i in (0, 1)]

    def draw(axes: Any) -> None:
        for title, values, colour in zip(titles, both, (ORANGE, BLUE), strict=True):
            _line(axes, values, color=colour, markersize=4, label=title)
        axes.legend(frameon=False, fontsize=7.5, labelcolor="linecolor")
        axes.set_xlabel("step")
        axes.set_title("dB")

    last = next(pair for pair in reversed(pairs) if pair is not None)
    text = (
        f"Against the truth. At the end the prior's estimate has {last[0]:.2f} dB, and after the "
        f"consistency, and the finish if there is one, it has {last[1]:.2f} dB."
    )
    return _plot("PSNR of each step", text, draw)


def _line(axes: Any, values: Sequence[float | int], **style: Any) -> None:
    dot = "o" if len(values) <= FEW else None
    axes.plot(_steps(values), _thinned(values), marker=dot, **style)


def _bars(
    axes: Any,
    values: Sequence[float | int],
    bottom: Sequence[float | int],
    color: str,
    label: str = "",
) -> None:
    if len(values) <= FEW:
        axes.bar(_steps(values), values, bottom=bottom, width=0.7, color=color, label=label)
        return
    top = [b + v for b, v in zip(bottom, values, strict=True)]
    style = {"step": "mid", "linewidth": 0, "color": color, "label": label}
    axes.fill_between(_steps(values), _thinned(bottom), _thinned(top), **style)


def _steps(values: Sequence[Any]) -> Sequence[int]:
    return _thinned(range(1, len(values) + 1))


def _thinned(values: Sequence[Any]) -> Sequence[Any]:
    """Every n-th, where there are more than a plot can show."""
    return values[:: -(-len(values) // MOST) or 1]


def _plot(title: str, text: str, draw: Draw) -> Plot:
    light = dark = _svg(draw)
    for ink, other in DARK.items():
        dark = dark.replace(ink, other)
    return Plot(title, text, light, dark)


def _svg(draw: Draw) -> bytes:
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    with rc_context(RC):
        figure = Figure(figsize=(4.6, 2.5))
        axes = figure.add_axes(PLACE)  # the same in all plots: they are read across
        axes.grid(axis="y", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        draw(axes)
        file = io.BytesIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    return file.getvalue()
