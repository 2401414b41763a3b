"""The command line, from a clip to a restored one."""

import json
import re
import subprocess
import sys
from fractions import Fraction
from functools import partial
from pathlib import Path

import pytest
import torch
from attrs import evolve
from command_line import make_clip, visionxl
from safetensors.torch import save_file

from visionxl import __version__, simulate
from visionxl.cli import order
from visionxl.cli.measurement_options import outermost_mask
from visionxl.cli.memory import check_memory, working_bytes
from visionxl.errors import InputError
from visionxl.measurements import generator_of, load_measurement
from visionxl.metrics import psnr
from visionxl.operators import NONLINEAR_TASKS, TASK_NAMES, TASKS, lift
from visionxl.priors import compiled
from visionxl.report import measures
from visionxl.sizes import cover
from visionxl.solvers.residual import data_residual
from visionxl.video import read_clip
from visionxl.writing import write_clip


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_clip(Path("clip.mkv"), frames=9, height=32, width=48)
    return tmp_path


@pytest.mark.parametrize("task", TASK_NAMES)
def test_every_task_has_a_name(task, place, monkeypatch, capfd):
    words = ["simulate", "clip.mkv", "--task", task, "--noise", "0.01", "--json"]
    made = visionxl(monkeypatch, capfd, *words)
    assert made.code == 0, made.err
    values, description = load_measurement(Path("measurement.safetensors"))
    assert description is not None
    operator = description.operator(generator_of(0))
    assert lift(operator, values).shape == (9, 3, 32, 48)


@pytest.mark.parametrize("task", ["deblur+", "inpaint+", "snapshot"])
def test_a_longer_clip_is_measured_some_frames_at_a_time(task, place, monkeypatch, capfd):
    make_clip(Path("long.mkv"), frames=40, height=40, width=60)
    words = ["simulate", "long.mkv", "--task", task, "--noise", "0.02", "--seed", "3"]
    words += ["--size", "32x48", "--frames", "35", "--json", "--output"]
    made = visionxl(monkeypatch, capfd, *words, "y.safetensors")
    assert made.code == 0, made.err
    values, description = load_measurement(Path("y.safetensors"))
    assert description is not None
    chance, truth = generator_of(3), cover(read_clip("long.mkv", 35).video, 32, 48)
    problem = simulate(truth, description.operator(chance), 0.02, generator=chance)
    torch.testing.assert_close(values, problem.measurement, rtol=0, atol=1e-5)
    assert json.loads(made.out)["measurement_shape"] == list(values.shape)
    write_clip("truth.safetensors", truth, 25)
    words = ["truth.safetensors", "truth.safetensors", "--measurement", "y.safetensors"]
    told = visionxl(monkeypatch, capfd, "evaluate", *words, "--json")
    assert told.code == 0, told.err
    mask = outermost_mask(problem.operator)
    if mask is not None:  # what it hides counts nothing
        problem = evolve(problem, measurement=mask.forward(problem.measurement))
    expected = data_residual(problem, truth)
    assert json.loads(told.out)["data_residual"] == pytest.approx(expected, abs=1e-6)
    assert "psnr infinite" in visionxl(monkeypatch, capfd, "evaluate", *words).out


def test_no_noise_is_seen_in_the_holes_of_a_mask(place, monkeypatch, capfd):
    words = ["simulate", "clip.mkv", "--task", "inpaint", "--noise", "0.002", "--output", "y.mkv"]
    assert visionxl(monkeypatch, capfd, *words).code == 0
    words = ["restore", "y.mkv", "--task", "inpaint", "--method", "vision_xl", "--output", "x.mkv"]
    answer = visionxl(monkeypatch, capfd, *words)
    assert answer.code == 0, answer.err
    assert "the rounding of 8 bits" in answer.out
    assert "looks like" not in answer.out


def test_a_result_that_is_not_finite_is_not_called_perfect(place, monkeypatch, capfd):
    video = read_clip("clip.mkv").video
    video[4, 0, 3, 3] = float("nan")
    save_file({"video": video}, "x.safetensors")
    answer = visionxl(monkeypatch, capfd, "evaluate", "x.safetensors", "clip.mkv")
    assert answer.code == 2
    assert "x.safetensors has values that are not finite" in answer.err


