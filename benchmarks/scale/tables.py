"""Markdown tables of what was counted and measured, and the bars."""

from collections.abc import Iterator, Sequence
from typing import Any

from attrs import frozen
from tables import rows

from scale.records import Record, Setup
from scale.rows import ROWS

STAGES = ("encode", "tiny encode", "denoise", "decode", "tiny decode", "consistency", "rest")
MOST_BYTES, LEAST_FASTER, MOST_OF_FLOOR, LINEAR, FLAT, SHARE = 9e9, 4.0, 2.5, 0.05, 0.03, 0.05
FLAT_FROM = 25  # frames


def counted(told: dict[str, Any]) -> str:
    """The tables of a count."""
    stages = [name.removesuffix("_activation_bytes") for name in told if "_activation" in name]
    head = f"{told['frames']} frames of {told['height']}x{told['width']}, {told['dtype']}"
    of_stages = [
        [s.replace("_", " "), tera(told[f"{s}_flop"]), giga(told[f"{s}_activation_bytes"])]
        for s in stages
    ]
    of_runs = []
    for row, through in told["frames_through"].items():
        flop = told[f"{row.replace('-', '_')}_flop"]
        line = [row, tera(flop), f"{flop / told['paper_flop']:.3f}"]
        of_runs.append([*line, *(str(through.get(s.replace("_", " "), 0)) for s in stages)])
    parts = [[name.replace("_", " "), f"{n:,}"] for name, n in told["parameters"].items()]
    through = [f"frames through {s.replace('_', ' ')}" for s in stages]
    return "\n\n".join(
        [
            head,
            rows(["one frame", "TFLOP", "GB of activations"], of_stages),
            rows(["whole run", "TFLOP", "of the paper's", *through], of_runs),
            rows(["network", "parameters"], parts),
            f"U-Net and autoencoder: {giga(told['weight_bytes'])} GB of weights.\n",
        ]
    )


def tera(flop: float) -> str:
    return f"{flop / 1e12:,.3f}"


def giga(count: float | None) -> str:
    return "-" if count is None else f"{count / 1e9:.2f}"


def report(setup: Setup, records: Sequence[Record]) -> str:
    """The tables of what was measured, one record at least."""
    rates = sorted({f"{record.matmul_rate / 1e12:.2f}" for record in records})
    memory = "the CUDA allocator" if "cuda" in setup.device else "resident memory of the process"
    networks = "the miniature" if setup.toy else "the full size"
    products = " and ".join(rates)
    facts = (
        f"{setup.device}; networks of {networks} in {setup.dtype}, {setup.frames_at_once} frames "
        f"at once{', compiled' if setup.compiled else ''}, {setup.vae_frames} in the full "
        f"autoencoder; videos on {setup.video_device}; matrix products {products} TFLOP/s; "
        f"memory is that of {memory}; visionxl {setup.version}, torch {setup.torch}"
    )
    stages = [s for s in STAGES if any(s in record.stages for record in records)]
    case = ["size", "frames", "row"]
    parts = [facts]
    summary = ["seconds", "times faster than paper", "floor, s", "of the floor"]
    summary += ["consistency, % of the time", "peak, GB", "warm-up, s", "note"]
    parts += ["## Whole runs", rows([*case, *summary], (summed(r, records) for r in records))]
    parts += ["## Seconds by stage", rows([*case, *stages], (seconds(r, stages) for r in records))]
    parts += ["## Peak GB by stage", rows([*case, *stages], (peaks(r, stages) for r in records))]
    parts += ["## Bars", "\n".join(f"- {bar.words}" for bar in bars(setup, records))]
    return "\n\n".join(parts) + "\n"


def named(record: Record) -> list[str]:
    return [f"{record.height}x{record.width}", str(record.frames), record.row]


def summed(record: Record, records: Sequence[Record]) -> list[str]:
    if record.error is not None:
        return [*named(record), *["-"] * 7, record.error.replace("|", "/")]
    paper = paper_of(record, records)
    faster = "-" if paper is None else f"{paper.seconds / record.seconds:.2f}"
    return [
        *named(record),
        f"{record.seconds:.2f}",
        faster,
        f"{record.floor_seconds:.3f}",
        f"{record.seconds / record.floor_seconds:.2f}",
        f"{100 * consistency_share(record):.1f}",
        giga(record.peak_bytes),
        f"{record.warm_up_seconds:.1f}",
        "",
    ]


