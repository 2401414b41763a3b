"""The app: uploads and their limits, the desk, and the page in a browser."""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from fractions import Fraction
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import ProxyHandler, build_opener
from urllib.request import Request as WebRequest

import models
import pytest
import torch
from attrs import evolve
from command_line import free_port, make_clip, moving_scene, visionxl
from PIL import Image

import visionxl as package
from visionxl.app import (
    Desk,
    Limits,
    Outcome,
    Progress,
    Request,
    Stopped,
    read_upload,
    serve,
    words,
)
from visionxl.cli.app_priors import named, offered
from visionxl.cli.app_work import Restorer, command_of
from visionxl.errors import InputError
from visionxl.measurements import CODEC
from visionxl.video import Clip, read_clip

# Uploads


def test_a_clip_within_the_limits_is_read_as_it_is(tmp_path):
    clip = make_clip(tmp_path / "x.mkv", 5, 32, 48)
    read = read_upload(clip, Limits(5, 32 * 48), fit=False)
    assert torch.equal(read.video, read_clip(clip).video)
    assert read.rate == read_clip(clip).rate


def test_what_is_beyond_the_limits_is_refused_or_made_to_fit(tmp_path):
    clip = make_clip(tmp_path / "x.mkv", 5, 64, 96)
    with pytest.raises(InputError, match=r"^x.mkv has more than 4 frames.*--max-frames"):
        read_upload(clip, Limits(4, 64 * 96), fit=False)
    with pytest.raises(InputError, match=r"^x.mkv has frames of 64x96, 6,144.*--max-pixels"):
        read_upload(clip, Limits(5, 64 * 96 - 1), fit=False)
    fitted = read_upload(clip, Limits(4, 1600), fit=True).video
    assert fitted.shape == (4, 3, 32, 48)


@pytest.mark.parametrize("fit", [True, False])
def test_what_is_no_video_is_refused_by_its_name_alone(tmp_path, fit):
    path = tmp_path / "notes.mp4"
    path.write_text("no video")
    with pytest.raises(InputError, match=r"'notes\.mp4' is no video") as refused:
        read_upload(path, Limits(), fit)
    assert str(tmp_path) not in str(refused.value)


def test_an_image_is_a_clip_of_one_frame(tmp_path):
    Image.new("RGB", (48, 32), (255, 0, 0)).save(tmp_path / "x.png")
    assert read_upload(tmp_path / "x.png", Limits(), fit=False).video.shape == (1, 3, 32, 48)


# The desk


def asked(frames=3, **changed):
    clip = Clip(moving_scene(frames), Fraction(24))
    given = {"simulate": True, "task": "deblur", "noise": 0.02, "method": "vision_tv"}
    given["prior"] = "pocket"
    return Request("x.mp4", clip, **{**given, **changed})


def outcome_in(folder):
    (folder / "restored.mp4").write_text("x")
    file = folder / "restored.mp4"
    return Outcome("done", [], file, file, file, ("restored",), file, file)


def test_files_of_a_run_are_there_with_its_outcome_and_gone_afterwards(tmp_path):
    def work(request, folder, tell):
        tell(Progress("start", 0, 4))
        return outcome_in(folder)

    for told in Desk(work, tmp_path).run("a", asked()):
        if isinstance(told, Outcome):
            assert told.video.read_text() == "x"
    assert isinstance(told, Outcome)
    assert list(tmp_path.iterdir()) == []


def test_errors_of_the_work_come_out_and_leave_nothing(tmp_path):
    def work(request, folder, tell):
        outcome_in(folder)
        raise InputError("no")

    desk = Desk(work, tmp_path)
    with pytest.raises(InputError, match="no"):
        list(desk.run("a", asked()))
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_stopped_in_the_middle_of_a_computation(tmp_path):
    began, calls = threading.Event(), []

    def work(request, folder, tell):
        while True:  # it would never end, and tells nothing
            calls.append(torch.ones(1) + 1)
            began.set()

    desk = Desk(work, tmp_path)
    stopper = threading.Thread(target=lambda: (began.wait(), desk.stop("a")))
    stopper.start()
    with pytest.raises(Stopped):
        list(desk.run("a", asked()))
    stopper.join()
    assert calls
    assert float(torch.ones(1) + 1) == 2  # nobody else is stopped


