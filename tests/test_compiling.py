"""Compiled networks answer as the others do."""

import pytest
import torch
from dense import generator
from torch._dynamo.utils import counters

from visionxl import GaussianPrior, PocketPrior, SDXLPrior
from visionxl.cli import running
from visionxl.planning import MemoryPlan
from visionxl.priors import compiled, warm_up


@pytest.fixture(scope="module")
def priors(sdxl_folder):
    return {"sdxl": SDXLPrior.from_pretrained(sdxl_folder), "pocket": PocketPrior.load()}


@pytest.mark.parametrize(("name", "backend"), [("sdxl", "aot_eager"), ("pocket", "eager")])
def test_a_compiled_prior_answers_to_rounding_and_leaves_the_other_alone(name, backend, priors):
    prior = priors[name]
    parts = list(prior.codec.vae.named_modules())
    quick = compiled(prior, backend=backend)
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


def test_one_compilation_serves_every_time(priors):
    torch._dynamo.reset()
    counters.clear()
    quick = compiled(priors["pocket"], backend="aot_eager")
    latent = priors["pocket"].encode(torch.zeros(2, 3, 64, 64))
    for moment in (0.1, 0.2, 0.3):
        quick.denoise(latent, quick.schedule.level(moment))
    assert counters["stats"]["unique_graphs"] == 1


def test_of_repeated_blocks_each_kind_is_compiled_once_and_the_rest_is_not(priors):
    prior = priors["sdxl"]
    quick = compiled(prior, backend="aot_eager")
    blocks = [m for m in quick.unet.modules() if isinstance(m, torch._dynamo.OptimizedModule)]
    known = [m for m in prior.unet.modules() if type(m).__name__ == "BasicTransformerBlock"]
    assert [type(block._orig_mod) for block in blocks] == [type(block) for block in known]
    assert not isinstance(quick.unet, torch._dynamo.OptimizedModule)
    assert not any(isinstance(m, torch._dynamo.OptimizedModule) for m in prior.unet.modules())
    own, shared = (list(unet.parameters()) for unet in (quick.unet, prior.unet))
    assert all(a is b for a, b in zip(own, shared, strict=True))


def test_the_warm_up_runs_every_network(priors):
    ran = []
    prior = priors["pocket"]
    networks = {"encoder": prior.codec.vae.encoder, "decoder": prior.codec.vae.decoder}
    networks["unet"] = prior.unet
    hooks = [
        network.register_forward_hook(
            lambda *_, name=name: ran.append((name, torch.is_grad_enabled()))
        )
        for name, network in networks.items()
    ]
    seconds = warm_up(prior, 2, 64, 64, torch.device("cpu"))
    for hook in hooks:
        hook.remove()
    assert ran == [("encoder", False), ("unet", False), ("decoder", False)]  # as in a run
    assert seconds > 0


@pytest.mark.parametrize(
    ("frames", "counts"),
    [({10}, [1, 2, 4]), ({8}, [1, 4]), ({3}, [1, 3]), ({5}, [1, 4]), ({8, 7, 2}, [1, 2, 3, 4])],
)
def test_every_number_of_frames_that_may_be_asked_for_is_warmed_up_for(frames, counts, monkeypatch):
    asked = []

    def told(prior, count, height, width, where):
        asked.append(count)
        return 1.0

    monkeypatch.setattr(running, "warm_up", told)
    prior = GaussianPrior.natural(32, 48)
    assert running.warmed(prior, (32, 48), frames, MemoryPlan(4)) == len(counts)
    assert asked == counts
