"""The noise of a measurement, found in the measurement alone."""

import json
import math
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from command_line import make_clip, visionxl
from PIL import Image

from visionxl import InputError, simulate
from visionxl.cli.measurement_options import MeasurementOptions, about_noise
from visionxl.cli.reading import described
from visionxl.measurements import ROUNDING, Description, estimate_noise
from visionxl.metrics import psnr
from visionxl.operators import TASKS
from visionxl.sizes import cover
from visionxl.video import DEMO_CLIP, is_lossy, read_clip, to_pictures
from visionxl.writing import write_clip

FRAMES, HEIGHT, WIDTH = 9, 96, 160


def chance(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def clip():
    return cover(read_clip(DEMO_CLIP, FRAMES).video, HEIGHT, WIDTH)


@pytest.mark.parametrize("noise_std", [0.005, 0.02, 0.1])
@pytest.mark.parametrize("task", ["temporal", "deblur", "sr4", "deblur+", "sr4+", "inpaint+"])
def test_it_finds_the_noise_of_a_real_clip(task, noise_std, clip):
    operator = TASKS[task](FRAMES, HEIGHT, WIDTH, chance())
    problem = simulate(clip, operator, noise_std, generator=chance())
    allowed = 0.06 * noise_std + 0.005 * ("sr4" in task)  # pooling leaves texture
    assert estimate_noise(problem.measurement) == pytest.approx(noise_std, abs=allowed)


@pytest.mark.parametrize("axes", [(0,), (-2, -1), (0, -2, -1), (0, 1, 2, 3)])
def test_white_noise_alone_has_its_standard_deviation(axes):
    noise = 0.3 * torch.randn(12, 5, 60, 80, generator=chance())
    assert estimate_noise(noise, axes) == pytest.approx(0.3, rel=0.02)


def test_what_is_straight_along_any_axis_adds_nothing():
    still = torch.rand(1, 3, 40, 50, generator=chance()).expand(6, -1, -1, -1)
    ramp = torch.linspace(-1, 1, 40)[:, None] + torch.rand(6, 3, 1, 50, generator=chance())
    noise = 0.05 * torch.randn(6, 3, 40, 50, generator=chance(1))
    assert estimate_noise(still) == pytest.approx(0, abs=1e-7)
    assert estimate_noise(ramp) == pytest.approx(0, abs=1e-6)
    assert estimate_noise(still + ramp + noise) == pytest.approx(0.05, rel=0.05)
    assert estimate_noise(still + noise, (-2, -1)) > 0.2  # in space alone it is texture


def test_it_scales_with_the_measurement(clip):
    assert estimate_noise(4 * clip) == pytest.approx(4 * estimate_noise(clip), rel=1e-5)


def test_a_few_wild_values_hardly_matter():
    noise = 0.1 * torch.randn(8, 3, 60, 80, generator=chance())
    noise[:, :, ::20, ::20] = 1e4  # 27 coefficients for each of 1 in 400 values
    assert estimate_noise(noise) == pytest.approx(0.1, rel=0.1)


def test_known_pixels_alone_can_be_asked_in_time(clip):
    known = torch.rand(HEIGHT, WIDTH, generator=chance()) < 0.5
    noise = 0.05 * torch.randn(clip.shape, generator=chance(1))
    seen = (clip + noise)[..., known]
    assert estimate_noise(seen, axes=(0,)) == pytest.approx(0.05, rel=0.2)


def masks():
    """Half of the pixels at random, more than half in one piece, and others in every frame."""
    piece = torch.arange(HEIGHT)[:, None].expand(HEIGHT, WIDTH) >= 60
    changing = torch.rand(FRAMES, 1, HEIGHT, WIDTH, generator=chance(1)) < 0.5
    half = torch.rand(piece.shape, generator=chance()) < 0.5
    return {"half": half, "piece": piece, "changing": changing}


@pytest.mark.parametrize(("mask", "share"), [("half", 2 / 3), ("piece", 0)])
def test_zeros_of_a_mask_take_noise_away_unless_it_is_told(mask, share, clip):
    known = masks()[mask]
    seen = torch.where(known, clip + 0.05 * torch.randn(clip.shape, generator=chance(1)), 0)
    assert estimate_noise(seen) == pytest.approx(0.05 * share, abs=0.002)
    assert estimate_noise(seen, known=known) == pytest.approx(0.05, rel=0.03)


@pytest.mark.parametrize("axes", [(0,), (-2, -1), (0, -2, -1)])
@pytest.mark.parametrize("mask", masks())
def test_white_noise_behind_a_mask_has_its_standard_deviation(mask, axes):
    known = masks()[mask]
    noise = 0.3 * torch.randn(FRAMES, 2, HEIGHT, WIDTH, generator=chance())
    noise = torch.where(known, noise, math.nan)  # whatever is there
    if mask == "changing" and len(axes) == 3:  # of 27 neighbours some are hidden
        with pytest.raises(InputError, match=r"no three neighbours along axes \(0, -2, -1\)"):
            estimate_noise(noise, axes, known)
        return
    few = mask == "changing" or 0 not in axes  # those that have known neighbours alone
    assert estimate_noise(noise, axes, known) == pytest.approx(0.3, rel=0.08 if few else 0.02)


@pytest.mark.parametrize("frames", [1, 9])
def test_what_a_mask_hides_is_not_taken_for_noise(frames):
    """Next to a pixel that is hidden, a difference is the picture itself."""
    clip = read_clip(DEMO_CLIP, frames=frames).video[..., :192, :320]
    chance = torch.Generator().manual_seed(0)
    noisy = clip + 0.01 * torch.randn(clip.shape, generator=chance)
    known = torch.rand(192, 320, generator=chance) < 0.5
    axes = (-2, -1) if frames == 1 else (0, -2, -1)
    assert estimate_noise(noisy, axes, known) == pytest.approx(0.012, abs=0.003)


@pytest.mark.parametrize(("known", "words"), [((6, 8), "does not fit"), ((8, 8), "0 everywhere")])
def test_a_mask_that_cannot_be_used_is_refused(known, words):
    known = torch.zeros(known) if "0" in words else torch.ones(known)
    with pytest.raises(InputError, match=words):
        estimate_noise(torch.zeros(3, 2, 8, 8), known=known)


@pytest.mark.parametrize("axes", [(), (0, 0), (0, -4), (4,), (-5,), (1,), (0, -2, -1, 1)])
def test_axes_that_cannot_be_used_are_refused(axes):
    video = torch.zeros(3, 2, 8, 8)
    with pytest.raises(InputError, match=r"axes .*\(3, 2, 8, 8\).*-2, -1"):
        estimate_noise(video, axes)


def test_a_single_picture_is_told_what_to_do():
    with pytest.raises(InputError, match=r"name fewer, such as \(-2, -1\) for a picture"):
        estimate_noise(torch.zeros(1, 3, 8, 8))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_values_that_are_not_finite_are_refused(value):
    with pytest.raises(InputError, match="not finite"):
        estimate_noise(torch.full((4, 3, 8, 8), value))


# On the command line


@pytest.fixture
def measured(tmp_path, monkeypatch, capfd):
    """clip.mkv, and what was made of it: y.mkv, which does not tell how, and y.safetensors."""
    monkeypatch.chdir(tmp_path)
    make_clip(Path("clip.mkv"), frames=6, height=48, width=64)
    words = ["simulate", "clip.mkv", "--task", "deblur", "--noise", "0.05", "--output"]
    for name in ("y.mkv", "y.safetensors"):
        assert visionxl(monkeypatch, capfd, *words, name).code == 0


@pytest.mark.parametrize("more", [[], ["--windows", "3"]])
def test_restore_estimates_it_tells_it_and_keeps_it(more, measured, monkeypatch, capfd):
    words = ["restore", "y.mkv", "--task", "deblur", "--noise", "estimate", "--output", "x.mkv"]
    answer = visionxl(monkeypatch, capfd, *words, *more)
    assert answer.code == 0, answer.err
    found = estimate_noise(read_clip("y.mkv").video)
    assert found == pytest.approx(0.05, rel=0.05)
    note = f"noise {found:.4g} was estimated"
    assert f"note: {note}" in answer.out
    record = json.loads(Path("x.json").read_text())
    assert record["noise_std"] == record["settings"]["noise_std"] == found
    assert any(told.startswith(note) for told in record["notes"])


def test_restore_estimates_no_less_than_the_rounding_of_8_bits(measured, monkeypatch, capfd):
    write_clip(Path("gray.mkv"), torch.zeros(2, 3, 32, 48), 24)
    words = ["restore", "gray.mkv", "--task", "deblur", "--noise", "estimate", "--output", "x.mkv"]
    assert visionxl(monkeypatch, capfd, *words).code == 0
    assert json.loads(Path("x.json").read_text())["noise_std"] == ROUNDING


def test_restore_estimates_it_where_the_mask_says_that_pixels_are_known(
    measured, monkeypatch, capfd
):
    known = torch.rand(48, 64, generator=chance()) < 0.4
    blurred = read_clip("y.mkv").video
    write_clip(Path("holes.mkv"), torch.where(known, blurred, 0), 24)
    Image.fromarray(known.numpy()).save("known.png")
    words = ["restore", "holes.mkv", "--task", "inpaint", "--mask", "known.png"]
    words += ["--noise", "estimate", "--output", "x.mkv"]
    answer = visionxl(monkeypatch, capfd, *words)
    assert answer.code == 0, answer.err
    found = json.loads(Path("x.json").read_text())["noise_std"]
    assert found == pytest.approx(0.05, rel=0.1)


LOSSY = {"a.mp4": True, "a.mkv": False, "a.png": False, "a.jpg": True}


@pytest.mark.parametrize("name", LOSSY)
def test_a_lossy_codec_is_told_from_a_lossless_one(name, measured, monkeypatch, capfd):
    video = read_clip("clip.mkv").video
    if name.endswith(("png", "jpg")):
        Image.fromarray(next(to_pictures(video))).save(name)
    else:
        write_clip(Path(name), video, 24)
    assert is_lossy(Path(name)) == LOSSY[name]
    folder = Path("frames")
    folder.mkdir()
    if name.endswith(("png", "jpg")):
        Path(name).rename(folder / name)
        assert is_lossy(folder) == LOSSY[name]


@pytest.mark.parametrize(
    ("given", "taken", "word"),
    [
        ([], 0.1, "noise 0.1 was assumed: y.mp4 went through a lossy codec"),
        (["--noise", "estimate"], 0.1, "a lossy codec: the estimate is less"),
        (["--noise", "0.01"], 0.01, "whose errors are not in --noise 0.01"),
        (["--noise", "0.1"], 0.1, None),
    ],
)
def test_what_a_lossy_codec_wrote_has_the_codecs_noise(
    given, taken, word, measured, monkeypatch, capfd
):
    words = ["simulate", "clip.mkv", "--task", "deblur", "--output", "y.mp4"]
    assert "after a lossy codec" in visionxl(monkeypatch, capfd, *words).out
    words = ["restore", "y.mp4", "--task", "deblur", "--output", "x.mkv", *given]
    answer = visionxl(monkeypatch, capfd, *words)
    assert answer.code == 0, answer.err
    record = json.loads(Path("x.json").read_text())
    assert record["noise_std"] == taken
    assert ("codec" in answer.out) == (word is not None)
    assert word is None or any(word in note for note in record["notes"])


@pytest.mark.filterwarnings("ignore:.*result's values are beyond")
def test_no_less_than_the_rounding_of_8_bits_is_taken(measured, monkeypatch, capfd):
    words = ["restore", "y.mkv", "--task", "deblur", "--noise", "0", "--output", "x.mkv"]
    answer = visionxl(monkeypatch, capfd, *words)
    assert answer.code == 0, answer.err
    note = f"note: noise {ROUNDING}, the rounding of 8 bits, was assumed, not --noise 0"
    assert note in answer.out
    assert json.loads(Path("x.json").read_text())["noise_std"] == ROUNDING


@pytest.mark.filterwarnings("ignore:.*result's values are beyond")
def test_a_restoration_of_a_coded_video_does_not_end_below_it(measured, monkeypatch, capfd):
    """Told the rounding of 8 bits alone, it ends 10 dB below."""
    words = ["simulate", str(DEMO_CLIP), "--task", "deblur", "--frames", "3", "--size", "64x96"]
    assert visionxl(monkeypatch, capfd, *words, "--output", "y.mp4").code == 0
    words = ["restore", "y.mp4", "--task", "deblur", "--output", "x.mkv"]
    after = {}
    for name, more in {"told": [], "rounding": ["--noise", "0.00226"]}.items():
        answer = visionxl(monkeypatch, capfd, *words, *more, "--overwrite")
        assert answer.code == 0, answer.err
        truth = cover(read_clip(DEMO_CLIP, 3).video, 64, 96)
        after[name] = psnr(read_clip("x.mkv").video, truth)
    before = psnr(read_clip("y.mp4").video, truth)
    assert after["told"] > before + 0.5
    assert after["rounding"] < before - 2
    assert "is above the noise" in answer.out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["y.mkv", "--task", "deblur", "--noise", "much"], "--noise 'much' is not a number"),
        (["y.safetensors", "--noise", "estimate"], "y.safetensors knows how it was measured"),
    ],
)
def test_restore_says_what_else_to_give(words, sentence, measured, monkeypatch, capfd):
    answer = visionxl(monkeypatch, capfd, "restore", *words, "--output", "x.mkv")
    assert answer.code == 2
    assert sentence in answer.err