@pytest.mark.parametrize("task", [*TASKS, "bayer", "snapshot", "clip"])
def test_a_task_goes_from_clip_to_video_picture_and_record(task, place, monkeypatch, capfd):
    words = ["simulate", "clip.mkv", "--task", task, "--noise", "0.01", "--output"]
    made = visionxl(monkeypatch, capfd, *words, "y.safetensors")
    assert made.code == 0, made.err
    method = "gauss_newton" if task in NONLINEAR_TASKS else "vision_tv"
    words = ["restore", "y.safetensors", "--output", "x.mkv", "--truth", "clip.mkv", "--json"]
    done = visionxl(monkeypatch, capfd, *words, "--method", method, "--frames-at-once", "9")
    assert done.code == 0, done.err
    record = json.loads(done.out)
    assert record == json.loads(Path("x.json").read_text())
    assert record["settings"]["task"] == task
    assert record["noise_std"] == 0.01
    assert record["settings"]["method"] == method
    assert "SharedNoise" in record["method"]
    assert "0x" not in record["method"]
    assert len(record["trace"]) == (8 if task in NONLINEAR_TASKS else 4)
    assert record["measures"]["psnr"] > 10
    assert Path("x.png").stat().st_size > 1000
    assert read_clip("x.mkv").video.shape == (9, 3, 32, 48)


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("sr4", "restored 9 frames of 32x48 from 9 frames of 8x12 in"),
        ("drop", "restored 9 frames of 32x48 from 6 frames of 32x48 in"),
        ("deblur", "restored 9 frames of 32x48 in"),
    ],
)
def test_what_was_restored_of_what_is_told(task, said, place, monkeypatch, capfd):
    words = ["simulate", "clip.mkv", "--task", task, "--noise", "0.01", "--output"]
    assert visionxl(monkeypatch, capfd, *words, "y.safetensors").code == 0
    words = ["restore", "y.safetensors", "--output", "x.mkv", "--method", "vision_xl"]
    answer = visionxl(monkeypatch, capfd, *words, "--steps", "3")
    assert said in answer.out, answer.err


def test_what_a_mask_hides_counts_alike_in_both_commands(place, monkeypatch, capfd):
    words = ["simulate", "clip.mkv", "--task", "inpaint", "--noise", "0.1", "--output"]
    assert visionxl(monkeypatch, capfd, *words, "y.safetensors").code == 0
    words = ["restore", "y.safetensors", "--method", "vision_xl", "--output", "x.safetensors"]
    record = json.loads(visionxl(monkeypatch, capfd, *words, "--json").out)
    words = ["evaluate", "x.safetensors", "clip.mkv", "--measurement", "y.safetensors", "--json"]
    found = json.loads(visionxl(monkeypatch, capfd, *words).out)
    assert found["data_residual"] == pytest.approx(record["data_residual"], abs=1e-5)
    words[1] = "clip.mkv"
    truth = json.loads(visionxl(monkeypatch, capfd, *words).out)
    assert truth["data_residual"] == pytest.approx(0.1 * 0.5**0.5, rel=0.05)


def test_a_task_that_is_not_linear_names_its_method(place, monkeypatch, capfd):
    words = ["simulate", "clip.mkv", "--task", "clip", "--noise", "0.01", "--output"]
    assert visionxl(monkeypatch, capfd, *words, "y.safetensors").code == 0
    for more in ([], ["--windows", "4"]):
        refused = visionxl(monkeypatch, capfd, "restore", "y.safetensors", *more)
        assert refused.code == 2
        assert "not linear" in refused.err
        assert "gauss_newton" in refused.err or "leave --windows out" in refused.err


def test_the_papers_method_runs_by_name_and_the_record_names_it(place, monkeypatch, capfd):
    words = ["simulate", "clip.mkv", "--task", "deblur+", "--noise", "0.05", "--output"]
    assert visionxl(monkeypatch, capfd, *words, "y.safetensors").code == 0
    records = {}
    for method in ("vision_xl", "vision_tv"):
        words = [
            "restore",
            "y.safetensors",
            "--method",
            method,
            "--output",
            f"{method}.safetensors",
        ]
        answer = visionxl(monkeypatch, capfd, *words, "--json")
        assert answer.code == 0, answer.err
        records[method] = json.loads(answer.out)
        assert records[method]["settings"]["method"] == method
    assert [len(record["trace"]) for record in records.values()] == [8, 4]
    assert Path("vision_xl.safetensors").read_bytes() != Path("vision_tv.safetensors").read_bytes()


