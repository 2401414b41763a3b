"""The embedded prior and its training."""

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from visionxl import PocketPrior
from visionxl.cli.reading import resized
from visionxl.metrics import psnr
from visionxl.priors.pocket import WEIGHTS
from visionxl.solvers import FrameByFrame, leading_times
from visionxl.video import DEMO_CLIP, read_clip

TRAINING = Path(__file__).parent.parent / "training"
DOG = Path(__file__).parents[2] / "shared/data/clips/dog-768x1280"


@pytest.fixture(scope="module")
def prior():
    return PocketPrior.load()


def test_the_weights_take_at_most_20_megabytes_and_are_safetensors():
    files = [path for path in WEIGHTS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 20_000_000
    assert {path.suffix for path in files} <= {".safetensors", ".json"}


def test_latents_are_8_times_smaller_with_64_channels_of_about_unit_variance(prior):
    latent = prior.encode(read_clip(DEMO_CLIP, 2).video)
    assert latent.shape == (2, 64, 36, 64)
    assert 0.5 < latent.std() < 1.5


def test_the_autoencoder_reconstructs_the_demo_clip(prior):
    video = read_clip(DEMO_CLIP, 2).video
    assert psnr(prior.decode(prior.encode(video)), video) > 43


@pytest.mark.skipif(not DOG.is_dir(), reason="the dog clip of the shared data is not here")
def test_the_autoencoder_reconstructs_the_dog_clip_with_39_db(prior):
    video = resized(read_clip(DOG, 5).video, "384x640")
    frugal = FrameByFrame(prior)
    assert psnr(frugal.decode(frugal.encode(video)), video) >= 39


@pytest.mark.parametrize("time", leading_times()[::3])
def test_denoising_brings_latents_nearer_at_every_time_that_is_used(prior, time):
    level = prior.schedule.level(time)
    clean = prior.encode(read_clip(DEMO_CLIP, 1).video)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    noisy = level.signal * clean + level.noise * noise
    error = (prior.denoise(noisy, level).clean - clean).square().mean()
    assert error < 0.6 * (noisy / level.signal - clean).square().mean()


@pytest.fixture
def training(monkeypatch):
    monkeypatch.syspath_prepend(str(TRAINING))
    import pocket

    return pocket


@pytest.fixture
def photographs(tmp_path):
    folder = tmp_path / "photographs"
    folder.mkdir()
    random = np.random.default_rng(0)
    for index in range(2):
        coarse = random.integers(0, 255, (12, 16, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((320, 240)).save(folder / f"{index}.jpg")
    return folder


def test_training_on_starts_from_the_exported_networks(
    training, photographs, tmp_path, monkeypatch
):
    def run(words: str) -> None:
        words = f"pocket.py {words} --photos {photographs} --batch 2 --crop 32 --threads 1"
        words += " --widths 16 16"
        monkeypatch.setattr(sys, "argv", words.split())
        training.main()

    first, again, other = (tmp_path / name for name in ("first", "again", "other"))
    for stage in ("autoencoder", "unet", "export"):
        run(f"{stage} --work {tmp_path / 'a'} --output {first} --steps 2")
    for rate, folder in (("0", again), ("1e-3", other)):  # without a rate nothing changes
        run(f"unet --start {first} --work {folder / 'work'} --steps 2 --rate {rate}")
        run(f"export --start {first} --work {folder / 'work'} --output {folder}")
    networks = ("vae/diffusion_pytorch_model", "unet/diffusion_pytorch_model")
    for network, changes in zip(networks, (False, True), strict=True):
        before, same, after = (
            load_file(folder / f"{network}.safetensors") for folder in (first, again, other)
        )
        assert all(torch.equal(before[key], same[key]) for key in before)
        assert changes == any(not torch.equal(before[key], after[key]) for key in before)
    losses = json.loads((other / "losses.json").read_text())
    assert [step for step, _ in losses["unet"]] == [2, 2]
    assert len(losses["autoencoder"]) == 1


@pytest.mark.parametrize("stage", ["autoencoder", "unet"])
def test_a_stopped_training_resumes_to_the_same_weights(
    stage, training, photographs, tmp_path, monkeypatch
):
    def run(work: str, which: str = stage) -> dict:
        words = f"pocket.py {which} --photos {photographs} --work {tmp_path / work} --steps 4"
        words += " --batch 2 --crop 32 --save-every 2 --threads 1 --widths 16 16"
        monkeypatch.setattr(sys, "argv", words.split())
        training.main()
        return load_file(tmp_path / work / f"{which}.safetensors")

    if stage == "unet":
        run("whole", "autoencoder")
        shutil.copytree(tmp_path / "whole", tmp_path / "stopped")
    whole = run("whole")

    genuine, calls = training.crops, []

    def failing(pictures, count, size, generator):
        calls.append(count)
        if count == 2 and calls.count(2) == 4:  # the batch of the fourth step
            raise KeyboardInterrupt
        return genuine(pictures, count, size, generator)

    with monkeypatch.context() as patch:
        patch.setattr(training, "crops", failing)
        with pytest.raises(KeyboardInterrupt):
            run("stopped")
    resumed = run("stopped")
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_crops_are_pieces_of_the_photographs_turned_and_exposed(training, tmp_path):
    import photographs

    random = np.random.default_rng(0)
    texture = random.integers(1, 255, (24, 24, 3), dtype=np.uint8)
    texture[..., 2], texture[0, 0, 1] = 255, 128  # the gain shows in blue, then the gamma
    pixels = torch.from_numpy(texture).view(-1, 3)
    sizes = torch.tensor([[24, 24]])
    pictures = photographs.Photographs(pixels, torch.zeros(1, dtype=torch.long), sizes, (24,))
    whole = torch.from_numpy(texture).permute(2, 0, 1).float() / 255
    turned = [whole, whole.flip(2), whole.mT, whole.flip(2).mT]
    seen = set()
    for size in (24, 9):
        pieces = torch.stack([t.unfold(1, size, 1).unfold(2, size, 1) for t in turned])
        pieces = pieces.movedim(1, 3).flatten(0, 2)  # every piece of every turn
        batch = training.crops(pictures, 40, size, torch.Generator().manual_seed(size))
        assert batch.shape == (40, 3, size, size)
        for crop in (batch + 1) / 2:
            gain = crop[2].max()
            assert 0.7 <= gain <= 1
            # log crop = gamma * log piece + log gain: the right piece fits without a rest.
            logs = (crop[:2] / gain).log().flatten()
            of_pieces = pieces[:, :2].flatten(1).log()
            gamma = (of_pieces @ logs) / of_pieces.square().sum(1)
            rest = (of_pieces * gamma[:, None] - logs).abs().amax(1)
            assert rest.min() < 1e-4
            assert 2**-0.5 <= gamma[rest.argmin()] <= 2**0.5
            seen.add((size, int(rest.argmin())))
    assert {piece for size, piece in seen if size == 24} == {0, 1, 2, 3}
    assert len(seen) > 30


def read_losses(path):
    import optimise

    return optimise.read_meta(path)["losses"]


def test_a_schedule_in_seconds_ends_on_time_and_goes_on_where_it_was_stopped(
    training, photographs, tmp_path, monkeypatch
):
    import optimise

    words = f"pocket.py autoencoder --photos {photographs} --work {tmp_path} --seconds 9 --batch 2"
    words += " --crop 32 --save-every 2 --threads 1 --latents 4 --channels 16"
    monkeypatch.setattr(sys, "argv", words.split())
    clock, rates = [100.0], []
    monkeypatch.setattr(optimise.time, "monotonic", lambda: clock[0])
    genuine = torch.optim.AdamW.step

    def step(self, *args):  # of one second; the fourth is interrupted once
        rates.append(self.param_groups[0]["lr"])
        if len(rates) == 4:
            raise KeyboardInterrupt
        clock[0] += 1
        return genuine(self, *args)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    with pytest.raises(KeyboardInterrupt):
        training.main()
    clock[0] = 5000.0  # another process, another clock
    training.main()
    meta = optimise.read_meta(tmp_path / "autoencoder.safetensors")
    assert (meta["step"], meta["seconds"]) == (9, 9.0)
    assert len(rates) == 3 + 1 + 7  # two steps are saved, the third and the fourth are made again
    decay = [rate / (number * rates[0]) for number, rate in enumerate(rates[4:], start=3)]
    assert decay == sorted(decay, reverse=True)  # what is left without the warm-up
    assert 0.8 < decay[0] < 0.9
    assert 0.01 < decay[-1] < 0.05


def test_networks_of_other_sizes_are_exported_and_loaded(
    training, photographs, tmp_path, monkeypatch
):
    def run(stage: str, more: str = "") -> None:
        words = f"pocket.py {stage} --work {tmp_path} --output {tmp_path / 'prior'} --batch 2"
        words += f" --photos {photographs} --crop 32 --steps 1 --threads 1 {more}"
        monkeypatch.setattr(sys, "argv", words.split())
        training.main()

    run("autoencoder", "--latents 6 --channels 16")
    run("unet", "--widths 32 --layers 1")
    run("export")
    monkeypatch.setattr("visionxl.priors.pocket.WEIGHTS", tmp_path / "prior")
    prior = PocketPrior.load()
    assert prior.multiple == 8
    video = read_clip(DEMO_CLIP, 1).video[..., :24, :40]
    latent = prior.encode(video)
    assert latent.shape == (1, 6, 3, 5)
    denoised = prior.denoise(latent, prior.schedule.level(0.2)).clean
    assert prior.decode(denoised).isfinite().all()
    with pytest.raises(SystemExit, match="another shape"):
        run("autoencoder", "--latents 8 --channels 16")


def test_compiled_are_the_networks_that_are_trained_and_the_encoder_that_feeds_one(
    training, photographs, tmp_path, monkeypatch
):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compiled.append(type(self)))
    for stage, parts in (
        ("autoencoder", ["EncoderTiny", "DecoderTiny"]),
        ("unet", ["EncoderTiny", "UNet2DModel"]),
    ):
        words = f"pocket.py {stage} --work {tmp_path} --photos {photographs} --compile --steps 1"
        words += " --batch 2 --crop 32 --threads 1 --widths 16 16"
        monkeypatch.setattr(sys, "argv", words.split())
        training.main()
        assert [kind.__name__ for kind in compiled] == parts
        compiled.clear()


@pytest.mark.parametrize("flags", ["--latents 65", "--channels 60", "--widths 128 100"])
def test_networks_that_cannot_be_are_refused(flags, training, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", f"pocket.py unet --photos . {flags}".split())
    with pytest.raises(SystemExit):
        training.main()
    assert flags.split()[0] in capsys.readouterr().err


def test_a_smaller_autoencoder_learns_the_latents_and_its_cost_is_told(
    training, photographs, tmp_path, monkeypatch, capsys
):
    import tiny

    def run(steps):
        words = f"tiny.py --photos {photographs} --work {tmp_path} --output {tmp_path / 'tiny'}"
        words += f" --channels 16 --batch 2 --crop 32 --threads 1 --steps {steps} --rate 0.01"
        monkeypatch.setattr(sys, "argv", words.split())
        tiny.main()

    run(1)
    run(200)  # goes on
    losses = [loss for _, loss in read_losses(tmp_path / "tiny.safetensors")]
    assert len(losses) == 2
    assert losses[1] < 0.7 * losses[0]
    monkeypatch.syspath_prepend(str(TRAINING.parent / "benchmarks"))
    import inner_autoencoder

    words = f"inner_autoencoder.py --inner-autoencoder {tmp_path / 'tiny'} --frames 2"
    words += f" --height 32 --width 48 --task deblur --json {tmp_path / 'rows.json'}"
    monkeypatch.setattr(sys, "argv", words.split())
    capsys.readouterr()
    inner_autoencoder.main()
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert [row["method"] for row in rows] == ["vision_xl", "vision_tv"]
    assert all(row["inner"]["psnr"] != row["full"]["psnr"] for row in rows)
    told = capsys.readouterr().out
    held = re.search(r"flower: .* holds (\S+) dB, the smaller one (\S+) dB", told)
    assert float(held[1]) > float(held[2])  # it has hardly been trained
    for row in rows:
        lost = row["inner"]["psnr"] - row["full"]["psnr"]
        assert f"| {row['method']} | {row['full']['psnr']:.2f} |" in told
        assert f"| {lost:+.2f} |" in told
