"""A task of one's own on the command line: ``--task FILE.py:FUNCTION``."""

import json
import math
import sys
from pathlib import Path

import pytest
import torch
from attrs import evolve
from command_line import cut_off_after, make_clip, visionxl

from visionxl import GaussianPrior, restore, simulate, vision_xl
from visionxl.cli.own import called_wrongly, checksum, find_own
from visionxl.cli.own_tasks import find_task
from visionxl.errors import InputError
from visionxl.measurements import Description, answers_of, generator_of, load_measurement
from visionxl.operators import AveragePool, GaussianBlur, task_named
from visionxl.solvers import DDIMNoise
from visionxl.video import read_clip
from visionxl.writing import write_clip

CODE = """
from dataclasses import dataclass

import torch

from helper import BANDS
from visionxl.operators import Reach


@dataclass(frozen=True)
class Bands:
    count: int

    def forward(self, video):
        bands = video.chunk(self.count, dim=-2)
        return torch.cat([band.roll(-i, 0) for i, band in enumerate(bands)], dim=-2)

    def adjoint(self, measurement):
        bands = measurement.chunk(self.count, dim=-2)
        return torch.cat([band.roll(i, 0) for i, band in enumerate(bands)], dim=-2)

    def reach(self):
        return Reach(self.count - 1, circular=True)


def make(frames, height, width, generator):
    return Bands(BANDS)


BANDS_OF_MANY = 7
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("own").mkdir()
    Path("own/shutter.py").write_text(CODE)
    Path("own/helper.py").write_text("BANDS = 4\n")
    monkeypatch.delitem(sys.modules, "helper", raising=False)  # another test's
    make_clip(Path("clip.mkv"), frames=9)
    return tmp_path


@pytest.fixture
def run(monkeypatch, capfd):
    def run(words):
        return visionxl(monkeypatch, capfd, *words.split())

    return run


MEASURE = "simulate clip.mkv --task own/shutter.py:make --noise 0.02 --output y.safetensors"
OWN = "--task own/shutter.py:make"


def test_it_measures_and_restores_and_the_record_tells_it(place, run):
    assert run(MEASURE).code == 0
    clip = read_clip("clip.mkv").video
    measured, description = load_measurement(Path("y.safetensors"))
    assert description.task == "shutter.py:make"
    expected = torch.cat([b.roll(-i, 0) for i, b in enumerate(clip.chunk(4, dim=-2))], dim=-2)
    assert (measured - expected).std().item() == pytest.approx(0.02, rel=0.05)
    answer = run(f"restore y.safetensors {OWN} --output x.safetensors")
    assert answer.code == 0, answer.err
    record = json.loads(Path("x.json").read_text())
    assert record["operator"] == "Bands(count=4)"
    assert record["settings"]["task"] == "shutter.py:make"
    assert 0 < record["data_residual"] < 0.03
    found = read_clip("x.safetensors").video
    assert (found - clip).std() < 0.5 * (measured - clip).std()
    again = run(f"restore y.safetensors {OWN} --output x.safetensors --resume")
    assert "nothing to resume" in again.out


DROPPING = """
class DropThird:
    def __init__(self, frames):
        self.frames, self.kept = frames, [t for t in range(frames) if t % 3 != 2]

    def forward(self, video):
        return video[self.kept]

    def adjoint(self, measurement):
        video = measurement.new_zeros(self.frames, *measurement.shape[1:])
        video[self.kept] = measurement
        return video


def make(frames, height, width, generator):
    return DropThird(frames)


def nine(frames, height, width, generator):
    return DropThird(9)
