"""Markdown tables of the benchmark's records."""

import statistics
from collections.abc import Callable, Iterable, Sequence

from attrs import frozen
from results import Record

from visionxl.operators import TASKS

MEASURES = {
    "psnr": ("PSNR in dB", 2),
    "ssim": ("SSIM", 4),
    "difference_psnr": ("PSNR of the frame differences in dB", 2),
}
"""Title and decimals of what has a table."""

DEFAULT = "default"
MARK = " †"
LEGEND = (
    "Mean ± sample standard deviation over the seeds. † diverged in at least one seed: the result "
    "is not finite, or its PSNR is more than 1 dB below the back-projection's."
)
GAINS = (
    "The default minus the other method, over the seeds that both have, averaged over pairs of "
    "clip and task: more than 0 where the default is better. *Without* leaves out the pairs in "
    "which the other method diverged. The worst pair is the one in which the default gains the "
    "least PSNR."
)

CaseLabel = tuple[str, str, float]
"""(clip, task, noise); a clip in several sizes has its size in its label."""


@frozen
class Cell:
    """One method on one case, over the seeds.

    Args:
        values: the finite values of each measure, by seed.
        diverged: in at least one of the seeds.
    """

    values: dict[str, dict[int, float]]
    diverged: bool

    def gain(self, other: "Cell", measure: str) -> float | None:
        """The mean of this minus the other, over the seeds that both have; None without any."""
        ours, theirs = self.values[measure], other.values[measure]
        gains = [value - theirs[seed] for seed, value in ours.items() if seed in theirs]
        return statistics.fmean(gains) if gains else None

    def shown(self, measure: str) -> str:
        """Mean, and sample standard deviation where there is more than one seed."""
        found, digits = [*self.values[measure].values()], MEASURES[measure][1]
        mark = MARK if self.diverged else ""
        if not found:
            return "-" + mark
        spread = f" ± {statistics.stdev(found):.{digits}f}" if len(found) > 1 else ""
        return f"{statistics.fmean(found):.{digits}f}{spread}{mark}"


Grid = dict[CaseLabel, dict[str, Cell]]
"""By case, then by method."""


def size_of(record: Record) -> str:
    return f"{record.frames} frames of {record.height}x{record.width}"


def grid_of(records: Sequence[Record]) -> Grid:
    """The cells, cases in the order of clips, then tasks, then noise."""
    sizes: dict[str, set[str]] = {}
    for record in records:
        sizes.setdefault(record.clip, set()).add(size_of(record))
    groups: dict[CaseLabel, dict[str, list[Record]]] = {}
    for r in records:
        label = r.clip if len(sizes[r.clip]) == 1 else f"{r.clip}, {size_of(r)}"
        groups.setdefault((label, r.task, r.noise), {}).setdefault(r.method, []).append(r)
    tasks = [*TASKS]
    ordered = sorted(groups, key=lambda case: (case[0], tasks.index(case[1]), case[2]))
    return {case: {m: cell_of(found) for m, found in groups[case].items()} for case in ordered}


def cell_of(records: Sequence[Record]) -> Cell:
    values = {
        measure: {r.seed: value for r in records if (value := getattr(r, measure)) is not None}
        for measure in MEASURES
    }
    return Cell(values, any(r.diverged for r in records))


def row(cells: Iterable[object]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def rows(titles: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    return "\n".join([row(titles), "|---" * len(titles) + "|", *map(row, lines)])


def by_case(grid: Grid, methods: Sequence[str], measure: str) -> str:
    """A row per case, a column per method."""
    lines = [
        [*case[:2], f"{case[2]:g}", *(c[m].shown(measure) if m in c else "" for m in methods)]
        for case, c in grid.items()
    ]
    return rows(["clip", "task", "noise", *methods], lines)


@frozen
class Pair:
    """The default minus the peer, over the seeds of both, for one clip and task.

    Args:
        name: of the clip and the task.
        gains: by measure; None where one of the two has no finite value.
        diverged: the peer, in at least one seed.
    """

    name: str
    gains: dict[str, float | None]
    diverged: bool


def pairs(grid: Grid, peer: str, noise: float) -> list[Pair]:
    """Every clip and task at one noise that both the default and the peer have."""
    found = []
    for (clip, task, level), cells in grid.items():
        if level == noise and DEFAULT in cells and peer in cells:
            ours, theirs = cells[DEFAULT], cells[peer]
            gains = {m: ours.gain(theirs, m) for m in MEASURES}
            found.append(Pair(f"{clip} {task}", gains, theirs.diverged))
    return found


def against(grid: Grid, methods: Sequence[str]) -> str:
    """The default minus each peer, averaged over clips and tasks, a row per peer and noise."""
    titles = ["against", "noise", "pairs", "PSNR", "SSIM", "differences", "worst pair, PSNR"]
    titles += ["diverged", "PSNR without", "SSIM without", "differences without"]
    lines = []
    for peer in methods:
        for noise in sorted({case[2] for case in grid}):
            found = pairs(grid, peer, noise)
            if peer != DEFAULT and found:
                sound = [pair for pair in found if not pair.diverged]
                middle = [worst(found), len(found) - len(sound)]
                line = [peer, f"{noise:g}", len(found), *gains(found), *middle, *gains(sound)]
                lines.append(line)
    return rows(titles, lines)


def gains(found: Sequence[Pair]) -> list[str]:
    """The mean of every measure, signed; pairs without a figure are left out of it."""
    told = []
    for measure, (_, digits) in MEASURES.items():
        values = [value for pair in found if (value := pair.gains[measure]) is not None]
        told.append(f"{statistics.fmean(values):+.{digits}f}" if values else "-")
    return told


def worst(found: Sequence[Pair]) -> str:
    """The pair in which the default gains the least PSNR."""
    known = [(gain, pair.name) for pair in found if (gain := pair.gains["psnr"]) is not None]
    return "{1}, {0:+.2f}".format(*min(known)) if known else "-"


def head(records: Sequence[Record]) -> str:
    """What was run: sizes, seeds, version, commit and command, each told once."""

    def told(value: Callable[[Record], object]) -> str:
        return ", ".join(dict.fromkeys(str(value(record)) for record in records))

    seeds = ", ".join(map(str, sorted({record.seed for record in records})))
    facts = [told(lambda r: f"{r.clip}: {size_of(r)}"), f"seeds {seeds}"]
    facts.append(f"visionxl {told(lambda r: r.version)}")
    facts.append(f"commit {told(lambda r: r.commit or 'unknown')}")
    commands = dict.fromkeys(record.command for record in records)
    return "; ".join(facts) + "\n\n" + "\n".join(f"    {command}" for command in commands)


def report(records: Sequence[Record], order: Sequence[str]) -> str:
    """All tables.

    Args:
        records: of any number of runs.
        order: of the columns; methods that it does not name come last.
    """
    if not records:
        return "No records.\n"
    present = {record.method for record in records}
    methods = [m for m in order if m in present] + sorted(present - set(order))
    grid = grid_of(records)
    parts = [head(records), LEGEND]
    for measure, (title, _) in MEASURES.items():
        parts += [f"## {title}", by_case(grid, methods, measure)]
    if DEFAULT in methods:
        parts += ["## The default against each other method", GAINS, against(grid, methods)]
    return "\n\n".join(parts) + "\n"