def test_restoring_brings_the_video_nearer_to_the_truth(place, monkeypatch, capfd):
    words = ["simulate", "clip.mkv", "--task", "sr4", "--output", "y.safetensors"]
    assert visionxl(monkeypatch, capfd, *words).code == 0
    assert visionxl(monkeypatch, capfd, "restore", "y.safetensors", "--output", "x.mkv").code == 0
    words = ["evaluate", "x.mkv", "clip.mkv", "--measurement", "y.safetensors", "--json"]
    answer = visionxl(monkeypatch, capfd, *words)
    told = json.loads(answer.out)
    truth, restored = read_clip("clip.mkv").video, read_clip("x.mkv").video
    assert told["psnr"] == pytest.approx(psnr(restored, truth), abs=1e-3)
    assert told["data_residual"] < 0.01
    nearest = truth.unfold(2, 4, 4).unfold(3, 4, 4).mean(dim=(-1, -2))
    nearest = nearest.repeat_interleave(4, 2).repeat_interleave(4, 3)
    assert told["psnr"] > psnr(nearest, truth) + 1


def test_a_lossless_video_and_options_stand_for_a_described_measurement(place, monkeypatch, capfd):
    shared = ["--task", "inpaint", "--noise", "0.02", "--seed", "3"]
    quick = ["--method", "vision_xl", "--steps", "10"]
    for name in ("y.safetensors", "y.mkv"):
        words = ["simulate", "clip.mkv", *shared, "--output", name]
        assert visionxl(monkeypatch, capfd, *words).code == 0
    words = ["restore", "y.mkv", *shared, *quick, "--output", "b.mkv"]
    assert visionxl(monkeypatch, capfd, *words).code == 0
    words = ["restore", "y.safetensors", "--seed", "3", *quick, "--output", "c.mkv"]
    assert visionxl(monkeypatch, capfd, *words).code == 0
    # They differ by the 8 bits of the video alone; another mask would be tens of dB away.
    assert psnr(read_clip("b.mkv").video, read_clip("c.mkv").video) > 30


