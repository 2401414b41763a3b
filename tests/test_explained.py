"""The benchmark of what a prior knows of an error: its mathematics and its command."""

from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import explained
import pytest
import torch

from visionxl.video import DEMO_CLIP

ROOT = Path(__file__).parents[1]
SHAPE = (2, 3, 24, 32)


def drawn(seed):
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def filtered(video, gains):
    """Each band of frequencies times its gain."""
    gain = torch.tensor(gains, dtype=torch.float64)[explained.bands(*SHAPE[-2:])]
    return torch.fft.irfft2(torch.fft.rfft2(video) * gain, s=SHAPE[-2:])


@pytest.mark.parametrize("gains", [(1.0,) * 7, (0.1, 3.0, 2.0, 0.5, 7.0, 1.0, 0.2)])
def test_a_change_that_is_the_error_band_by_band_explains_all_of_it(gains):
    error = drawn(0)
    assert explained.explained(filtered(error, gains), error) == pytest.approx(1)


def test_one_band_explains_its_own_share_and_no_more():
    error = drawn(0)
    alone = filtered(error, (0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0))
    share = (alone.square().sum() / error.square().sum()).item()
    assert 0.02 < share < 0.5
    # What the change is in other bands, rounding or noise, is of no use and does no harm.
    assert explained.explained(alone, error) == pytest.approx(share, abs=0.005)
    beside = alone + filtered(drawn(1), (1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0))
    assert explained.explained(beside, error) == pytest.approx(share, abs=0.005)


def test_what_points_away_from_the_error_explains_none_of_it():
    error = drawn(0)
    assert explained.explained(-error, error) == 0
    assert explained.explained(torch.zeros_like(error), error) == 0


@pytest.mark.parametrize("width", [31, 32])
def test_a_share_by_band_is_worth_at_least_one_for_all(width):
    error, other = drawn(0)[..., :width], drawn(1)[..., :width]
    change = 0.3 * error + other
    r = explained.correlation(change, error)
    assert 0.2 < r < 0.4
    assert explained.explained(change, error) >= r**2 - 1e-12
    # The best single share takes off r^2 of the error's square.
    best = (change * error).sum() / change.square().sum()
    left = (error - best * change).square().sum() / error.square().sum()
    assert left.item() == pytest.approx(1 - r**2)


def test_the_command_prints_a_row_for_every_step(capsys):
    words = f"{DEMO_CLIP} --height 32 --width 48 --frames 3 --task inpaint+"
    explained.main(words.split())
    heads, _, *rows = capsys.readouterr().out.splitlines()
    assert heads.split(" | ")[-1] == "by band |"
    steps = [[word.strip() for word in row.strip("|").split("|")] for row in rows]
    assert [step[:4] for step in steps] == [
        ["flower", "inpaint+", "0.01", str(number)] for number in (1, 2, 3, 4)
    ]
    for before, following in pairwise(steps):
        assert before[6] == following[4]  # after a step is before the next
    for step in steps:
        assert float(step[9]) >= float(step[8]) - 0.011 >= -0.011


def test_a_clip_that_is_not_there_is_told(capsys):
    with pytest.raises(SystemExit, match="2"):
        explained.main(["nowhere.mp4"])
    assert "nowhere.mp4" in capsys.readouterr().err


def test_the_manuals_table_is_that_of_the_records():
    lines = (ROOT / "benchmarks/results/explained-128x192.md").read_text().splitlines()[2:]
    found = defaultdict(list)
    for line in lines:
        _, task, noise, _, _, _, _, r, _, gain = (w.strip() for w in line.strip("|").split("|"))
        found[task, noise].append((float(r), float(gain)))
    page = (ROOT / "docs/ablations.rst").read_text()
    assert len(found) == 9
    for (task, noise), figures in found.items():
        assert len(figures) == 24  # four steps of six clips
        row = f"   * - ``{task}``\n     - {noise}\n"
        for column in zip(*figures, strict=True):
            row += f"     - {min(column):.2f} to {max(column):.2f}\n"
        assert row in page
