"""The page about a run: what is in it, and how it works in a browser."""

import base64
import html
import io
import json
import re
import shlex
from fractions import Fraction
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from attrs import evolve
from command_line import make_clip, moving_scene, visionxl
from PIL import Image

from visionxl import GaussianPrior, restore, simulate, vision_xl
from visionxl.checkpoints import CheckpointFolder
from visionxl.cli import running
from visionxl.cli.outputs import about_measures
from visionxl.errors import InputError, told_of
from visionxl.metrics import difference_psnr, psnr
from visionxl.operators import GaussianBlur
from visionxl.report import (
    Album,
    measures,
    measures_in_pieces,
    render,
    run_record,
    write_page,
)
from visionxl.report.media import BUDGET, shown, thumbnail
from visionxl.report.plots import plots
from visionxl.report.watching import REST, STAGES
from visionxl.solvers import PlainCG

NAME = "<img src=x onerror=\"document.title='evil'\">'&amp;.mp4"
PROMPT = "</script><script>document.title='evil'</script>\"'&{{ title }}"
RESTORE = ["restore", "y.safetensors", "--output", "x.mkv", "--truth", "clip.mkv"]


@pytest.fixture(scope="module")
def run():
    """A small run under an album's eyes: (columns, record, looks)."""
    clip, generator = moving_scene(7, 32, 48), torch.Generator().manual_seed(0)
    problem = simulate(clip, GaussianBlur(sigma=2.0), noise_std=0.02, generator=generator)
    album = Album(torch.device("cpu"), truth=clip)
    result = restore(
        problem,
        album.timed(GaussianPrior.natural(32, 48)),
        vision_xl(consistency=PlainCG(3)),
        generator=generator,
        observe=album.observe,
    )
    record = {
        "command": ["visionxl", "restore", NAME, "--prompt", PROMPT],
        "settings": {"prompt": PROMPT, "task": "sr4", "method": "vision_xl", "seed": 0},
        "operator": repr(problem.operator),
        "method": PROMPT,
        "noise_std": 0.02,
        "video_shape": list(clip.shape),
        "data_residual": result.trace[-1].data_residual,
        "seconds": 61.5,
        "device": "cpu",
        "versions": {"visionxl": "1.2.3", "torch": "4.5.6"},
        "trace": [as_json(step) for step in result.trace],
        "start_seconds": album.start_seconds,
        "stages": album.stages(len(result.trace)),
        "psnr": album.psnr(len(result.trace)),
        "measures": {"psnr": 31.4159, "ssim": 0.9876, "difference_psnr": None},
        "measurement_measures": {"psnr": 21.7183, "ssim": 0.5432, "difference_psnr": 20.0},
        "notes": [PROMPT],
        "outputs": [NAME],
    }
    columns = {"measurement": clip.roll(1, 0) * 0.5, "restored": result.video, "truth": clip}
    return columns, record, album.looks


def as_json(step):
    return {name: getattr(step, name) for name in step.__class__.__annotations__}


@pytest.fixture(scope="module")
def page(run):
    columns, record, looks = run
    return render(columns, Fraction(24), record, looks)


