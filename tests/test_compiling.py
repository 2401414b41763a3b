"""Compiled networks answer as the others do."""

import pytest
import torch
from dense import generator

from visionxl import GaussianPrior, PocketPrior, SDXLPrior, vision_xl
from visionxl.cli import running
from visionxl.planning import MemoryPlan
from visionxl.priors import compiled, warm_up


@pytest.fixture(scope="module")
def priors(sdxl_folder):
    return {"sdxl": SDXLPrior.from_pretrained(sdxl_folder), "pocket": PocketPrior.load()}


@pytest.mark.parametrize("name", ["sdxl", "pocket"])
def test_a_compiled_prior_answers_to_rounding_and_leaves_the_other_alone(name, priors):
    prior = priors[name]
    parts = list(prior.codec.vae.named_modules())
    quick = compiled(prior, backend="aot_eager")
    video = torch.rand(2, 3, 64, 64, generator=generator()) * 2 - 1
    level = prior.schedule.level(0.2)
    latent = prior.encode(video)
    torch.testing.assert_close(quick.encode(video), latent, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(quick.decode(latent), prior.decode(latent), atol=1e-4, rtol=1e-4)
    found, expected = quick.denoise(latent, level), prior.denoise(latent, level)
    torch.testing.assert_close(found.clean, expected.clean, atol=1e-4, rtol=1e-4)
    assert list(prior.codec.vae.named_modules()) == parts
    assert quick.unet is not prior.unet
    assert quick.codec.vae.decoder is not prior.codec.vae.decoder


def test_the_warm_up_runs_every_network_and_two_times(priors):
    ran = []
    prior = priors["pocket"]
    networks = {"encoder": prior.codec.vae.encoder, "decoder": prior.codec.vae.decoder}
    networks["unet"] = prior.unet
    hooks = [
        network.register_forward_hook(lambda *_, name=name: ran.append(name))
        for name, network in networks.items()
    ]
    seconds = warm_up(prior, (0.2, 0.1, 0.05), 2, 64, 64, torch.device("cpu"))
    for hook in hooks:
        hook.remove()
    assert ran == ["encoder", "unet", "unet", "decoder"]
    assert seconds > 0


@pytest.mark.parametrize(("frames", "counts"), [(10, [2, 4]), (8, [4]), (3, [3])])
def test_the_rest_of_the_frames_is_warmed_up_for_too(frames, counts, monkeypatch):
    asked = []

    def told(prior, times, count, height, width, where):
        asked.append(count)
        return 1.0

    monkeypatch.setattr(running, "warm_up", told)
    shape = torch.Size((frames, 3, 32, 48))
    assert running.warmed(GaussianPrior.natural(32, 48), vision_xl(), shape, MemoryPlan(4)) == len(
        counts
    )
    assert asked == counts
