"""What a run leaves beside the video: a record to repeat it from, and a picture to look at."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from attrs import frozen
from PIL import Image, ImageDraw, ImageFont

from visionxl.files import whole
from visionxl.measurements import Description
from visionxl.operators import lift
from visionxl.planning.plan import counted
from visionxl.protocols import InverseProblem, Video
from visionxl.report import Look, measures, write_page
from visionxl.report.record import version_of
from visionxl.video import to_pictures, to_video
from visionxl.writing import write_clip

RESUME = "--resume"
MARGIN, TITLE = 8, 22
MEASURES = (("psnr", 2, " dB"), ("ssim", 3, ""), ("difference_psnr", 2, " dB"))  # digits, unit
PAPER, INK = (255, 255, 255), (30, 30, 30)


@frozen(eq=False)
class Restored:
    """What a run has made: the video, its record, words for people, and looks at its steps."""

    video: Video
    record: dict[str, Any]
    notes: list[str]
    looks: list[Look]


def command_line(*more: str) -> list[str]:
    """The words of this command, from the beginning of its work, and some more."""
    return ["visionxl", *(word for word in sys.argv[1:] if word != RESUME), *more]


def deciding() -> dict[str, str]:
    """Versions that a run may not change half-way."""
    return {name: version_of(name) for name in ("visionxl", "torch")}


def read_json(path: Path) -> dict[str, Any]:
    """A record; empty where there is none that can be read."""
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def is_finished(record: Path, output: Path) -> bool:
    """Whether a record stands beside its output: it is written last."""
    written = read_json(record).get("outputs", [])
    return output.exists() and output.name in (Path(path).name for path in written)


def write_json(path: Path, record: dict[str, Any]) -> None:
    with whole(path) as partial:
        partial.write_text(json.dumps(record, indent=2) + "\n")


def write_picture(path: Path, columns: dict[str, Video]) -> None:
    """Titled columns; the first, middle and last frame, then a crop of the middle one enlarged.

    Args:
        path: of the PNG.
        columns: videos of one size by title: measurement, restoration, truth.
    """
    count = len(next(iter(columns.values())))
    chosen = sorted({0, count // 2, count - 1})
    rows = [np.concatenate(list(to_pictures(v[chosen])), axis=0) for v in columns.values()]
    scale = min(1.0, 640 / rows[0].shape[1])
    size = (round(rows[0].shape[1] * scale), round(rows[0].shape[0] * scale))
    crop_size = (size[0], round(size[0] * 0.6))
    width = len(rows) * (size[0] + MARGIN) + MARGIN
    sheet = Image.new("RGB", (width, TITLE + size[1] + crop_size[1] + 3 * MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    for index, (title, video) in enumerate(columns.items()):
        left = MARGIN + index * (size[0] + MARGIN)
        draw.text((left, 4), title, fill=INK, font=ImageFont.load_default(14))
        frames = Image.fromarray(rows[index]).resize(size, Image.Resampling.LANCZOS)
        sheet.paste(frames, (left, TITLE))
        crop = Image.fromarray(_middle(next(to_pictures(video[count // 2 :][:1]))))
        enlarged = crop.resize(crop_size, Image.Resampling.NEAREST)
        sheet.paste(enlarged, (left, TITLE + size[1] + MARGIN))
    with whole(path) as partial:
        sheet.save(partial)


def _middle(picture: np.ndarray) -> np.ndarray:
    """A third of the width from the centre, in the proportions of 10 to 6."""
    height, width = picture.shape[:2]
    across = max(1, width // 3)
    down = min(height, max(1, round(across * 0.6)))
    top, left = (height - down) // 2, (width - across) // 2
    return picture[top : top + down, left : left + across]


def side_by_side(columns: dict[str, Video]) -> Video:
    """The videos next to each other, each frame titled, with a margin between."""
    first = next(iter(columns.values()))
    strips = []
    for title, video in columns.items():
        label = Image.new("RGB", (video.shape[-1], TITLE), PAPER)
        ImageDraw.Draw(label).text((4, 4), title, fill=INK, font=ImageFont.load_default(14))
        titled = to_video([np.array(label)]).to(video).expand(len(video), -1, -1, -1)
        strips.append(torch.cat([titled, video.expand(-1, 3, -1, -1)], dim=-2))
        strips.append(first.new_ones(len(first), 3, first.shape[-2] + TITLE, MARGIN))
    return torch.cat(strips[:-1], dim=-1)


def beside(output: Path) -> tuple[Path, Path, Path]:
    """The picture, the record and the page that belong to an output."""
    picture, record, page = (output.with_suffix(kind) for kind in (".png", ".json", ".html"))
    if picture == output:
        picture = output.with_stem(f"{output.stem}-comparison")
    return picture, record, page


def about_measures(record: dict[str, Any]) -> list[str]:
    """A note on a result that is farther from the truth than what it was restored from."""
    measured = record["measurement_measures"]
    after, before = record["measures"]["psnr"], measured["psnr"]
    if after is None or (before is not None and after >= before):  # None is infinite
        return []
    if before is None and measured.get("difference_psnr") is not None:  # some frames are exact
        return []
    was = "exact" if before is None else f"at {before:.2f} dB"
    return [
        f"the result, at {after:.2f} dB, is farther from the truth than the measurement, {was}: "
        "look for a wrong task or noise, a lossy file, or a method that needs a stronger prior or "
        "more --steps"
    ]


def write_all(
    output: Path,
    made: Restored,
    problem: InverseProblem,
    description: Description,
    truth: Video | None,
    overwrite: bool,
) -> list[Path]:
    """The video, the picture, the page and the record of what a run has made."""
    picture, record_path, page = beside(output)
    rate, sound = description.rate, description.sound
    made.notes.extend(write_clip(output, made.video, rate, sound=sound, overwrite=overwrite))
    columns = columns_of(problem, made.video, truth)
    if truth is not None:
        made.record["measures"] = measures(made.video, truth)
        made.record["measurement_measures"] = measures(columns["measurement"], truth)
        made.notes.extend(about_measures(made.record))
    write_picture(picture, columns)
    written = [output, picture, page, record_path]
    made.record["notes"], made.record["outputs"] = made.notes, [str(path) for path in written]
    write_page(page, columns, rate, made.record, made.looks)
    write_json(record_path, made.record)
    return written


def columns_of(problem: InverseProblem, restored: Video, truth: Video | None) -> dict[str, Video]:
    columns = {"measurement": lift(problem.operator, problem.measurement), "restored": restored}
    return columns if truth is None else {**columns, "truth": truth}


def summary(record: dict[str, Any]) -> str:
    frames, _, height, width = record["video_shape"]
    seen = record["measurement_shape"]
    other = len(seen) == 4 and [seen[0], *seen[2:]] != [frames, height, width]
    source = f" from {counted(seen[0])} of {seen[2]}x{seen[3]}" if other else ""
    took = f"in {record['seconds']:.0f} s"
    words = [f"restored {counted(frames)} of {height}x{width}{source} {took}"]
    if "warm_up_seconds" in record:
        words.append(f"after {record['warm_up_seconds']:.0f} s of compiling")
    words.append(f"data residual {record['data_residual']:.4f} (noise {record['noise_std']:g})")
    if "measures" in record:
        after = record["measures"]
        before = record.get("measurement_measures", {})
        for name, digits, unit in MEASURES:
            if name in after:
                was = f", was {_decimals(before[name], digits)}" if name in before else ""
                now = _decimals(after[name], digits, unit)
                words.append(f"{name.replace('_', ' ')} {now}{was}")
    return "; ".join(words)


def _decimals(value: float | None, digits: int, unit: str = "") -> str:
    """JSON knows no infinity: a PSNR of what is equal is None there."""
    return "infinite" if value is None else f"{value:.{digits}f}{unit}"