class Elements(HTMLParser):
    """The tags and attributes of a page, and the text of its scripts."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.scripts, self.words, self._in = [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._in = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self._in = ""

    def handle_data(self, data):
        if self._in == "script":
            self.scripts[-1] += data
        elif self._in != "style":
            self.words.append(data)


def clip_of(page):
    return json.loads(Elements(page).scripts[0])


def picture_of(uri):
    kind, _, data = uri.partition(";base64,")
    assert kind == "data:image/webp"
    return Image.open(io.BytesIO(base64.b64decode(data)))


# What is in it


def test_names_and_prompts_are_words_and_no_markup(page):
    elements = Elements(page)
    assert len([tag for tag, _ in elements.tags if tag == "script"]) == 2
    assert "<script>document.title" not in page
    assert "<img src=x" not in page
    words = "".join(elements.words)
    assert words.count(PROMPT) == 3  # a setting, the method and a note
    assert words.count(NAME) == 2  # above the page, and in its title
    assert shlex.join(["visionxl", "restore", NAME, "--prompt", PROMPT]) in words


def test_nothing_is_fetched_and_only_our_script_may_run(page):
    elements = Elements(page)
    for tag, attributes in elements.tags:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            assert attributes.get(name, "data:").startswith(("data:", "#")), (tag, name)
    outside = re.sub(r"data:[\w/+]+;base64,[\w+/=]+", "", page)
    assert "://" not in outside
    assert "@import" not in outside
    (policy,) = [a["content"] for t, a in elements.tags if "Content-Security-Policy" in a.values()]
    digest = base64.b64encode(sha256(elements.scripts[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "img-src data:" in policy


def test_the_frames_are_those_of_the_videos(page, run):
    columns, _, _ = run
    told = clip_of(page)
    assert [c["title"] for c in told["columns"]] == ["measurement", "restored", "truth"]
    assert told["numbers"] == list(range(1, 8))
    assert told["seconds_per_frame"] == pytest.approx(1 / 24)
    for column in told["columns"]:
        for frame, uri in zip(columns[column["title"]], column["frames"], strict=True):
            picture = picture_of(uri)
            assert picture.size == (48, 32)
            levels = torch.tensor(list(picture.tobytes())).view(32, 48, 3).permute(2, 0, 1)
            expected = ((frame.clamp(-1, 1) + 1) * 127.5).round()
            assert (levels - expected).abs().max() <= 1  # a small clip is kept without loss


def test_the_figures_are_those_of_the_record(page, run):
    _, record, _ = run
    words = html.unescape(re.sub(r"<[^>]+>", " ", page.split("</style>")[1].split("<script")[0]))
    words = " ".join(words.split())
    assert "measurement restored PSNR, dB 21.72 31.42" in words
    assert "SSIM 0.5432 0.9876" in words
    assert "PSNR of frame differences, dB 20.00 ∞" in words
    assert "torch 4.5.6" in words
    assert "Time 61.5 s" in words
    for number, (step, (before, after)) in enumerate(
        zip(record["trace"], record["psnr"], strict=True), 1
    ):
        residual = f"residual {step['data_residual']:.4f} PSNR {before:.2f} → {after:.2f} dB"
        assert f"step {number} time {step['time']:.3f} {residual}" in words
        row = f"{step['data_residual']:.5f} {before:.2f} {after:.2f} 3 {step['stopped']}"
        assert row in words
    spent = sum(stages["denoise"]["seconds"] for stages in record["stages"])
    assert f"denoise {spent:.2f}" in words


def test_a_look_is_taken_at_every_step_and_its_stages_take_its_time(run):
    columns, record, looks = run
    assert [look.index for look in looks] == list(range(len(record["trace"])))
    assert record["start_seconds"] > 0  # the inversion
    for look, step in zip(looks, record["trace"], strict=True):
        assert list(look.stages) == list(STAGES)
        assert sum(s.seconds for s in look.stages.values()) == pytest.approx(step["seconds"])
        assert look.psnr is not None
        assert look.stages["denoise"].seconds > 0
        assert look.stages[REST].seconds > 0
        assert (look.stages["encode"].seconds > 0) == (look is not looks[-1])
    assert looks[-1].psnr[1] == pytest.approx(psnr(columns["restored"], columns["truth"]))
    last = base64.b64encode(looks[-1].corrected).decode()
    levels = torch.tensor(list(picture_of(f"data:image/webp;base64,{last}").tobytes()))
    frames = ((columns["restored"].clamp(-1, 1) + 1) * 127.5).permute(0, 2, 3, 1).flatten(1)
    assert (levels - frames).square().mean(dim=1).argmin() == 3  # of 7: the middle one


def test_a_long_filmstrip_is_thinned_out_and_says_so(run):
    columns, record, looks = run
    trace = [record["trace"][0]] * 100
    many = [evolve(looks[0], index=index) for index in range(100)]
    page = render(columns, 24, {**record, "trace": trace, "stages": []}, many)
    steps = [int(s) for s in re.findall(r"<b>step (\d+)</b>", page)]
    assert (len(steps), steps[0], steps[-1]) == (20, 1, 100)
    assert "20 of 100 steps are shown" in page


def test_steps_whose_stages_are_not_known_are_told_apart():
    step = {"data_residual": 1.0, "iterations": 0, "residuals": (), "peak_bytes": 0}
    trace = [{**step, "seconds": 2.0}, {**step, "seconds": 3.0}]
    stages = [None, {name: {"seconds": 0.75, "bytes": 0} for name in STAGES}]
    by_title = {plot.title: plot.text for plot in plots(trace, 0.0, stages)}
    assert set(by_title) == {"Data residual", "Seconds"}
    assert "not known by stage 2 s" in by_title["Seconds"]
    assert "denoise 0.75 s" in by_title["Seconds"]


def test_the_same_run_has_the_same_page(page, run):
    columns, record, looks = run
    assert render(columns, Fraction(24), record, looks) == page


@pytest.mark.parametrize("sizes", [(7,), (3, 4), (1, 1, 5), (1,) * 7])
def test_measures_are_the_same_in_pieces(sizes):
    video, truth = (torch.rand(7, 3, 12, 16).mul(3).sub(1.5) for _ in range(2))
    pieces = zip(video.split(sizes), truth.split(sizes), strict=True)
    whole = measures(video, truth)
    assert measures_in_pieces(pieces) == pytest.approx(whole, abs=1e-4)
    assert whole["psnr"] == pytest.approx(psnr(video, truth), abs=1e-4)
    assert whole["difference_psnr"] == pytest.approx(difference_psnr(video, truth), abs=1e-4)


def test_equal_videos_have_no_number_that_json_does_not_know():
    video = torch.rand(4, 3, 12, 16)
    told = measures_in_pieces([(video[:2], video[:2]), (video[2:], video[2:] + 0.1)])
    assert told["psnr"] is None


def test_a_record_made_in_python_is_json_and_has_a_page():
    clip, generator = moving_scene(3, 32, 48), torch.Generator().manual_seed(0)
    problem = simulate(clip, GaussianBlur(sigma=2.0), noise_std=0.02, generator=generator)
    sampler, album = vision_xl(count=10), Album(torch.device("cpu"))
    prior = album.timed(GaussianPrior.natural(32, 48))
    result = restore(problem, prior, sampler, generator=generator, observe=album.observe)
    told = run_record(problem, sampler, result, 1.5, command=["python", "mine.py"], album=album)
    told["measures"] = measures(result.video, clip)
    again = json.loads(json.dumps(told))
    assert again["measures"]["psnr"] == pytest.approx(psnr(result.video, clip), abs=1e-4)
    assert [step["index"] for step in again["trace"]] == list(range(len(sampler.times)))
    columns = {"restored": result.video, "truth": clip}
    page = render(columns, 24, again, album.looks)
    assert "<h1>restoration</h1>" in page  # there is no file to name it after
    assert page.count("<b>step ") == len(sampler.times)
    assert "python mine.py" in page


# How large it is


def test_25_frames_of_768x1280_are_at_most_15_mb(run):
    _, record, looks = run
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(1, 3, 96, 160, generator=generator)
    frame = torch.nn.functional.interpolate(coarse, (768, 1280), mode="bilinear") / 3
    video = frame.expand(25, -1, -1, -1)
    page = render(dict.fromkeys(("measurement", "restored", "original"), video), 24, record, looks)
    assert len(page.encode()) <= 15e6
    assert (clip_of(page)["width"], len(clip_of(page)["numbers"])) == (1280, 25)


def test_the_longest_and_noisiest_run_is_at_most_15_mb(run):
    _, record, looks = run
    noise = torch.rand(1, 3, 320, 320, generator=torch.Generator().manual_seed(0)) * 2 - 1
    hard = thumbnail(noise)  # nothing is harder to compress
    many = [evolve(looks[0], index=i, estimate=hard, corrected=hard) for i in range(4000)]
    step = {**record["trace"][0], "residuals": [0.5**i for i in range(30)]}
    told = {**record, "trace": [step] * 4000, "stages": record["stages"][:1] * 4000}
    page = render({"restored": noise.expand(60, -1, -1, -1)}, 24, told, many)
    assert 10e6 < len(page.encode()) <= 15e6
    assert "The first 1000 of 4000 steps" in page


def test_frames_fit_a_budget_and_what_was_given_up_is_told():
    video = torch.rand(12, 3, 64, 96, generator=torch.Generator().manual_seed(0)) * 2 - 1
    columns = {"measurement": video, "restored": video}
    sizes = {}
    for budget in (BUDGET, 150_000, 60_000, 20_000, 2_000):
        found = shown(columns, budget)
        files = [base64.b64decode(u.split(",")[1]) for c in found.columns.values() for u in c]
        assert sum(map(len, files)) <= budget
        sizes[budget] = found
    assert sizes[BUDGET].remarks == ()
    assert sizes[150_000].width == 96
    assert "compressed" in sizes[150_000].remarks[0]
    assert len(sizes[60_000].numbers) == 12
    assert sizes[60_000].width < 96
    assert "not 96x64" in sizes[60_000].remarks[0]
    assert sizes[20_000].remarks[0].startswith(f"{len(sizes[20_000].numbers)} of the 12 frames")


def test_frames_are_kept_without_loss_where_they_are_small():
    video = torch.rand(24, 3, 96, 160, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert shown({"restored": video}).remarks == ()  # 24 x 96 x 160 x 3 bytes: 1.1 MB
    twice = shown({"measurement": video, "restored": video})
    assert twice.remarks == ("Frames are compressed, at WebP quality 95.",)


# How it is written


def test_it_is_written_whole_or_not_at_all(tmp_path, run, monkeypatch):
    columns, record, looks = run
    path = tmp_path / "x.html"
    path.write_text("before")

    def full(*_, **__):
        raise OSError("no space left")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(InputError, match="could not be written"):
        write_page(path, columns, 24, record, looks)
    monkeypatch.undo()
    assert path.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["x.html"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_clip(Path("clip.mkv"), frames=3, height=32, width=48)
    return tmp_path


def measured(monkeypatch, capfd):
    words = ["simulate", "clip.mkv", "--task", "deblur+", "--noise", "0.02"]
    assert visionxl(monkeypatch, capfd, *words, "--output", "y.safetensors").code == 0


def test_restore_writes_it_beside_the_video_and_names_it(place, monkeypatch, capfd):
    measured(monkeypatch, capfd)
    answer = visionxl(monkeypatch, capfd, *RESTORE)
    assert answer.code == 0, answer.err
    assert "wrote x.html" in answer.out
    record, page = json.loads(Path("x.json").read_text()), Path("x.html").read_text()
    assert "x.html" in record["outputs"]
    assert len(record["stages"]) == len(record["trace"]) == page.count("<b>step ")
    assert f"<td>{record['measures']['psnr']:.2f}</td>" in page
    assert f"<td>{record['measurement_measures']['psnr']:.2f}</td>" in page
    assert "visionxl restore y.safetensors --output x.mkv --truth clip.mkv" in page


def test_a_page_of_somebody_else_is_not_replaced(place, monkeypatch, capfd):
    measured(monkeypatch, capfd)
    Path("x.html").write_text("mine")
    answer = visionxl(monkeypatch, capfd, *RESTORE)
    assert answer.code == 2
    assert "x.html' exists" in answer.err
    assert Path("x.html").read_text() == "mine"
    assert visionxl(monkeypatch, capfd, *RESTORE, "--overwrite").code == 0
    assert Path("x.html").read_text() != "mine"


def test_looks_outlive_an_interruption(place, monkeypatch, capfd):
    measured(monkeypatch, capfd)
    keep = running.Album.keep

    def keep_and_stop(album):
        keep(album)
        if len(album.looks) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(running.Album, "keep", keep_and_stop)
        assert visionxl(monkeypatch, capfd, *RESTORE).code == 130
    answer = visionxl(monkeypatch, capfd, *RESTORE, "--resume")
    assert answer.code == 0, answer.err
    assert "went on after step 2 of 4" in answer.out
    assert Path("x.html").read_text().count("<b>step ") == 4
    assert None not in json.loads(Path("x.json").read_text())["stages"]


@pytest.mark.filterwarnings("ignore:.*result's values are beyond")
def test_a_long_clip_has_a_page_of_its_first_window(place, monkeypatch, capfd):
    make_clip(Path("long.mkv"), frames=9, height=32, width=48)
    words = ["restore", "long.mkv", "--task", "deblur", "--windows", "4", "--output", "x.mkv"]
    answer = visionxl(monkeypatch, capfd, *words)
    assert answer.code == 0, answer.err
    page = Path("x.html").read_text()
    windows = json.loads(Path("x.json").read_text())["windows"]
    shown = windows[0]["stop"] - windows[0]["first"]
    assert f"These are the {shown} frames of the first of {len(windows)} windows." in page
    assert clip_of(page)["numbers"] == list(range(1, shown + 1))
    assert clip_of(page)["frames"] == 9


# In a browser


@pytest.fixture(scope="module")
def flat(run, tmp_path_factory):
    """A page whose frames are of one gray each: frame i of column j has the level 20 i + 5 j."""
    _, record, looks = run
    levels = torch.arange(7.0).view(7, 1, 1, 1) * 20
    titles = ("measurement", "restored", "truth")
    columns = {
        title: ((levels + 5 * j) / 127.5 - 1).expand(7, 3, 32, 48) for j, title in enumerate(titles)
    }
    path = tmp_path_factory.mktemp("page") / "x.html"
    write_page(path, columns, Fraction(24), record, looks)
    return path


@pytest.fixture
def tab(browser, flat):
    """The page, opened; at its end nothing was fetched and nothing was complained about."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened, complaints, requests = context.new_page(), [], []
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("request", lambda request: requests.append(request.url))
    opened.set_default_timeout(10_000)
    opened.goto(flat.as_uri())
    wait_for_gray(opened, "under", 0)
    yield opened
    assert complaints == []
    assert [url for url in requests if not url.startswith("data:")] == [flat.as_uri()]
    context.close()


