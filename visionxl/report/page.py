"""The report of a run as one self-contained HTML file."""

import shlex
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

from visionxl.errors import InputError
from visionxl.files import whole
from visionxl.metrics import psnr
from visionxl.protocols import Video
from visionxl.report.media import BUDGET, data_uri, shown
from visionxl.report.plots import Plot, plots
from visionxl.report.watching import STAGES, Look

MOST_LOOKS = 20  # steps of the filmstrip
MOST_ROWS = 1000  # of the table of steps
TRUTH = "truth"
MEASURES: dict[str, str] = {
    "psnr": "PSNR, dB",
    "ssim": "SSIM",
    "difference_psnr": "PSNR of frame differences, dB",
    "lpips": "LPIPS",
}
RUN = {
    "noise_std": "noise",
    "measurement_shape": "measurement, shape",
    "video_shape": "video, shape",
    "data_residual": "data residual",
    "seconds": "seconds",
    "warm_up_seconds": "seconds of warming up",
    "device": "device",
    "threads": "threads",
    "processes": "processes",
    "memory_plan": "memory plan",
}


def write_page(
    path: str | Path,
    columns: Mapping[str, Video],
    rate: Fraction | int,
    record: Mapping[str, Any],
    looks: Sequence[Look] = (),
    remarks: Sequence[str] = (),
) -> None:
    """Write the page of :func:`render`; after an error no partial file is left."""
    page = render(columns, rate, record, looks, remarks)
    with whole(Path(path)) as partial:
        partial.write_text(page, encoding="utf-8")


def render(
    columns: Mapping[str, Video],
    rate: Fraction | int,
    record: Mapping[str, Any],
    looks: Sequence[Look] = (),
    remarks: Sequence[str] = (),
) -> str:
    """The page about a run, as HTML of at most 15 MB.

    Args:
        columns: videos of one size, (frames, channels, height, width) in [-1, 1], by title; the one
            titled ``truth`` is the reference for the others.
        rate: frames per second.
        record: of the run, as stored beside the video.
        looks: at its steps.
        remarks: sentences about what is shown.

    Raises:
        InputError: columns of several sizes.
    """
    from markupsafe import Markup

    sizes = {title: (len(video), *video.shape[2:]) for title, video in columns.items()}
    if len(set(sizes.values())) > 1:
        raise InputError(f"columns of (frames, height, width) {sizes}: expected videos of one size")

    style, script = (_part(f"report.{kind}") for kind in ("css", "js"))
    trace, kept = _trace(record), _thinned(looks)
    by_step = [*record.get("psnr", ()), *[None] * len(trace)][: len(trace)]
    drawn = _plots(columns, record, trace, by_step)
    others = [f for look in kept for f in (look.estimate, look.corrected)]
    others += [f for plot in drawn for f in (plot.light, plot.dark)]
    pictures = shown(columns, BUDGET - sum(map(len, others)))
    return _template().render(
        title=Path(next(iter(record["outputs"]), "restoration")).name,
        record=record,
        style=Markup(style),  # our own files, and no part of a run
        script=Markup(script),
        script_hash=b64encode(sha256(script.encode()).digest()).decode(),
        pictures=pictures,
        clip={
            "columns": [{"title": t, "frames": f} for t, f in pictures.columns.items()],
            "numbers": pictures.numbers,
            "frames": record["video_shape"][0],
            "width": pictures.width,
            "height": pictures.height,
            "seconds_per_frame": _seconds_per_frame(pictures.numbers, rate),
        },
        remarks=[*remarks, *pictures.remarks],
        tiles=list(_tiles(record, trace)),
        measures=list(_measures(record)),
        before="measurement_measures" in record,
        looks=kept,
        plots=drawn,
        trace=trace,
        rows=trace[:MOST_ROWS],
        psnr=by_step if any(by_step) else None,
        stages=list(_stages(record)),
        settings={k: v for k, v in record["settings"].items() if v not in (None, "")},
        run={title: _told(record[name]) for name, title in RUN.items() if name in record},
        command=shlex.join(record["command"]),
    )


def _template() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("visionxl.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = data_uri
    return environment.get_template("report.html")


def _part(name: str) -> str:
    return files("visionxl.report").joinpath("templates", name).read_text(encoding="utf-8")


def _trace(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The steps; of a long clip those of all its windows, one after another."""
    return (
        record["trace"] if "trace" in record else [r for w in record["windows"] for r in w["trace"]]
    )


def _seconds_per_frame(numbers: Sequence[int], rate: Fraction | int) -> float:
    every = numbers[1] - numbers[0] if len(numbers) > 1 else 1
    return float(every / rate)


def _tiles(
    record: Mapping[str, Any], trace: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[str, str, str]]:
    """Name, value and remark of each headline figure."""
    before = record.get("measurement_measures", {})
    for name in ("psnr", "ssim"):
        if name in record.get("measures", {}):
            was = f"measurement {_number(before[name])}" if name in before else ""
            yield MEASURES[name], _number(record["measures"][name]), was
    noise = f"noise {record['noise_std']:g}"
    yield "Data residual", f"{record['data_residual']:.4f}", noise
    yield "Time", _duration(record["seconds"]), f"{len(trace)} steps"
    peak = max((r["peak_bytes"] for r in trace), default=0)
    if peak:
        yield "Memory", f"{peak / 1e9:.2f} GB", f"on {record['device']}"


def _measures(record: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    before = record.get("measurement_measures", {})
    for name, value in record.get("measures", {}).items():
        was = _number(before[name]) if name in before else "-"
        yield MEASURES[name], _number(value), was


def _told(value: Any) -> Any:
    """A value of the record, rounded for display."""
    return f"{value:.4g}" if isinstance(value, float) else value


def _number(value: float | None) -> str:
    """A figure for display; None stands for infinity, the PSNR of a video equal to the truth."""
    return "∞" if value is None else f"{value:.4f}" if abs(value) < 2 else f"{value:.2f}"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _thinned(looks: Sequence[Look]) -> list[Look]:
    """The looks, or as many of them as a page holds, the first and the last among them."""
    count = min(len(looks), MOST_LOOKS)
    return [looks[round(i * (len(looks) - 1) / max(1, count - 1))] for i in range(count)]


def _plots(
    columns: Mapping[str, Video],
    record: Mapping[str, Any],
    trace: Sequence[Mapping[str, Any]],
    by_step: Sequence[Sequence[float] | None],
) -> list[Plot]:
    truth = columns.get(TRUTH)
    by_frame = {}
    if truth is not None and len(truth) > 1:
        for title, video in columns.items():
            if title != TRUTH:
                pairs = zip(video.split(1), truth.split(1), strict=True)
                by_frame[title] = [psnr(a.expand_as(b), b) for a, b in pairs]
    return plots(trace, record["noise_std"], record.get("stages", ()), by_frame, by_step)


def _stages(record: Mapping[str, Any]) -> Iterator[tuple[str, float, float, int]]:
    """Stage, its seconds and share of them over the known steps, and bytes it added to the peak."""
    known = [stages for stages in record.get("stages", ()) if stages]
    seconds = {n: sum(stages[n]["seconds"] for stages in known) for n in STAGES}
    total = sum(seconds.values())
    for name in STAGES if total else ():
        added = sum(stages[name]["bytes"] for stages in known)
        yield name, seconds[name], seconds[name] / total, added