"""


@pytest.mark.parametrize(("function", "frames"), [("make", 8), ("nine", 9)])
def test_of_a_recording_with_fewer_frames_the_shortest_video_is_restored(
    function, frames, place, monkeypatch, capfd
):
    Path("drop.py").write_text(DROPPING)
    task, noise = f"drop.py:{function}", ["--noise", "0.01"]
    words = ["simulate", "clip.mkv", "--task", task, *noise, "--output", "y.mkv"]
    answer = visionxl(monkeypatch, capfd, *words)
    assert answer.code == 0, answer.err
    assert "nor how many frames the clip had" in answer.out
    words = ["restore", "y.mkv", "--task", task, *noise, "--truth", "clip.mkv", "--steps", "10"]
    answer = visionxl(monkeypatch, capfd, *words, "--output", "x.mkv")
    assert answer.code == 0, answer.err
    assert f"y.mkv has 6 frames, and the shortest video with such a measurement has {frames}" in (
        " ".join(answer.out.split())
    )
    assert len(read_clip("x.mkv").video) == frames


def test_of_a_snapshot_the_shortest_video_is_told_too(place, monkeypatch, capfd):
    """As many frames are restored as were measured, and there were eight times as many."""
    words = ["simulate", "clip.mkv", "--task", "snapshot", "--frames", "8", "--output", "s.mkv"]
    assert visionxl(monkeypatch, capfd, *words).code == 0
    words = ["restore", "s.mkv", "--task", "snapshot", "--method", "vision_xl", "--steps", "3"]
    answer = visionxl(monkeypatch, capfd, *words, "--output", "x.mkv")
    assert answer.code == 0, answer.err
    assert "the shortest video with such a measurement has" in " ".join(answer.out.split())


def test_a_file_of_other_than_three_channels_is_told_of_where_it_is_made(place, run):
    Path("gray.py").write_text(
        "from visionxl.operators import Grayscale\n"
        "def make(frames, height, width, generator):\n"
        "    return Grayscale(weights=(1 / 3,) * 3)\n"
    )
    answer = run("simulate clip.mkv --task gray.py:make --output g.mkv")
    assert answer.code == 0
    assert "read with three channels, and not with 1, so only" in " ".join(answer.out.split())


def test_a_name_that_is_missing_is_not_taken_for_a_shape(place, run):
    Path("typo.py").write_text(
        "class Blur:\n"
        "    def forward(self, video):\n        return torch.zeros(1)\n"
        "    def adjoint(self, measurement):\n        return measurement\n"
        "def make(frames, height, width, generator):\n    return Blur()\n"
    )
    answer = run("simulate clip.mkv --task typo.py:make --output y.mkv")
    assert answer.code == 2
    assert "name 'torch' is not defined; mend that line" in answer.err


def test_a_measurement_that_says_nothing_of_its_noise_is_told_of(place, run):
    assert run("simulate clip.mkv --task deblur --output y.safetensors").code == 0
    measurement, _ = load_measurement("y.safetensors")
    write_clip("bare.safetensors", measurement, 25)
    options = "--task deblur --method vision_xl --steps 3 --output x.mkv"
    assert "bare.safetensors does not say how noisy it is" in " ".join(
        run(f"restore bare.safetensors {options}").out.split()
    )
    for words in ("bare.safetensors --noise 0", "y.safetensors"):
        told = run(f"restore {words} {options} --overwrite")
        assert told.code == 0
        assert "how noisy" not in told.out


def test_what_a_part_of_ones_own_prints_is_not_among_the_json(place, monkeypatch, capfd):
    Path("loud.py").write_text(
        "from visionxl import PocketPrior\n"
        "def make(device, dtype):\n"
        "    print('loaded')\n"
        "    return PocketPrior.load(device=device, dtype=dtype)\n"
    )
    words = ["simulate", "clip.mkv", "--task", "deblur", "--noise", "0.05", "--frames", "1"]
    assert visionxl(monkeypatch, capfd, *words, "--output", "y.safetensors").code == 0
    words = ["restore", "y.safetensors", "--prior", "loud.py:make", "--steps", "10"]
    answer = visionxl(monkeypatch, capfd, *words, "--output", "x.mkv", "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["settings"]["prior"] == "loud.py:make"
    assert "loaded" in answer.err


def test_it_measures_videos_and_is_cut_into_windows(place, run):
    assert run(MEASURE.replace("y.safetensors", "y.mkv")).code == 0
    answer = run(f"restore y.mkv {OWN} --noise 0.02 --windows 2 --output x.mkv")
    assert answer.code == 0, answer.err
    assert read_clip("x.mkv").video.shape == (9, 3, 32, 48)


def test_what_it_measured_is_evaluated(place, run):
    assert run(MEASURE).code == 0
    answer = run(f"evaluate clip.mkv clip.mkv --measurement y.safetensors {OWN} --json")
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    assert found["data_residual"] == pytest.approx(found["noise_std"], rel=0.1)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            "restore y.safetensors",
            ["shutter.py:make", "whose code is not in it", "the same --task"],
        ),
        (
            "evaluate clip.mkv clip.mkv --measurement y.safetensors",
            ["shutter.py:make", "give the same --task shutter.py:make"],
        ),
        ("evaluate clip.mkv clip.mkv --task deblur", ["--task 'deblur' is for --measurement"]),
        ("restore y.safetensors --task deblur", ["'deblur'", "'shutter.py:make'"]),
        ("restore y.safetensors --task own/shutter.py:other", ["no function 'other'", "def other"]),
        ("restore y.safetensors --task own/shutter.py:BANDS", ["no function 'BANDS'"]),
        ("restore y.safetensors --task none.py:make", ["no file 'none.py'", "FILE.py:FUNCTION"]),
        ("simulate clip.mkv --task own/bad.py:make", ["bad.py cannot be run", "ZeroDivision"]),
        ("restore y.safetensors --task own/changed/shutter.py:make", ["makes another operator"]),
    ],
)
def test_what_is_wrong_is_one_sentence(place, run, monkeypatch, words, told):
    assert run(MEASURE).code == 0
    monkeypatch.delitem(sys.modules, "helper")  # as in another process
    Path("own/bad.py").write_text("1 / 0\n")
    Path("own/changed").mkdir()
    Path("own/changed/shutter.py").write_text(CODE.replace("roll(-i", "roll(i"))
    Path("own/changed/helper.py").write_text("BANDS = 4\n")
    answer = run(words)
    assert answer.code == 2
    assert answer.err.count("\n") == 1
    for word in told:
        assert word in answer.err


READING = """
from pathlib import Path