GRAY = """id => {
    const copy = new OffscreenCanvas(48, 32).getContext("2d", { willReadFrequently: true });
    copy.drawImage(document.getElementById(id), 0, 0);
    return copy.getImageData(24, 16, 1, 1).data[0];
}"""


def wait_for_gray(tab, canvas, level):
    """Until the middle of a canvas has about this level; WebP may be off by a little."""
    tab.wait_for_function(
        f"([id, level]) => Math.abs(({GRAY})(id) - level) <= 2", arg=[canvas, level]
    )


def value(tab, id_):
    return int(tab.get_attribute(f"#{id_}", "aria-valuenow"))


def shares_of_stage(tab):
    """Where the divider is drawn, and where the picture on the right begins, in percent."""
    return tab.evaluate(
        """() => {
            const stage = document.getElementById('stage').getBoundingClientRect();
            const box = document.getElementById('divider').getBoundingClientRect();
            const clip = getComputedStyle(document.getElementById('over')).clipPath;
            const middle = 100 * ((box.left + box.right) / 2 - stage.left) / stage.width;
            return [middle, parseFloat(clip.match(/([\\d.]+)%\\)/)[1])];
        }"""
    )


def test_the_divider_moves_with_the_pointer(tab):
    stage = tab.locator("#stage").bounding_box()
    across, middle = stage["x"], stage["y"] + stage["height"] / 2
    tab.mouse.move(across + stage["width"] / 2, middle)
    tab.mouse.down()
    tab.mouse.move(across + stage["width"] / 4, middle, steps=4)
    tab.mouse.up()
    assert value(tab, "divider") == 25
    assert shares_of_stage(tab) == pytest.approx([25, 25], abs=0.5)
    tab.mouse.move(across + stage["width"] * 0.8, middle)  # it is no longer held
    assert value(tab, "divider") == 25