@pytest.mark.parametrize("more", [0, 1, 20])
def test_videos_are_compared_in_pieces(more, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(32 + more, 3, 32, 48, generator=generator).mul(2).sub(1)
    video = (truth[:32] + 0.1 * torch.randn(32, 3, 32, 48, generator=generator)).clamp(-1, 1)
    write_clip(Path("clip.safetensors"), truth, Fraction(25))
    write_clip(Path("x.mkv"), video, Fraction(25))
    answer = visionxl(monkeypatch, capfd, "evaluate", "x.mkv", "clip.safetensors", "--json")
    told = json.loads(answer.out)
    assert ("its first 32 frames are compared" in " ".join(told["notes"])) == bool(more)
    for name, value in measures(read_clip("x.mkv").video, truth[:32]).items():
        assert told[name] == pytest.approx(value, abs=1e-3)
    answer = visionxl(monkeypatch, capfd, "evaluate", "clip.safetensors", "x.mkv")
    if more:
        assert answer.code == 2
        assert "the clip x.mkv has 32 frames and the restored video has more" in answer.err


def test_a_truth_of_another_size_is_told(place, monkeypatch, capfd):
    words = ["simulate", "clip.mkv", "--task", "sr4", "--size", "64x96", "--output"]
    assert visionxl(monkeypatch, capfd, *words, "y.safetensors").code == 0
    words = ["restore", "y.safetensors", "--output", "x.mkv", "--truth", "clip.mkv"]
    answer = visionxl(monkeypatch, capfd, *words)
    assert "--truth is 32x48: enlarged and cut to 64x96" in answer.out
    answer = visionxl(monkeypatch, capfd, "evaluate", "x.mkv", "clip.mkv")
    assert "64x96 and the clip 32x48: give the clip that was measured" in answer.err
    words = ["evaluate", "x.mkv", "clip.mkv", "--size", "48x48"]
    answer = visionxl(monkeypatch, capfd, *words)
    assert answer.code == 2
    told = "64x96 and with --size the clip is 48x48: give the size that simulate cut it to, --size"
    assert f"{told} 64x96" in answer.err
    answer = visionxl(monkeypatch, capfd, "evaluate", "y.safetensors", "clip.mkv")
    assert "'y.safetensors' is a measurement: restore it first" in answer.err


def test_of_many_measurements_each_is_named_as_it_begins(place, monkeypatch, capfd):
    for task in ("sr4", "deblur"):
        words = ["simulate", "clip.mkv", "--task", task, "--output", f"{task}.safetensors"]
        assert visionxl(monkeypatch, capfd, *words).code == 0
    words = ["restore", "sr4.safetensors", "deblur.safetensors", "--output", "x-{name}.mkv"]
    answer = visionxl(monkeypatch, capfd, *words)
    assert answer.code == 0, answer.err
    first, second = (answer.err.index(f"{i}/2: {t}") for i, t in ((1, "sr4"), (2, "deblur")))
    assert first < second
    words = ["restore", "a.safetensors", "b.safetensors", "--output", "x-{name}.mkv"]
    answer = visionxl(monkeypatch, capfd, *words)
    assert "2 of 2 measurements failed" in answer.err
    assert "others" not in answer.err


def test_the_version_is_told(monkeypatch, capfd):
    answer = visionxl(monkeypatch, capfd, "--version")
    assert (answer.code, answer.out) == (0, f"visionxl {__version__}\n")


def test_a_truth_that_is_longer_is_cut_and_told(place, monkeypatch, capfd):
    words = ["simulate", "clip.mkv", "--task", "sr4", "--frames", "2", "--output", "y.safetensors"]
    assert visionxl(monkeypatch, capfd, *words).code == 0
    words = ["restore", "y.safetensors", "--output", "x.mkv", "--truth", "clip.mkv"]
    answer = visionxl(monkeypatch, capfd, *words)
    assert answer.code == 0, answer.err
    assert "--truth is longer: its first 2 frames are compared" in answer.out + answer.err
    record = json.loads(Path("x.json").read_text())
    truth, video = read_clip("clip.mkv").video[:2], read_clip("x.mkv").video
    assert record["measures"]["psnr"] == pytest.approx(psnr(video, truth), abs=0.1)  # 8 bits
    assert record["steps"] == len(record["trace"]) == 4
    assert record["settings"]["steps"] == 25


def test_sizes_that_do_not_suit_the_prior_are_padded_and_told(place, monkeypatch, capfd):
    make_clip(Path("odd.mkv"), frames=2, height=42, width=51)
    words = ["simulate", "odd.mkv", "--task", "deblur", "--output", "y.safetensors"]
    assert visionxl(monkeypatch, capfd, *words).code == 0
    answer = visionxl(monkeypatch, capfd, "restore", "y.safetensors", "--output", "x.mkv")
    assert answer.code == 0, answer.err
    assert "42x51" in answer.out
    assert "reflected to 48x64" in answer.out
    assert read_clip("x.mkv").video.shape == (2, 3, 42, 51)


def test_the_same_seed_gives_the_same_bytes_in_two_processes(place, monkeypatch, capfd):
    script = Path(sys.executable).with_name("visionxl")

    def here(*words):
        assert visionxl(monkeypatch, capfd, *words).code == 0

    def elsewhere(*words):
        subprocess.run([script, *words], check=True, capture_output=True)

    for run, name in ((here, "a"), (elsewhere, "b")):
        made = f"{name}.safetensors"
        run("simulate", "clip.mkv", "--task", "inpaint+", "--noise", "0.05", "--output", made)
        run("restore", made, "--seed", "5", "--steps", "10", "--output", f"{name}.mp4")
    for kind in ("safetensors", "mp4"):
        assert Path(f"a.{kind}").read_bytes() == Path(f"b.{kind}").read_bytes()


def test_a_run_can_be_repeated_from_its_record(place, monkeypatch, capfd):
    words = ["simulate", "clip.mkv", "--task", "deblur", "--output", "y.safetensors"]
    assert visionxl(monkeypatch, capfd, *words).code == 0
    words = ["restore", "y.safetensors", "--output", "x.safetensors", "--steps", "10"]
    assert visionxl(monkeypatch, capfd, *words).code == 0
    first = Path("x.safetensors").read_bytes()
    command = json.loads(Path("x.json").read_text())["command"]
    again = visionxl(monkeypatch, capfd, *command[1:], "--overwrite")
    assert again.code == 0, again.err
    assert Path("x.safetensors").read_bytes() == first


@pytest.mark.parametrize("command", ["simulate", "restore", "evaluate", "demo", "info"])
def test_help_of_every_command_has_an_example(command, monkeypatch, capfd):
    answer = visionxl(monkeypatch, capfd, command, "--help")
    assert answer.code == 0
    assert f"Example: visionxl {command}" in answer.out


def test_info_tells_versions_tasks_and_memory(monkeypatch, capfd):
    told = json.loads(visionxl(monkeypatch, capfd, "info", "--json").out)
    assert told["versions"]["torch"]
    assert set(told["tasks"]) == set(TASK_NAMES)
    assert told["process_memory_bytes"]["25 frames of 768x1280"] > 25 * 3 * 768 * 1280 * 4


def test_a_folder_in_diffusers_layout_is_a_prior(place, sdxl_folder, monkeypatch, capfd):
    make_clip(Path("small.mkv"), frames=2, height=64, width=96)
    words = ["simulate", "small.mkv", "--task", "deblur", "--output", "y.safetensors"]
    assert visionxl(monkeypatch, capfd, *words).code == 0
    words = ["restore", "y.safetensors", "--prior", str(sdxl_folder), "--prompt", "a dog"]
    answer = visionxl(monkeypatch, capfd, *words, "--output", "x.mkv")
    assert answer.code == 0, answer.err
    assert read_clip("x.mkv").video.shape == (2, 3, 64, 96)


@pytest.mark.filterwarnings("ignore:.*result's values are beyond")
def test_a_plain_video_one_frame_and_a_folder_of_pictures(place, monkeypatch, capfd):
    words = ["restore", "clip.mkv", "--task", "deblur+", "--noise", "0.02", "--output", "frames"]
    answer = visionxl(monkeypatch, capfd, *words)
    assert answer.code == 0, answer.err
    assert len(list(Path("frames").glob("*.png"))) == 9
    assert Path("frames.png").exists()
    make_clip(Path("one.mkv"), frames=1, height=16, width=24)
    words = ["restore", "one.mkv", "--task", "sr4", "--steps", "4", "--output", "one-restored.mp4"]
    answer = visionxl(monkeypatch, capfd, *words)
    assert answer.code == 0, answer.err
    assert read_clip("one-restored.mp4").video.shape == (1, 3, 64, 96)


def test_a_picture_is_restored_into_a_picture_beside_its_comparison(place, monkeypatch, capfd):
    words = ["simulate", "clip.mkv", "--task", "deblur", "--frames", "1", "--output", "one.png"]
    assert visionxl(monkeypatch, capfd, *words).code == 0
    words = ["restore", "one.png", "--task", "deblur", "--output", "x.png"]
    answer = visionxl(monkeypatch, capfd, *words)
    assert answer.code == 0, answer.err
    assert "restored 1 frame of 32x48" in answer.out
    assert read_clip("x.png").video.shape == (1, 3, 32, 48)
    assert read_clip("x-comparison.png").video.shape[-1] > 2 * 48


def test_compiled_networks_give_the_same_to_rounding_and_the_warm_up_is_told(
    place, monkeypatch, capfd
):
    words = ["simulate", "clip.mkv", "--task", "deblur", "--noise", "0.05", "--frames", "1"]
    assert visionxl(monkeypatch, capfd, *words, "--output", "y.safetensors").code == 0
    monkeypatch.setattr(order, "compiled", partial(compiled, backend="eager"))
    words = ["restore", "y.safetensors", "--method", "vision_xl", "--steps", "10"]
    for name, more in {"plain": [], "compiled": ["--compile"]}.items():
        more = [*more, "--output", f"{name}.safetensors", "--json"]
        answer = visionxl(monkeypatch, capfd, *words, *more)
        assert answer.code == 0, answer.err
        assert ("warm_up_seconds" in json.loads(answer.out)) == (name == "compiled")
    plain, quick = (read_clip(f"{n}.safetensors").video for n in ("plain", "compiled"))
    assert psnr(quick, plain) > 70


def test_an_inner_autoencoder_takes_part(
    place, sdxl_folder, tiny_autoencoder_folder, monkeypatch, capfd
):
    make_clip(Path("small.mkv"), frames=3, height=64, width=96)
    words = ["simulate", "small.mkv", "--task", "deblur", "--output", "y.safetensors"]
    assert visionxl(monkeypatch, capfd, *words).code == 0
    words = ["restore", "y.safetensors", "--prior", str(sdxl_folder)]
    inner = ["--inner-autoencoder", str(tiny_autoencoder_folder)]
    for name, more in {"plain": [], "inner": inner}.items():
        answer = visionxl(monkeypatch, capfd, *words, *more, "--output", f"{name}.mkv")
        assert answer.code == 0, answer.err
    assert Path("inner.mkv").read_bytes() != Path("plain.mkv").read_bytes()


def test_a_lora_is_given_to_the_prior_and_refused_by_the_pocket_prior(
    place, sdxl_folder, monkeypatch, capfd
):
    make_clip(Path("small.mkv"), frames=1, height=64, width=64)
    words = ["simulate", "small.mkv", "--task", "deblur", "--output", "y.safetensors"]
    assert visionxl(monkeypatch, capfd, *words).code == 0
    words = ["restore", "y.safetensors", "--lora", "lora.safetensors", "--output", "x.mkv"]
    for prior, sentence in {
        str(sdxl_folder): "lora 'lora.safetensors' is no file",
        "pocket": "--lora 'lora.safetensors': the pocket prior takes none",
    }.items():
        answer = visionxl(monkeypatch, capfd, *words, "--prior", prior)
        assert answer.code == 2
        assert sentence in answer.err


def test_an_inner_autoencoder_of_other_latents_is_refused(
    place, tiny_autoencoder_folder, monkeypatch, capfd
):
    words = ["simulate", "clip.mkv", "--task", "deblur", "--output", "y.safetensors"]
    assert visionxl(monkeypatch, capfd, *words).code == 0
    words = ["restore", "y.safetensors", "--inner-autoencoder", str(tiny_autoencoder_folder)]
    answer = visionxl(monkeypatch, capfd, *words, "--output", "x.mkv")
    assert answer.code == 2
    assert "4 latent channels of 8 pixels" in answer.err
    assert not list(place.glob("x*"))


@pytest.mark.parametrize("size", [(25, 64, 64), (400, 768, 1280), (3000, 288, 512)])
def test_what_would_fit_into_the_memory_does_and_one_frame_more_does_not(size, monkeypatch):
    frames, height, width = size
    there = working_bytes(frames, height, width) - 1
    monkeypatch.setattr("visionxl.cli.memory.machine_memory", lambda: there)
    with pytest.raises(InputError, match=r"\d+ frames of this size would fit") as told:
        check_memory(frames, 3, height, width)
    fitting = int(re.search(r"(\d+) frames of this size", str(told.value))[1])
    check_memory(fitting, 3, height, width)
    with pytest.raises(InputError):
        check_memory(fitting + 1, 3, height, width)
    with pytest.raises(InputError, match=rf"{fitting} frames of this size would fit \(simulate"):
        check_memory(frames, 3, height, width, windows=False)


def test_what_8_bits_cannot_hold_of_a_measurement_is_told(place, monkeypatch, capfd):
    words = ["simulate", "clip.mkv", "--noise", "0.05", "--output"]
    held = visionxl(monkeypatch, capfd, *words, "blurred.mkv", "--task", "deblur")
    lost = visionxl(monkeypatch, capfd, *words, "coded.mkv", "--task", "jpeg")
    kept = visionxl(monkeypatch, capfd, *words, "coded.safetensors", "--task", "jpeg")
    assert [answer.code for answer in (held, lost, kept)] == [0, 0, 0]
    assert "were clipped in coded.mkv" in " ".join(lost.out.split())
    assert not any("clipped" in answer.out for answer in (held, kept))


@pytest.mark.parametrize("task", ["deblur", "inpaint"])
def test_the_residual_of_an_odd_size_leaves_out_what_mp4_has_added(task, place, monkeypatch, capfd):
    make_clip(Path("odd.mkv"), frames=2, height=33, width=35)
    words = ["simulate", "odd.mkv", "--task", task, "--noise", "0.05", "--output"]
    assert visionxl(monkeypatch, capfd, *words, "y.safetensors").code == 0
    write_clip("x.mp4", read_clip("odd.mkv").video, 25)
    words = ["evaluate", "x.mp4", "odd.mkv", "--measurement", "y.safetensors", "--json"]
    answer = visionxl(monkeypatch, capfd, *words)
    assert answer.code == 0, answer.err
    told = json.loads(answer.out)
    assert told["data_residual"] == pytest.approx(0.05, rel=0.2)
    assert "cut off" in " ".join(told["notes"])