from visionxl.operators import GaussianBlur


def make(frames, height, width, generator):
    return GaussianBlur(float(Path("sigma.txt").read_text()))
"""


def test_another_operator_of_the_same_code_is_found(place, run, monkeypatch):
    Path("reading.py").write_text(READING)
    Path("sigma.txt").write_text("1")
    own = "--task reading.py:make --noise 0.02"
    for output in ("y.safetensors", "y.mkv"):
        assert run(f"simulate clip.mkv {own} --frames 3 --output {output}").code == 0
    task = "restore y.safetensors --task reading.py:make --steps 10 --output z.safetensors"
    begun = f"restore y.mkv {own} --steps 20 --method vision_xl --output x.mkv"
    with monkeypatch.context() as patched:
        cut_off_after(patched, 2)
        assert run(begun).code == 130
    assert run(task).code == 0
    Path("sigma.txt").write_text("2")
    for words in (f"{task} --overwrite", task.replace("z.", "w."), f"{task} --resume"):
        answer = run(words)
        assert answer.code == 2
        assert "reading.py:make makes another operator than when it measured" in answer.err
    answer = run(f"{begun} --resume")
    assert answer.code == 2
    assert "x.mkv was begun with another operator of the same code" in answer.err
    Path("sigma.txt").write_text("1")
    answer = run(f"{begun} --resume")
    assert answer.code == 0, answer.err
    assert "went on" in answer.out
    Path("sigma.txt").write_text("2")
    answer = run(f"{begun} --resume")
    assert answer.code == 2
    assert "finished, but with another measurement, mask, operator or weights" in answer.err


def test_modules_of_a_package_are_part_of_the_code(tmp_path):
    (tmp_path / "pack" / "deep").mkdir(parents=True)
    task = tmp_path / "mine.py"
    task.write_text("from pack import make\n")
    (tmp_path / "pack" / "__init__.py").write_text("from .steps import make\n")
    (tmp_path / "pack" / "steps.py").write_text("from .deep import weights\nfrom . import more\n")
    (tmp_path / "pack" / "more.py").write_text("")
    (tmp_path / "pack" / "deep" / "__init__.py").write_text("from ..other import weights\n")
    (tmp_path / "pack" / "other.py").write_text("from ......... import beyond\n")
    told = {checksum(task)}
    for name in ("__init__", "steps", "more", "deep/__init__", "other"):
        with (tmp_path / "pack" / f"{name}.py").open("a") as file:
            file.write("# changed\n")
        told.add(checksum(task))
    assert len(told) == 6


def test_the_code_is_the_same_however_its_path_is_written(tmp_path, monkeypatch):
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").write_text("from . import steps\n")
    (tmp_path / "pack" / "steps.py").write_text("")
    task = tmp_path / "mine.py"
    task.write_text("import pack\n")
    (tmp_path / "linked").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert checksum(Path("mine.py")) == checksum(task) == checksum(Path("linked/mine.py"))


def test_packages_around_a_module_are_part_of_the_code(tmp_path):
    folder = tmp_path / "pack"
    folder.mkdir()
    (folder / "__init__.py").write_text("SPREAD = 1\n")
    (folder / "deep.py").write_text("from . import SPREAD\n")
    (tmp_path / "m.py").write_text("from pack.deep import SPREAD\n")
    (tmp_path / "n.py").write_text("import pack.deep as deep\n")
    before = [checksum(tmp_path / name) for name in ("m.py", "n.py")]
    (folder / "__init__.py").write_text("SPREAD = 2\n")
    after = [checksum(tmp_path / name) for name in ("m.py", "n.py")]
    assert not set(before) & set(after)


def test_modules_of_one_name_beside_two_files_are_not_mixed_up(place, run):
    """Python keeps one module of a name: the second file would be given the first one's."""
    Path("other").mkdir()
    Path("other/helper.py").write_text("COUNT = 4\n")
    Path("other/m.py").write_text(
        "import helper\nfrom visionxl import vision_xl\n"
        "def method(count):\n    return vision_xl(count=helper.COUNT)\n"
    )
    assert run(MEASURE).code == 0
    answer = run(f"restore y.safetensors {OWN} --method other/m.py:method --output x.mkv")
    assert answer.code == 2
    assert (
        "m.py imports helper, which lies beside it, but another module of that name" in answer.err
    )


