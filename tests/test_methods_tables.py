"""The pages' figures of every method on one clip are those of the record."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
KEPT = json.loads((ROOT / "benchmarks/results/methods.json").read_text(encoding="utf-8"))
POCKET = {row["method"]: row for row in KEPT if row["prior"] == "pocket" and "psnr" in row}
CELL = re.compile(r"^   [ *] -(.*)$", re.MULTILINE)


def rows(page, title, columns):
    """The table after a title, row by row."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8").split(title)[1]
    table = text.split(".. list-table::")[1].split("\n\n")[1:2]
    cells = [cell.strip() for cell in CELL.findall("\n".join(table))]
    return [cells[i : i + columns] for i in range(0, len(cells), columns)][1:]


def test_all_methods_on_a_real_clip():
    shown = {row[0]: row[1:4] for row in rows("methods.rst", "On a real clip\n", 8)}
    for method, row in POCKET.items():
        figures = (row["psnr"], row["difference_psnr"], row["seconds"])
        assert [float(cell) for cell in shown[method]] == pytest.approx(figures, abs=0.0501)


def test_what_it_costs():
    shown = [row for row in rows("choosing.rst", "What it costs\n", 4) if row[0].count("``") == 2]
    assert len(shown) > 3
    for name, psnr, seconds, evaluations in shown:
        row = POCKET[name.split("``")[1]]
        expected = (row["psnr"], row["seconds"], row["evaluations"])
        assert [float(psnr), float(seconds), float(evaluations)] == pytest.approx(
            expected, abs=0.0501, rel=1e-3
        )