def test_a_restoration_is_stopped_at_its_first_step(tmp_path):
    desk, seen = Desk(restorer(), tmp_path), []

    def watch():
        for told in desk.run("a", asked()):
            seen.append(told)
            if isinstance(told, Progress) and told.step == 1:
                desk.stop("a")

    with pytest.raises(Stopped):
        watch()
    assert not [told for told in seen if isinstance(told, Outcome)]
    assert max(told.step for told in seen) <= 2  # of 4; one may have been told meanwhile
    assert list(tmp_path.iterdir()) == []


def test_runs_wait_for_one_another_and_can_be_stopped_while_they_wait(tmp_path):
    begun, leave, running, most = threading.Event(), threading.Event(), [], []

    def work(request, folder, tell):
        running.append(1)
        most.append(len(running))
        begun.set()
        leave.wait(10)
        running.pop()
        return outcome_in(folder)

    desk = Desk(work, tmp_path)
    first = threading.Thread(target=lambda: list(desk.run("a", asked())))
    first.start()
    begun.wait(10)

    def watch():
        for told in desk.run("b", asked()):
            assert told.stage == "wait"
            desk.stop("b")

    with pytest.raises(Stopped):
        watch()
    leave.set()
    assert isinstance(list(desk.run("c", asked()))[-1], Outcome)
    first.join()
    assert most == [1, 1]


def test_nobody_who_leaves_is_waited_for(tmp_path):
    def work(request, folder, tell):
        tell(Progress("start", 0, 4))
        while True:
            torch.ones(1).add(1)

    desk = Desk(work, tmp_path)
    run = desk.run("a", asked())
    next(run)
    run.close()  # as the server does when the tab is closed
    assert list(tmp_path.iterdir()) == []
    desk.close()


# The work


def restorer(limits=None):
    return Restorer(offered(["pocket"], "cpu", "float32"), limits or Limits(), torch.device("cpu"))