def test_a_measurement_that_looks_noisier_than_its_format_is_told_of():
    clip = cover(read_clip(DEMO_CLIP, 9).video, 96, 160)
    noisy = clip + 0.03 * torch.randn(clip.shape, generator=chance())
    words = about_noise(Path("y.png"), ROUNDING, None, False, noisy)[0]
    assert "but it looks like 0.03" in words
    assert "--noise estimate" in words
    (calm,) = about_noise(Path("y.png"), ROUNDING, None, False, torch.zeros(9, 3, 8, 8))
    assert "looks like" not in calm


def test_nothing_was_taken_for_a_measurement_of_floating_point_numbers():
    assert about_noise(Path("y.safetensors"), 0.001, 0.001, False) == []
    assert "was assumed" in about_noise(Path("y.png"), ROUNDING, 0.001, False)[0]


def test_less_noise_than_the_rounding_is_believed_of_floating_point_numbers():
    options = MeasurementOptions(task="sr4", noise=0.001)
    noises = [
        described(Path(name), None, (3, 3, 8, 8), Fraction(24), None, options).noise_std
        for name in ("y.safetensors", "y")
    ]
    assert noises == [0.001, ROUNDING]


def test_a_mask_for_a_measurement_that_has_its_own_is_refused():
    stored = Description("inpaint", 3, 32, 48)
    options = MeasurementOptions(mask=torch.ones(32, 48, dtype=torch.bool))
    with pytest.raises(InputError, match=r"--mask given, but y\.safetensors knows.*its own mask"):
        described(Path("y.safetensors"), stored, (3, 3, 32, 48), Fraction(24), None, options)
