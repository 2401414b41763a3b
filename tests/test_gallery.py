"""The lessons of the gallery run from the first line to the last, and show pictures."""

import runpy
from pathlib import Path

import pytest

matplotlib = pytest.importorskip("matplotlib", reason="pip install 'visionxl[docs]'")
matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

GALLERY = Path(__file__).parent.parent / "docs" / "gallery"
LESSONS = sorted(GALLERY.glob("plot_*.py"))


@pytest.fixture(autouse=True)
def no_figures_left():
    yield
    plt.close("all")


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_every_lesson_runs_and_shows_something(lesson):
    runpy.run_path(str(lesson), run_name="__main__")
    figures = [plt.figure(number) for number in plt.get_fignums()]
    assert figures
    assert all(ax.has_data() or not ax.axison for figure in figures for ax in figure.axes)


def test_there_are_six():
    assert len(LESSONS) == 6
