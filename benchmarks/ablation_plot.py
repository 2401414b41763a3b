"""The picture of an ablation."""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ablation_settings import Ablation

from visionxl.files import whole

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Told apart also by colour-blind eyes (Okabe & Ito 2008)."""
MARKS = "os^DvPX"
DASHES = ("-", "--")
INCHES = (7.2, 5.6)
NEEDLESS = re.compile(r"(?<=\.\d\d)\d+|(?<=\n) +")  # decimals of 1/72 inch, and indentation
ROWS = {"psnr": "PSNR (dB)", "difference_psnr": "PSNR of frame\ndifferences (dB)"}


def plot(path: Path, ablation: Ablation, records: Sequence[dict[str, Any]]) -> None:
    """Both measures over the settings: a colour for each task, a panel for each noise.

    Args:
        path: a .svg or .png file.
        ablation: what the records are of.
        records: of :mod:`ablations`, with every setting for each of their tasks and noises. A
            measure that is None is left out.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    noises = sorted({record["noise"] for record in records})
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "visionxl", "font.size": 9}):
        figure = Figure(INCHES, layout="constrained")
        panels = figure.subplots(2, len(noises), squeeze=False, sharex=True, sharey="row")
        for row, (measure, told) in zip(panels, ROWS.items(), strict=True):
            row[0].set_ylabel(told)
            for panel, noise in zip(row, noises, strict=True):
                _draw(panel, ablation, [r for r in records if r["noise"] == noise], measure)
        for panel, noise in zip(panels[0], noises, strict=True):
            panel.set_title(f"noise {noise:g}" if noise else "no noise")
        for panel in panels[1]:
            _label(panel, ablation)
        figure.supxlabel(ablation.axis, fontsize="medium")
        handles, labels = panels[0][0].get_legend_handles_labels()
        columns = max(1, len({record["task"] for record in records}))
        figure.legend(handles, labels, loc="outside upper center", ncols=columns, handlelength=3.5)
        with whole(path) as partial:
            if path.suffix == ".svg":
                figure.savefig(partial, metadata={"Date": None})
                partial.write_text(NEEDLESS.sub("", partial.read_text()))
            else:
                figure.savefig(partial, dpi=100)


def _places(ablation: Ablation) -> list[float | str]:
    return list(dict.fromkeys(setting.x for setting in ablation.settings))


def _draw(panel: Any, ablation: Ablation, records: Sequence[dict[str, Any]], measure: str) -> None:
    """Numbers are joined by lines. Names are not: they stand side by side, a mark for each task."""
    values = {(r["task"], r["setting"]): r[measure] for r in records}
    tasks = list(dict.fromkeys(record["task"] for record in records))
    lines = list(dict.fromkeys(setting.line for setting in ablation.settings))
    places = _places(ablation)
    panel.grid(axis="y", alpha=0.3)
    for index, task in enumerate(tasks):
        shift = 0.14 * (index - (len(tasks) - 1) / 2)
        for line, dash in zip(lines, DASHES, strict=False):
            shown = [setting for setting in ablation.settings if setting.line == line]
            told = [values[task, setting.name] for setting in shown]
            panel.plot(
                [places.index(s.x) + shift if ablation.named else s.x for s in shown],
                [math.nan if value is None else value for value in told],
                linestyle="none" if ablation.named else dash,
                marker=MARKS[index],
                markerfacecolor=COLOURS[index] if dash == "-" else "white",
                color=COLOURS[index],
                markersize=5.5,
                label=f"{task}, {line}" if line else task,
            )


def _label(panel: Any, ablation: Ablation) -> None:
    """The settings below a panel."""
    places = _places(ablation)
    if ablation.named:
        panel.set_xlim(-0.5, len(places) - 0.5)
        panel.set_xticks(
            range(len(places)), places, rotation=25, ha="right", rotation_mode="anchor"
        )
        return
    if ablation.log:
        panel.set_xscale("log")
    panel.set_xticks(places, [f"{place:g}" for place in places])
    panel.minorticks_off()
