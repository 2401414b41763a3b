"""The ablations of the paper's method: the command, its records and its picture."""

import json
import math
from itertools import product

import ablations
import pytest
import torch
from ablation_settings import ABLATIONS, FixedLowPass, IndependentNoise

from visionxl import NoiseLevel
from visionxl.solvers import SharedNoise

TOY = "--height 64 --width 96 --frames 9 --task sr4+"
FIELDS = ["ablation", "setting", "task", "noise", "psnr", "difference_psnr", "seconds"]
LEVEL = NoiseLevel(time=0.2, signal=0.8, noise=0.6)


def test_noise_aware_consistency_beats_plain_steps_where_there_is_noise(tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: visionxl[dev] has it")
    file, picture = tmp_path / "out.json", tmp_path / "out.svg"
    words = f"noise-aware {TOY} --noise 0.05 --json {file} --plot {picture}"
    ablations.main(words.split())
    records = json.loads(file.read_text())
    settings = [setting.name for setting in ABLATIONS["noise-aware"].settings]
    assert [record["setting"] for record in records] == settings
    for record in records:
        assert list(record) == FIELDS
        assert (record["ablation"], record["task"], record["noise"]) == (
            "noise-aware",
            "sr4+",
            0.05,
        )
        assert record["seconds"] > 0
    plain, aware, variation = (record["psnr"] for record in records)
    assert aware > plain + 3
    assert variation > plain + 3
    assert "<svg" in picture.read_text()
    printed = capsys.readouterr().out
    assert all(f"| {setting} | sr4+ | 0.05 |" in printed for setting in settings)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("lowpass", ["'lowpass'", "did you mean 'low-pass'?"]),
        ("cg --task sr5", ["'sr5'", "did you mean 'sr4"]),
        ("guidance --frames 3", ["reads text", "--prior", "--prompt"]),
        ("cg --plot out.bmp", ["out.bmp", ".svg"]),
        ("cg nowhere.mp4 --frames 3", ["nowhere.mp4", "does not exist"]),
    ],
)
def test_what_cannot_be_run_is_refused_in_a_sentence(words, told, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ablations.PocketPrior, "load", lambda: None)
    with pytest.raises(SystemExit) as stop:
        ablations.main(words.split())
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert all(word in error for word in told)


@pytest.mark.parametrize("name", ABLATIONS)
def test_an_ablation_has_its_settings_once_and_changes_one_part(name):
    settings = ABLATIONS[name].settings
    assert len({setting.name for setting in settings}) == len(settings)
    parts = ("times", "initializer", "consistency", "low_pass", "renoise")
    varied = {
        part
        for part, one in product(parts, settings)
        if getattr(one.sampler, part) != getattr(settings[0].sampler, part)
    }
    guided = len({setting.guidance for setting in settings}) > 1
    # The default's start has the consistency of its loop.
    assert len(varied) + guided == (2 if name in ("bend", "iterations") else 1)


def test_the_scale_of_guidance_is_varied_with_a_prior_that_reads_text(
    stable_diffusion_folders, tmp_path, capsys
):
    file = tmp_path / "out.json"
    words = "guidance --height 64 --width 64 --frames 2 --task sr4 --prompt dog --json"
    folder = str(stable_diffusion_folders["epsilon"])
    ablations.main([*words.split(), str(file), "--prior", folder])
    records = json.loads(file.read_text())
    assert [record["setting"] for record in records] == ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]
    assert len({record["psnr"] for record in records}) > 1


@pytest.mark.parametrize("name", ABLATIONS)
def test_every_ablation_can_be_drawn_where_a_value_is_missing(name, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: visionxl[dev] has it")
    from ablation_plot import plot

    ablation = ABLATIONS[name]
    records = [
        {"setting": s.name, "task": task, "noise": noise, "psnr": 20.0, "difference_psnr": None}
        for task, noise, s in product(("sr4+", "deblur+"), ablation.noises, ablation.settings)
    ]
    plot(tmp_path / "out.svg", ablation, records)
    assert (tmp_path / "out.svg").stat().st_size < 60_000


def test_independent_noise_differs_between_frames_and_has_the_level_of_shared_noise():
    clean, noise = torch.zeros(40, 2, 8, 8), torch.randn(1, 2, 8, 8).expand(40, -1, -1, -1)
    generator = torch.Generator().manual_seed(0)
    alone = IndependentNoise(1.0)(clean, noise, LEVEL, generator)
    shared = SharedNoise(1.0)(clean, noise, LEVEL, generator)
    assert (shared[1:] - shared[:-1]).abs().max() == 0
    assert alone.std(dim=0).mean() == pytest.approx(LEVEL.noise, rel=0.05)
    kinds = (IndependentNoise, SharedNoise)
    without = [kind(0.0)(clean, noise, LEVEL, generator) for kind in kinds]
    assert torch.equal(*without)


def test_the_fixed_low_pass_has_its_width_at_every_level():
    impulse = torch.zeros(1, 1, 31, 31)
    impulse[..., 15, 15] = 1
    levels = [NoiseLevel(t, math.sqrt(1 - t), math.sqrt(t)) for t in (0.1, 0.6)]
    blurred = [FixedLowPass(2.0)(impulse, level) for level in levels]
    assert torch.equal(*blurred)
    squares = (torch.arange(31) - 15.0) ** 2
    assert (blurred[0][0, 0].sum(0) * squares).sum() == pytest.approx(2.0**2, rel=0.02)