@pytest.mark.parametrize(
    ("simulate", "method"), [(True, "vision_tv"), (False, "vision_tv"), (True, "latino")]
)
@pytest.mark.filterwarnings("ignore:.*result's values are beyond")
def test_the_page_gives_what_the_commands_give(simulate, method, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    make_clip(Path("x.mkv"), 3, 32, 48)
    told = ["--task", "deblur+", "--noise", "0.02"]
    if simulate:
        words_ = ["simulate", "x.mkv", *told, "--output", "measurement.safetensors"]
        assert visionxl(monkeypatch, capfd, *words_).code == 0
    clip = read_upload(Path("x.mkv"), Limits(), fit=False)
    request = Request("x.mkv", clip, simulate, "deblur+", 0.02, method, "pocket")
    Path("own").mkdir()
    outcome = restorer()(request, Path("own"), lambda progress: None)
    command = command_of(request)
    assert visionxl(monkeypatch, capfd, *command[1:]).code == 0
    assert outcome.video.read_bytes() == Path("restored.mp4").read_bytes()
    page = outcome.page.read_text()
    assert " ".join(command) in page
    assert str(tmp_path) not in page
    for picture in (outcome.before, outcome.after):
        with Image.open(picture) as opened:
            assert opened.size == (48, 32)


@pytest.mark.parametrize(
    ("name", "read", "written"),
    [
        ("restored.mkv", "restored.mkv", "x-restored.mp4"),
        ("-x.mkv", "./-x.mkv", "restored.mp4"),
        ("x.mkv", "x.mkv", "restored.mp4"),
    ],
)
@pytest.mark.parametrize("simulate", [True, False])
def test_the_command_does_not_write_over_what_it_reads(name, read, written, simulate):
    command = command_of(evolve(asked(simulate=simulate), name=name))
    assert command[-1] == written
    assert read in command
    assert (command[2] == read) == (not simulate)


@pytest.mark.filterwarnings("ignore:.*result's values are beyond")
def test_what_is_assumed_of_a_spoilt_clip_is_told(tmp_path):
    outcome = restorer()(asked(simulate=False, task="temporal"), tmp_path, lambda progress: None)
    assert any("the first frame to follow the last" in note for note in outcome.notes)


@pytest.mark.parametrize(("task", "notes"), [("inpaint", 1), ("bayer", 0)])
def test_what_a_mask_hides_of_a_spoilt_clip_counts_for_nothing(task, notes, tmp_path):
    request = asked(simulate=False, task=task)
    outcome = restorer()(request, tmp_path, lambda progress: None)
    record = json.loads((tmp_path / "restored.json").read_text())
    assert record["data_residual"] < request.noise
    assert len(outcome.notes) == notes
    assert all("of the pixels count as known, drawn from --seed 0" in n for n in outcome.notes)


def offering(folder):
    """The pocket prior, and a model in a folder of that name."""
    return offered(["pocket", str(models.stable_diffusion(folder))], "cpu", "float32")


def test_priors_are_named_by_their_folders_last_part_and_told_apart(tmp_path):
    folders = [tmp_path / name for name in ("one/model", "two/model", "pocket")]
    for folder in folders:
        folder.mkdir(parents=True)
    names = named(["pocket", *map(str, folders), "owner/name", "pocket"])
    assert list(names) == ["pocket", "model", "model (2)", "pocket (2)", "owner/name"]
    assert list(names.values())[1:4] == list(map(str, folders))
    with pytest.raises(InputError, match=r"--prior '/no/such/place' is unknown"):
        named(["pocket", "/no/such/place"])


def test_a_prior_is_loaded_when_it_is_first_chosen_and_kept(tmp_path):
    priors = offering(tmp_path / "models")
    work = Restorer(priors, Limits(), torch.device("cpu"))
    assert [load.cache_info().currsize for load in priors.values()] == [0, 0]
    for _ in range(2):
        folder = tmp_path / "run"
        folder.mkdir()
        outcome = work(asked(prior="model"), folder, lambda progress: None)
        assert "--prior model" in outcome.page.read_text()
        shutil.rmtree(folder)
    assert [load.cache_info().misses for load in priors.values()] == [0, 1]


def test_a_prior_that_is_not_offered_or_not_whole_is_refused_without_a_path(tmp_path, capsys):
    priors = offering(tmp_path)
    (tmp_path / "model" / "model_index.json").unlink()
    work = Restorer(priors, Limits(), torch.device("cpu"))
    with pytest.raises(InputError, match=r"'/etc' is not offered: choose one of pocket, model"):
        work(asked(prior="/etc"), tmp_path, lambda progress: None)
    with pytest.raises(InputError, match=r"'model' cannot be loaded: the terminal") as refused:
        work(asked(prior="model"), tmp_path, lambda progress: None)
    assert str(tmp_path) not in str(refused.value)
    assert str(tmp_path) in capsys.readouterr().err  # for the one who started it


def test_what_would_be_restored_beyond_the_limits_is_refused(tmp_path):
    request = asked(simulate=False, task="sr4")
    with pytest.raises(InputError, match=r"restored from x.mp4 has frames of 128x192"):
        restorer(Limits(5, 32 * 48))(request, tmp_path, lambda progress: None)


# The page


def test_names_and_sentences_are_words_and_no_markup():
    evil = "<img src=x onerror=alert(1)>"
    clip = Clip(moving_scene(1), Fraction(24))
    path = Path(evil)
    outcome = Outcome(evil, [evil], path, path, path, (evil,), path, path)
    shown = (words.refusal(evil), words.clip_told(clip, Path(evil), CODEC), words.outcome(outcome))
    for text in (*shown, words.heading([evil], Limits())):
        assert "<img" not in text
        assert "&lt;img" in text


def test_an_upload_of_a_lossy_codec_is_told_so():
    clip = Clip(moving_scene(1), Fraction(24))
    assert "lossy codec" in words.clip_told(clip, Path("x.mp4"), CODEC)
    assert "lossy codec" not in words.clip_told(clip, Path("x.mkv"), 0.00226)


def test_the_heading_names_a_prior_that_is_alone():
    assert "the prior <b>pocket</b>" in words.heading(["pocket"], Limits())
    assert "the prior that you choose" in words.heading(["pocket", "another"], Limits())


def test_every_stage_has_its_words():
    assert "loading the prior" in words.progress(Progress("load", 0, 1))
    for stage in ("start", "denoise", "decode", "encode", "step", "write"):
        assert "step 2 of 4" in words.progress(Progress(stage, 2, 4, None, 0.01))


def test_a_missing_gradio_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(InputError, match="pip install 'gradio>=6'"):
        serve(outcome_in, Limits(), ["pocket"], "127.0.0.1", free_port(), ready=print)


# In a browser

CUT_OFF = """() => [...document.querySelectorAll('main *')].filter(
    part => part.getBoundingClientRect().right > innerWidth + 1
).map(part => part.tagName + ' ' + part.textContent.slice(0, 40))"""


@pytest.fixture(scope="module")
def served(browser, tmp_path_factory):
    """The app's address. At its end it has left no file behind."""
    if importlib.util.find_spec("gradio") is None:
        pytest.skip("gradio is not installed: pip install 'visionxl[app]'")
    place, temporary = (tmp_path_factory.mktemp(name) for name in ("place", "temporary"))
    sources = str(Path(package.__file__).parents[1])
    more = {"PYTHONPATH": sources, "TMPDIR": str(temporary)}
    options = ["--port", str(free_port()), "--max-frames", "25", "--max-pixels", "40000"]
    model = models.stable_diffusion(tmp_path_factory.mktemp("models"))
    options += ["--prior", "pocket", "--prior", str(model)]
    app = subprocess.Popen(
        [sys.executable, "-m", "visionxl", "app", *options],
        cwd=place,
        env={**os.environ, **more},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    address = app.stdout.readline().split(" ")[0]
    assert address, app.stderr.read()
    yield address
    app.send_signal(signal.SIGTERM)
    _, err = app.communicate(timeout=60)
    assert app.returncode == 143
    assert "stopped: " in err
    assert "Traceback" not in err
    assert not list(temporary.glob("visionxl-app-*"))
    assert list(place.iterdir()) == []


@pytest.fixture
def tab(browser, served):
    """The page, opened; at its end nothing was asked of others, and nothing complained about."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    opened, complaints, requests = context.new_page(), [], []
    opened.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("request", lambda request: requests.append(request.url))
    opened.set_default_timeout(60_000)
    opened.goto(served)
    opened.wait_for_selector("#go")
    yield opened
    assert complaints == []
    own = (served, "data:", f"blob:{served}")
    assert [url for url in requests if not url.startswith(own)] == []
    context.close()


def test_other_sites_may_not_use_the_page(served):
    def asked(**headers):
        page = WebRequest(f"{served}config", headers=headers)
        try:
            return build_opener(ProxyHandler({})).open(page).status
        except HTTPError as error:
            return error.code

    here = served.removeprefix("http://").rstrip("/")
    assert asked() == asked(Origin=f"http://{here}") == 200
    assert asked(Host="evil.example", Origin="http://evil.example") == 400  # it points here
    assert asked(Origin="https://evil.example") == asked(Origin="null") == 403


def wait_for(tab, part, text):
    tab.wait_for_function(
        "([id, text]) => document.getElementById(id)?.innerText.includes(text)", arg=[part, text]
    )


def test_from_upload_to_download(tab, served, tmp_path):
    tab.set_input_files("input[type=file]", make_clip(tmp_path / "x.mp4", 5, 64, 96))
    wait_for(tab, "said", "x.mp4: 5 frames of 64x96 are taken")
    tab.click("#prior input")
    offers = tab.locator("#prior [role=option]")
    assert [offer.strip("✓ \n") for offer in offers.all_inner_texts()] == ["pocket", "model"]
    offers.last.click()
    tab.click("#go")
    tab.wait_for_selector("#progress img")  # while it goes on
    wait_for(tab, "progress", "Done: restored 5 frames of 64x96")
    assert "psnr" in tab.inner_text("#progress")
    tab.wait_for_selector("#slider img")
    tab.wait_for_function("document.querySelector('#film video')?.videoWidth > 0")
    names = {}
    for button in ("video", "report"):
        with tab.expect_download() as download:
            tab.click(f"text=Download the {button}")
        names[button] = download.value.suggested_filename
        download.value.save_as(tmp_path / names[button])
    assert names == {"video": "restored.mp4", "report": "restored.html"}
    assert read_clip(tmp_path / "restored.mp4").video.shape == (5, 3, 64, 96)
    report = (tmp_path / "restored.html").read_text()
    assert "visionxl-app-" not in report
    assert "--prior model" in report


def test_the_page_fits_a_phone(tab, tmp_path):
    tab.set_viewport_size({"width": 390, "height": 844})
    tab.set_input_files("input[type=file]", make_clip(tmp_path / "x.mp4", 2, 64, 96))
    wait_for(tab, "said", "2 frames")
    go, stop = (tab.locator(f"#{name}").bounding_box() for name in ("go", "stop"))
    assert go["y"] == stop["y"]
    tab.click("#go")
    wait_for(tab, "progress", "Done")
    tab.wait_for_selector("#film video")
    assert "Side by side: measurement, restored, truth." in tab.inner_text("body")
    labels = tab.locator("#film label")  # which would lie on the pictures
    assert labels.evaluate_all("all => all.every(one => one.getBoundingClientRect().width <= 1)")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    assert tab.evaluate(CUT_OFF) == []


def test_an_upload_that_is_no_video_is_refused(tab, tmp_path):
    (tmp_path / "notes.mp4").write_text("no video")
    tab.set_input_files("input[type=file]", tmp_path / "notes.mp4")
    wait_for(tab, "said", "clip 'notes.mp4' is no video")
    tab.click("#go")
    wait_for(tab, "progress", "Not possible: clip 'notes.mp4' is no video")
    assert tab.is_enabled("#go")


def test_stop_ends_the_run_and_another_may_begin(tab, tmp_path):
    tab.set_input_files("input[type=file]", make_clip(tmp_path / "x.mp4", 12, 128, 192))
    wait_for(tab, "said", "12 frames")
    tab.click("#go")
    wait_for(tab, "progress", "step 0 of 4")
    tab.click("#stop")
    wait_for(tab, "progress", "Stopped. Nothing of the run is kept.")
    assert tab.is_disabled("#stop")
    tab.click("#go")
    wait_for(tab, "progress", "step 0 of 4")
    tab.click("#stop")
    wait_for(tab, "progress", "Stopped.")


def test_files_of_the_machine_are_not_served(served):
    ask = build_opener(ProxyHandler({})).open
    for path in ("/etc/passwd", package.__file__, "../../../../etc/passwd", "pyproject.toml"):
        with pytest.raises(HTTPError) as refused:
            ask(f"{served.rstrip('/')}/gradio_api/file={quote(path)}")
        refused.value.close()
        assert refused.value.code in (403, 404)


def test_a_port_that_is_taken_is_told(served, monkeypatch, capfd):
    words_ = ["app", "--port", served.rstrip("/").rpartition(":")[2]]
    told = subprocess.run(
        [sys.executable, "-m", "visionxl", *words_],
        env={**os.environ, "PYTHONPATH": str(Path(package.__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    assert told.returncode == 2
    assert "choose another --port" in told.stderr
    assert "Traceback" not in told.stderr
