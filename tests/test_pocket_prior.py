"""The embedded prior and its training."""

import json
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


def test_latents_are_8_times_smaller_with_32_channels_of_about_unit_variance(prior):
    latent = prior.encode(read_clip(DEMO_CLIP, 2).video)
    assert latent.shape == (2, 32, 36, 64)
    assert 0.5 < latent.std() < 1.5


def test_the_autoencoder_reconstructs_the_demo_clip(prior):
    video = read_clip(DEMO_CLIP, 2).video
    assert psnr(prior.decode(prior.encode(video)), video) > 38


@pytest.mark.skipif(not DOG.is_dir(), reason="the dog clip of the shared data is not here")
def test_the_autoencoder_reconstructs_the_dog_clip_with_32_db(prior):
    video = resized(read_clip(DOG, 5), "384x640").video
    frugal = FrameByFrame(prior)
    assert psnr(frugal.decode(frugal.encode(video)), video) >= 32


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