def test_a_function_imports_what_lies_beside_its_file(place, run):
    Path("own/late.py").write_text(
        "from visionxl.operators import GaussianBlur\n"
        "def make(frames, height, width, generator):\n"
        "    from told_late import SIGMA\n"
        "    return GaussianBlur(SIGMA)\n"
    )
    Path("own/told_late.py").write_text("SIGMA = 1.5\n")
    answer = run("simulate clip.mkv --task own/late.py:make --output z.safetensors")
    assert answer.code == 0
    assert "sigma=1.5" in answer.out


def test_rounding_does_not_make_an_operator_another_one():
    description = Description("mine.py:make", 3, 16, 24, make=lambda *_: GaussianBlur(1.0))
    answers = answers_of(GaussianBlur(1.0), description.shape)
    assert answers is not None
    near, far = ((answers[0] + e * math.hypot(*answers), answers[1]) for e in (1e-4, 1e-2))
    evolve(description, answers=near).operator(generator_of(0))
    with pytest.raises(InputError, match="makes another operator than when it measured"):
        evolve(description, answers=far).operator(generator_of(0))


def test_the_librarys_tasks_are_found_by_their_names():
    assert find_task("sr4+").make is task_named("sr4+")
    with pytest.raises(InputError, match="did you mean 'deblur'"):
        find_task("deblurr")


