"""The page: what it shows, and what its buttons do."""

import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from shutil import copyfile
from typing import Any
from uuid import uuid4

from visionxl.app import words
from visionxl.app.desk import Desk, Outcome, Request, Stopped
from visionxl.app.uploads import Limits, read_upload
from visionxl.errors import InputError
from visionxl.measurements import least_noise
from visionxl.operators import TASK_NAMES
from visionxl.solvers.methods import METHODS
from visionxl.video import DEMO_CLIP

NARROW = 120  # pixels: two buttons beside one another on a phone
KEPT_SECONDS = 3600  # of uploads and results, in the server's temporary folder


def _least(path: Path, simulated: bool) -> float:
    """The noise that is taken at least: an upload that is the truth has none yet."""
    return 0.0 if simulated else least_noise(path)


def theme(gr: Any) -> Any:
    """Its looks: with the fonts of the system, for nothing is to be fetched."""
    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
    readable = {
        "block_info_text_color": "*neutral_600",
        "block_info_text_color_dark": "*neutral_300",
    }
    return gr.themes.Default(**fonts).set(**readable)


def build(gr: Any, desk: Desk, limits: Limits, priors: Sequence[str]) -> Any:
    """The page, as gradio's Blocks.

    Args:
        gr: gradio.
        desk: does the work.
        limits: of uploads.
        priors: their names; the first is chosen to begin with.
    """
    with gr.Blocks(
        title="visionxl", analytics_enabled=False, delete_cache=(60, KEPT_SECONDS)
    ) as page:
        session = gr.State(lambda: uuid4().hex, delete_callback=desk.stop)
        gr.HTML(words.heading(priors, limits))
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                upload = gr.File(label="1. A clip: a video or an image", height=150)
                flower = gr.Button("or take the flower that comes with visionxl", size="sm")
                said = gr.HTML(elem_id="said")
                simulate = gr.Radio(words.MODES, value=True, label="2. What it is", elem_id="mode")
                task = gr.Dropdown(
                    TASK_NAMES,
                    value=TASK_NAMES[0],
                    label="3. How it is, or was, measured",
                    info=words.TASK,
                )
                noise = gr.Slider(0, 0.2, value=0.01, step=0.005, label="Noise", info=words.NOISE)
                method = gr.Dropdown(list(METHODS), value="vision_tv", label="Method")
                prior = gr.Dropdown(
                    list(priors),
                    value=priors[0],
                    label="Prior",
                    info=words.PRIOR,
                    visible=len(priors) > 1,
                    elem_id="prior",
                )
                with gr.Row():
                    go = gr.Button("Restore", variant="primary", elem_id="go", min_width=NARROW)
                    stop = gr.Button(
                        "Stop",
                        variant="stop",
                        elem_id="stop",
                        interactive=False,
                        min_width=NARROW,
                    )
            with gr.Column(scale=3, min_width=320):
                progress = gr.HTML(words.waiting(), elem_id="progress")
                slider = gr.ImageSlider(
                    label="measurement | restored",
                    visible=False,
                    elem_id="slider",
                    buttons=["fullscreen"],
                )
                film = gr.Video(
                    label="side by side",
                    show_label=False,  # on a phone it would lie on the pictures
                    visible=False,
                    loop=True,
                    autoplay=True,
                    elem_id="film",
                    buttons=[],
                )
                names = gr.HTML(visible=False)
                with gr.Row():
                    narrow: dict[str, Any] = {"visible": False, "min_width": NARROW}
                    video = gr.DownloadButton("Download the video", **narrow)
                    report = gr.DownloadButton("Download the report", **narrow)

        results = (slider, film, names, video, report)
        hidden = {part: gr.update(visible=False, value=None) for part in results}
        idle = {go: gr.update(interactive=True), stop: gr.update(interactive=False)}
        busy = {go: gr.update(interactive=False), stop: gr.update(interactive=True)}

        def check(path: str | None, simulated: bool) -> str:
            if path is None:
                return ""
            try:
                clip = read_upload(Path(path), limits, fit=simulated)
                return words.clip_told(clip, Path(path), _least(Path(path), simulated))
            except InputError as error:
                return words.refusal(str(error))

        def take_flower() -> str:
            folder = Path(gr.utils.get_upload_folder()) / uuid4().hex
            folder.mkdir(parents=True)
            return str(copyfile(DEMO_CLIP, folder / DEMO_CLIP.name))

        def run(
            mine: str,
            path: str | None,
            simulated: bool,
            task: str,
            noise: float,
            method: str,
            prior: str,
        ) -> Iterator[dict[Any, Any]]:
            yield {progress: words.reading(), **hidden, **busy}
            try:
                if path is None:
                    raise InputError("there is no clip yet: drop one, or take the flower")
                clip = read_upload(Path(path), limits, fit=simulated)
                noise = max(noise, _least(Path(path), simulated))
                request = Request(Path(path).name, clip, simulated, task, noise, method, prior)
                for event in desk.run(mine, request):
                    if isinstance(event, Outcome):
                        yield {progress: words.outcome(event), **shown(event), **idle}
                    else:
                        yield {progress: words.progress(event)}
            except Stopped:
                yield {progress: words.stopped(), **idle}
            except InputError as error:
                yield {progress: words.refusal(str(error)), **idle}
            except Exception:
                traceback.print_exc(file=sys.stderr)
                yield {progress: words.failed(), **idle}

        def halt(mine: str) -> dict[Any, Any]:
            desk.stop(mine)  # the run tells that it has stopped, perhaps before this returns
            return {stop: gr.update(interactive=False)}

        def shown(outcome: Outcome) -> dict[Any, Any]:
            pictures = (str(outcome.before), str(outcome.after))
            return {
                slider: gr.update(visible=True, value=pictures),
                film: gr.update(visible=True, value=str(outcome.comparison)),
                names: gr.update(visible=True, value=words.beside(outcome.columns)),
                video: gr.update(visible=True, value=str(outcome.video)),
                report: gr.update(visible=True, value=str(outcome.page)),
            }

        private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        checked = {"fn": check, "inputs": [upload, simulate], "outputs": said, **private}
        upload.change(**checked)
        simulate.change(**checked)
        flower.click(take_flower, outputs=upload, **private)
        go.click(
            run,
            inputs=[session, upload, simulate, task, noise, method, prior],
            outputs=[progress, *results, go, stop],
            concurrency_limit=None,  # the desk has them wait
            scroll_to_output=True,
            **private,
        )
        stop.click(halt, inputs=session, outputs=[stop], queue=False, **private)
    page.queue(max_size=16, api_open=False)
    return page