def seconds(record: Record, stages: Sequence[str]) -> list[str]:
    cells = (record.stages.get(stage) for stage in stages)
    return [*named(record), *("-" if cell is None else f"{cell.seconds:.2f}" for cell in cells)]


def peaks(record: Record, stages: Sequence[str]) -> list[str]:
    cells = (record.stages.get(stage) for stage in stages)
    return [*named(record), *("-" if cell is None else giga(cell.peak_bytes) for cell in cells)]


def consistency_share(record: Record) -> float:
    """Of the seconds."""
    return record.stages["consistency"].seconds / record.seconds


def paper_of(record: Record, records: Sequence[Record]) -> Record | None:
    """The paper's row of the same case, if it is whole."""
    same = (r for r in records if r.row == "paper" and r.case == record.case and r.error is None)
    return next(same, None)


@frozen
class Bar:
    """What a row should reach.

    Args:
        row: its name.
        claim: in words.
        figure: the worst, as words; None where nothing tells it.
        met: whether the figure reaches it; None where no GPU ran the full size to its end.
    """

    row: str
    claim: str
    figure: str | None
    met: bool | None

    @property
    def words(self) -> str:
        if self.met is None:
            here = "" if self.figure is None else f" ({self.figure} here)"
            return f"{self.row}, {self.claim}: not measured{here}"
        return f"{self.row}, {self.claim}: {self.figure}, {'met' if self.met else 'not met'}"


def bars(setup: Setup, records: Sequence[Record]) -> Iterator[Bar]:
    """Every bar for each of our rows. Only the full size on a GPU can meet one."""
    counts = not setup.toy and "cuda" in setup.device
    for row in ROWS:
        all_of_row = [r for r in records if r.row == row]
        own = [r for r in all_of_row if r.error is None]
        if row == "paper" or not own:
            continue
        tells = counts and len(own) == len(all_of_row)
        peak = max((r.peak_bytes for r in own if r.peak_bytes), default=None)
        papers = ((r, paper_of(r, records)) for r in own)
        faster = min((p.seconds / r.seconds for r, p in papers if p is not None), default=None)
        floor = max(r.seconds / r.floor_seconds for r in own)
        bent, grown = worst_of(own, off_line), worst_of(own, growth)
        share = max(consistency_share(r) for r in own)
        for claim, value, shown, good in (
            ("peak at most 9 GB", peak, giga(peak) + " GB", lambda x: x <= MOST_BYTES),
            ("4 times faster than the paper", faster, ratio(faster), lambda x: x >= LEAST_FASTER),
            ("within 2.5 times of the floor", floor, ratio(floor), lambda x: x <= MOST_OF_FLOOR),
            ("time linear in frames to 5 %", bent, percent(bent), lambda x: x <= LINEAR),
            ("memory flat from 25 frames to 3 %", grown, percent(grown), lambda x: x <= FLAT),
            ("consistency below 5 % of the time", share, percent(share), lambda x: x < SHARE),
        ):
            known = value is not None
            met = good(value) if known and tells else None
            yield Bar(row, claim, shown if known else None, met)


def ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def worst_of(records: Sequence[Record], figure: Any) -> float | None:
    """The largest figure of the sizes."""
    sizes = {(r.height, r.width) for r in records}
    each = (figure([r for r in records if (r.height, r.width) == size]) for size in sizes)
    return max((value for value in each if value is not None), default=None)


def off_line(records: Sequence[Record]) -> float | None:
    """The largest relative distance of the seconds from a line in the frames; None for fewer than
    three. The line is that of least squares of relative distances."""
    if len(records) < 3:
        return None
    points = [(1 / r.seconds, r.frames / r.seconds) for r in records]
    aa, ab, bb = (sum(p[i] * p[j] for p in points) for i, j in ((0, 0), (0, 1), (1, 1)))
    a, b = sum(p[0] for p in points), sum(p[1] for p in points)
    det = aa * bb - ab * ab
    start, slope = (a * bb - b * ab) / det, (b * aa - a * ab) / det
    return max(abs(start * p[0] + slope * p[1] - 1) for p in points)


def growth(records: Sequence[Record]) -> float | None:
    """How much the largest peak is above the least, from 25 frames on; None for fewer than two."""
    found = [r.peak_bytes for r in records if r.frames >= FLAT_FROM and r.peak_bytes]
    return max(found) / min(found) - 1 if len(found) > 1 else None