BROKEN = """
import numpy as np
import torch
from visionxl.operators import Identity, Mask

def too_few(frames):
    return Identity()

def fails(frames, height, width, generator):
    return 1 / 0

def nothing(frames, height, width, generator):
    pass

def kind(frames, height, width, generator):
    return Identity

class One:
    def forward(self, video):
        return video

def one_way(frames, height, width, generator):
    return One()

class Curve(One):
    def linearize(self, video):
        return Identity()

def curve(frames, height, width, generator):
    return Curve()

class Thirds(One):
    def adjoint(self, measurement):
        return self.forward(measurement)

    def forward(self, video):
        return video.unflatten(0, (-1, 7))

def thirds(frames, height, width, generator):
    return Thirds()

def chance(frames, height, width, generator):
    return Mask(torch.rand(height, width) > 0.5)

class Held:
    def __init__(self):
        self.code = torch.rand(40, 40)

    def __repr__(self):
        return f"Held({self.code})"

    def forward(self, video):
        return video * 1.0

    adjoint = forward

def held(frames, height, width, generator):
    return Held()

class Arrays(Thirds):
    def forward(self, video):
        return video.numpy()

class Counts(Thirds):
    def forward(self, video):
        return video.long()

class NoArgument(Thirds):
    def forward(self):
        return 1

class NoWayBack(Thirds):
    def forward(self, video):
        return video[..., ::2, :]

    def adjoint(self, measurement):
        return measurement

def arrays(frames, height, width, generator):
    return Arrays()

def counts(frames, height, width, generator):
    return Counts()

def no_argument(frames, height, width, generator):
    return NoArgument()

def no_way_back(frames, height, width, generator):
    return NoWayBack()

class Back(One):
    def adjoint(self, measurement):
        raise KeyError("mended later")

def back(frames, height, width, generator):
    return Back()
"""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", ["which function", "own/broken.py:FUNCTION"]),
        (":too_few", ["broken.py:too_few raised TypeError", "(frames, height, width, generator)"]),
        (":fails", ["raised ZeroDivisionError: division by zero"]),
        (":nothing", ["returned None", "forward(video) and adjoint(measurement)"]),
        (":kind", ["returned the class Identity", "not a value of it"]),
        (":one_way", ["returned One, which has no adjoint", "adjoint(measurement)"]),
        (":curve", ["returned Curve, which has no lift", "linearize and lift"]),
        (":thirds", ["line 37 of broken.py, in forward, raised RuntimeError for (9, 3, 32, 48)"]),
        (":arrays", ["forward of Arrays returned ndarray", "expected a tensor"]),
        (":counts", ["forward of Counts returned torch.int64", "expected a tensor"]),
        (":no_argument", ["forward of NoArgument raised TypeError for (9, 3, 32, 48)"]),
        (":no_way_back", ["adjoint of NoWayBack returned (9, 3, 16, 48)", "(9, 3, 32, 48)"]),
        (":chance", ["broken.py:chance made two different operators", "generator"]),
    ],
)
def test_what_is_wrong_with_a_task_of_ones_own_is_a_sentence(name, words, place, run):
    Path("own/broken.py").write_text(BROKEN)
    answer = run(f"simulate clip.mkv --output y.safetensors --task own/broken.py{name}")
    assert answer.code == 2
    assert answer.err.startswith("visionxl: error: ")
    assert len(answer.err.splitlines()) == 1
    assert all(word in answer.err for word in words), answer.err
    assert not Path("y.safetensors").exists()


def test_an_operator_that_holds_many_numbers_has_a_short_name(place, run):
    Path("own/broken.py").write_text(BROKEN)
    held = "--task own/broken.py:held --output"
    assert "Held(...), noise 0" in run(f"simulate clip.mkv {held} y.safetensors").out
    answer = run(f"restore y.safetensors --windows 1 {held} x.mkv")
    assert "Held(...) cannot be cut into windows" in answer.err


def test_an_error_in_ones_own_adjoint_is_told_with_its_place(place, run):
    Path("own/broken.py").write_text(BROKEN)
    answer = run("simulate clip.mkv --task own/broken.py:back --output y.safetensors")
    assert answer.code == 2
    assert "line 93 of broken.py, in adjoint, raised KeyError" in answer.err
    assert "'mended later'" in answer.err


def test_code_that_has_changed_is_refused_where_it_measures_otherwise(place, run, monkeypatch):
    assert run(MEASURE).code == 0
    command = f"restore y.safetensors {OWN} --method vision_xl --steps 10 --output x.safetensors"
    with Path("own/shutter.py").open("a") as file:
        file.write("# of our camera\n")
    with monkeypatch.context() as patched:
        cut_off_after(patched, 2)
        assert run(command).code == 130
    with Path("own/shutter.py").open("a") as file:
        file.write("# or of another\n")
    answer = run(f"{command} --resume")  # its adjoint may be another
    assert answer.code == 2
    assert "was begun with other code of its task" in answer.err
    assert run(f"{command} --overwrite").code == 0
    Path("own/helper.py").write_text("BANDS = 2\n")
    monkeypatch.delitem(sys.modules, "helper")  # as in another process
    answer = run(f"restore y.safetensors {OWN} --output z.safetensors")
    assert answer.code == 2
    assert "makes another operator than when it measured" in answer.err


PARTS = """
from attrs import evolve

from visionxl import GaussianPrior, vision_xl
from visionxl.solvers import DDIMNoise


def prior(device, dtype):
    return GaussianPrior.natural(32, 48)


def method(count):
    return evolve(vision_xl(count=count, start=0.2), renoise=DDIMNoise(0.0))


def nothing(**_):
    pass


class Half:
    def encode(self, video):
        return video


def half(**_):
    return Half()


def padded(device, dtype):
    class Padding(GaussianPrior):
        multiple = 20

    return Padding(GaussianPrior.natural(40, 60).spectrum)


def wrong(**_):
    raise KeyError("a:key:b")


def bare(count):
    return evolve(vision_xl(), low_pass=lambda video: video)
"""
FINISHED = "restore y.safetensors --prior parts.py:prior --method parts.py:method --output x.mkv"