def test_the_divider_moves_with_the_keyboard_and_stays_inside(tab):
    tab.focus("#divider")
    for key, expected in (("ArrowLeft", 48), ("Shift+ArrowRight", 58), ("Home", 0), ("End", 100)):
        tab.keyboard.press(key)
        assert value(tab, "divider") == expected
    tab.keyboard.press("ArrowRight")
    assert shares_of_stage(tab) == pytest.approx([100, 100], abs=0.1)


def test_the_slider_changes_the_frame_of_every_player(tab):
    tab.focus("#frame")
    for _ in range(3):
        tab.keyboard.press("ArrowRight")
    assert tab.inner_text("#number") == "frame 4 of 7"
    for index in range(3):
        for canvas in ("player", "loupe"):
            wait_for_gray(tab, f"{canvas}-{index}", 60 + 5 * index)
    wait_for_gray(tab, "under", 60)
    wait_for_gray(tab, "over", 65)
    tab.click("#next")
    wait_for_gray(tab, "under", 80)
    tab.click("#previous")
    wait_for_gray(tab, "under", 60)
    tab.keyboard.press("End")  # the button has the focus, and no use for it
    assert tab.inner_text("#number") == "frame 4 of 7"


def test_what_is_compared_can_be_chosen(tab):
    tab.select_option("#left", label="truth")
    wait_for_gray(tab, "under", 10)
    assert tab.inner_text("#left-tag") == "truth"
    wait_for_gray(tab, "over", 5)


