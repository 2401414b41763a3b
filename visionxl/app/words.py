"""What the page says, as HTML; everything that comes from outside is escaped."""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from visionxl.app.desk import Outcome, Progress
from visionxl.app.uploads import Limits
from visionxl.measurements import CODEC
from visionxl.report.media import data_uri
from visionxl.video import Clip

MODES: list[tuple[str, bool]] = [
    ("A good clip: degrade it, restore it, compare with the original", True),
    ("A degraded clip: restore it", False),
]
TASK = "sr4 is 4 times smaller, inpaint lacks half of the pixels; + also averages over 7 frames."
NOISE = "Standard deviation; the range of the pixels is [-1, 1]. One grey level is 0.008."
PRIOR = "The image model. Each is loaded the first time that it is chosen."
STAGES = {
    "start": "finding where to start",
    "denoise": "denoising",
    "decode": "decoding",
    "encode": "encoding",
    "step": "going on",
    "write": "writing the video and the report",
}


def heading(priors: Sequence[str], limits: Limits) -> str:
    """The top of the page."""
    which = f"here the prior <b>{escape(priors[0])}</b>"
    if len(priors) > 1:
        which = "the prior that you choose"
    return (
        f"<h1>visionxl</h1><p>Restores a short clip with an image model, {which}. At most "
        f"{limits.max_frames} frames of {limits.max_pixels:,} pixels; a good clip beyond that is "
        "shortened and shrunk first. Nothing leaves the machine that serves this page.</p>"
    )


def waiting() -> str:
    """Before the first run."""
    return "<p>The restoration will appear here, step by step.</p>"


def reading() -> str:
    """At the beginning of a run."""
    return f"<p>reading the clip</p>{_bar()}"


def clip_told(clip: Clip, path: Path, least_noise: float) -> str:
    """What was found in an upload, and the noise that is taken at least."""
    frames, _, height, width = clip.video.shape
    line = f"{escape(path.name)}: {frames} frames of {height}x{width} are taken."
    if least_noise == CODEC:
        line += (
            f" They went through a lossy codec, whose errors are like noise of {CODEC}: at least "
            "that is assumed."
        )
    return f"<p>{line}</p>"


def progress(now: Progress) -> str:
    """How far a run is, with the latest pictures."""
    if now.stage == "wait":
        return f"<p>waiting for another run to end</p>{_bar()}"
    if now.stage == "load":
        return f"<p>loading the prior</p>{_bar()}"
    line = f"step {now.step} of {now.steps}, {STAGES[now.stage]}"
    if now.data_residual is not None:
        line += f"; data residual {now.data_residual:.4f}"
    return f"<p>{line}</p>{_bar(now)}{_look(now)}"


def _bar(now: Progress | None = None) -> str:
    at = "" if now is None else f' max="{now.steps}" value="{now.step}"'
    return f'<progress style="width:100%;height:16px"{at}></progress>'


def _look(now: Progress) -> str:
    if now.look is None:
        return ""
    pictures = (
        ("estimate of the prior", now.look.estimate),
        ("corrected by the measurement", now.look.corrected),
    )
    figures = "".join(
        f'<figure style="margin:0;flex:1 1 140px"><img style="width:100%" alt="{title}" '
        f'src="{data_uri(picture, "image/webp")}"><figcaption>{title}</figcaption></figure>'
        for title, picture in pictures
    )
    return f'<div style="display:flex;flex-wrap:wrap;gap:12px">{figures}</div>'


def outcome(result: Outcome) -> str:
    """At the end of a run."""
    notes = "".join(f"<li>{escape(note)}</li>" for note in result.notes)
    return f"<p><b>Done:</b> {escape(result.summary)}.</p><ul>{notes}</ul>"


def beside(columns: Iterable[str]) -> str:
    """What is side by side in the film."""
    return f"<p>Side by side: {escape(', '.join(columns))}.</p>"


def stopped() -> str:
    """After a run was stopped."""
    return "<p>Stopped. Nothing of the run is kept.</p>"


def refusal(sentence: str) -> str:
    """What cannot be done, and the way out."""
    return f'<p role="alert"><b>Not possible:</b> {escape(sentence)}.</p>'


def failed() -> str:
    """After an error of the program's own."""
    return (
        '<p role="alert"><b>Something went wrong</b> that should not: the terminal where visionxl '
        "app runs says what.</p>"
    )