@pytest.fixture
def parts(place, run):
    Path("parts.py").write_text(PARTS)
    words = "simulate clip.mkv --task sr4 --noise 0.02 --frames 5 --output y.safetensors"
    assert run(words).code == 0
    return place


def test_a_prior_and_a_method_of_ones_own_restore(parts, run):
    answer = run(f"{FINISHED} --truth clip.mkv --seed 2")
    assert answer.code == 0, answer.err
    problem = simulate(read_clip("clip.mkv", 5).video, AveragePool(4), generator=generator_of(0))
    problem = evolve(problem, measurement=load_measurement("y.safetensors")[0], noise_std=0.02)
    method = evolve(vision_xl(count=25, start=0.2), renoise=DDIMNoise(0.0))
    prior = GaussianPrior.natural(32, 48)
    expected = restore(problem, prior, method, generator=generator_of(2)).video
    assert (read_clip("x.mkv").video - expected.clamp(-1, 1)).abs().max() <= 1.1 / 255
    record = json.loads(Path("x.json").read_text())
    assert (record["settings"]["prior"], record["settings"]["method"]) == (
        "parts.py:prior",
        "parts.py:method",
    )
    again = run(f"{FINISHED} --truth clip.mkv --seed 2 --resume")
    assert "nothing to resume" in again.out
    Path("parts.py").write_text(PARTS.replace("start=0.2", "start=0.1"))
    refused = run(f"{FINISHED} --seed 2 --resume")
    assert refused.code == 2
    assert "is finished, but with" in refused.err
    windows = run(f"{FINISHED} --windows 3 --overwrite".replace("x.mkv", "w.mkv"))
    assert windows.code == 0, windows.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--prior none.py:prior", "there is no file 'none.py'"),
        ("--prior parts.py:half", "returned Half, which has no decode, denoise, schedule: make"),
        ("--prior parts.py", "does not say which function: give parts.py:FUNCTION"),
        ("--prior parts.py:nothing", "returned NoneType, which has no decode"),
        ("--prior parts.py:wrong", "raised KeyError: 'a:key:b'; it is called as (device, dtype)"),
        ("--prior parts.py:other", "has no function 'other'; write def other(device, dtype)"),
        ("--prior parts.py:prior --prompt x", "--prompt 'x': parts.py:prior takes none"),
        ("--prior parts.py:prior --compile", "--compile: a prior of your own"),
        ("--prior parts.py:prior --memory 4", "--memory: the memory of a prior of your own"),
        ("--prior parts.py:prior --inner-autoencoder x", "--inner-autoencoder 'x': a prior of"),
        ("--method parts.py:nothing", "returned NoneType: make it return a Sampler"),
        ("--method parts.py:method --steps 0", "--steps"),
        (
            "--method parts.py:bare",
            "parts.py: bare.<locals>.<lambda>() takes 1 positional arg",
        ),
    ],
)
def test_parts_of_ones_own_that_cannot_be_used_are_one_sentence(parts, run, words, told):
    answer = run(f"restore y.safetensors {words} --output x.mkv")
    assert answer.code == 2
    assert told in answer.err
    assert answer.err.count("\n") == 1
    assert not Path("x.mkv").exists()


def test_a_file_that_could_not_be_run_is_asked_nothing(place):
    Path("bad.py").write_text("raise ValueError('not yet')\n")
    with pytest.raises(InputError, match="cannot be run"):
        find_own("--prior", "bad.py:prior", "(device, dtype)", "a prior")
    assert called_wrongly(TypeError("of_no_file() takes 1 positional argument, 2 given")) is None


def test_a_prior_of_ones_own_is_padded_to_what_it_asks_for(parts, run):
    answer = run("restore y.safetensors --prior parts.py:padded --method vision_xl --output x.mkv")
    assert answer.code == 0, answer.err
    assert "32x48 were reflected to 40x60" in answer.out
    assert read_clip("x.mkv").video.shape == (5, 3, 32, 48)