def test_it_plays_and_pauses(tab):
    tab.click("#play")
    assert tab.inner_text("#play") == "Pause"
    tab.wait_for_function("() => document.getElementById('frame').value >= 2")
    tab.click("#play")
    assert tab.inner_text("#play") == "Play"
    stopped = tab.inner_text("#number")
    tab.wait_for_timeout(300)
    assert tab.inner_text("#number") == stopped
    tab.focus("#divider")
    tab.keyboard.press(" ")
    assert tab.get_attribute("#play", "aria-pressed") == "true"


def test_the_loupe_follows_the_pointer_and_the_keyboard(tab):
    spot = "document.getElementById('spot').style.left"
    stage = tab.locator("#stage").bounding_box()
    tab.mouse.move(stage["x"] + stage["width"] * 0.25, stage["y"] + stage["height"] * 0.3)
    assert float(tab.evaluate(spot)[:-1]) == pytest.approx(25 - 12.5, abs=0.5)  # a quarter is shown
    tab.focus("#loupe")
    tab.keyboard.press("ArrowRight")
    assert float(tab.evaluate(spot)[:-1]) == pytest.approx(30 - 12.5, abs=0.5)
    tab.select_option("#zoom", "8")
    assert float(tab.evaluate(spot)[:-1]) == pytest.approx(30 - 6.25, abs=0.5)


