"""The lessons of the gallery run from the first line to the last, and show pictures."""

import runpy
from pathlib import Path

import pytest
from PIL import Image

matplotlib = pytest.importorskip("matplotlib", reason="pip install 'visionxl[docs]'")
matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.animation import Animation  # noqa: E402

GALLERY = Path(__file__).parent.parent / "docs" / "gallery"
LESSONS = sorted(GALLERY.glob("plot_*.py"))


@pytest.fixture(autouse=True)
def no_figures_left():
    yield
    plt.close("all")


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_every_lesson_runs_and_shows_something(lesson, tmp_path):
    names = runpy.run_path(str(lesson), run_name="__main__")
    figures = [plt.figure(number) for number in plt.get_fignums()]
    assert figures
    assert all(ax.has_data() or not ax.axison for figure in figures for ax in figure.axes)
    for name, film in names.items():
        if isinstance(film, Animation):
            path = tmp_path / f"{name}.webp"
            film.save(path, writer="pillow")
            assert path.stat().st_size < 1e6
            with Image.open(path) as looping:
                assert (looping.n_frames > 1, looping.info["loop"]) == (True, 0)


def test_the_lessons_about_what_happens_in_time_show_it():
    shown = {path.stem for path in LESSONS if "FuncAnimation" in path.read_text()}
    assert shown == {"plot_1_loop", "plot_3_shared_noise", "plot_4_noise_fitting"}


def test_there_are_six():
    assert len(LESSONS) == 6