def test_names_do_nothing_in_a_browser(tab):
    assert tab.title() == f"{NAME} · visionxl"
    assert tab.inner_text("h1") == NAME
    assert shlex.quote(PROMPT) in tab.inner_text(".command")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_usable_on_a_phone_in_light_and_dark(scheme, browser, flat):
    context = browser.new_context(
        viewport={"width": 390, "height": 844}, has_touch=True, color_scheme=scheme
    )
    tab = context.new_page()
    tab.goto(flat.as_uri())
    wait_for_gray(tab, "under", 0)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    for control in ("#play", "#next", "#frame", "#divider", "#left", "#loupe"):
        box = tab.locator(control).bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
        assert min(box["width"], box["height"]) >= 32, control
    tab.tap("#next")
    wait_for_gray(tab, "under", 20)
    paper = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = sum(map(int, re.findall(r"\d+", paper)[:3])) / 3
    assert (brightness < 128) == (scheme == "dark")
    plot = tab.locator(".plots img").first
    assert plot.evaluate("image => image.decode().then(() => image.naturalWidth)") > 100
    assert plot.evaluate("image => image.currentSrc === image.src") == (scheme == "light")
    context.close()


def test_plots_of_very_long_runs_are_thinned(run):
    _, record, _ = run
    step = {**record["trace"][0], "residuals": ()}
    told = [{**step, "iterations": 3 + i % 2} for i in range(40_000)]
    drawn = plots(told, 0.01)
    assert sum(len(plot.light) for plot in drawn) < 1e6


def test_steps_measured_against_another_truth_are_not_shown(tmp_path, run):
    _, _, looks = run
    folder = CheckpointFolder(tmp_path)
    truths = torch.zeros(2, 3, 16, 16), torch.ones(2, 3, 16, 16)
    first = Album(torch.device("cpu"), folder, truth=truths[0])
    first.looks.append(evolve(looks[0], index=0, psnr=(20.0, 30.0)))
    first.keep()
    for truth, known in zip((*truths, None), ([(20.0, 30.0)], [None], [None]), strict=True):
        assert Album(torch.device("cpu"), folder, done=1, truth=truth).psnr(1) == known


def test_what_is_no_number_is_not_taken_for_infinity():
    video = torch.rand(2, 3, 16, 16)
    with pytest.raises(InputError, match="not numbers"):
        measures(torch.where(video > 0.9, torch.nan, video), video)


def test_a_part_without_a_representation_has_its_name():
    class Own:
        pass

    assert told_of(Own()) == "Own"
    assert told_of([Own(), 3]) == "[Own, 3]"


@pytest.mark.parametrize(
    ("after", "before", "told"),
    [
        (20.0, 23.26, "at 20.00 dB, is farther from the truth than the measurement, at 23.26 dB"),
        (20.0, None, "than the measurement, exact"),
        (30.0, 23.0, None),
        (None, 23.0, None),
        (None, None, None),
    ],
)
def test_a_result_that_is_worse_than_its_measurement_is_noted(after, before, told):
    record = {"measures": {"psnr": after}, "measurement_measures": {"psnr": before}}
    notes = about_measures(record)
    assert len(notes) == (told is not None)
    assert all(told in note for note in notes)


def test_a_measurement_with_one_exact_frame_is_not_called_exact():
    """Its PSNR, a mean over frames, is infinite."""
    measured = {"psnr": None, "difference_psnr": 40.0}
    record = {"measures": {"psnr": 50.0}, "measurement_measures": measured}
    assert about_measures(record) == []
