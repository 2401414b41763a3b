"""Shared by all tests: few threads, quick hypothesis."""

import os

import hypothesis
import pytest
import torch

os.environ.setdefault("HF_HUB_OFFLINE", "1")
torch.set_num_threads(1)  # small tensors wait longer for a second thread than they compute
hypothesis.settings.register_profile("default", deadline=None, max_examples=40)
hypothesis.settings.load_profile("default")


@pytest.fixture(scope="module")
def one_thread():
    """Networks in small wait longer for a second thread than they compute."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def sdxl_folder(tmp_path_factory):
    """SDXL in small, saved by diffusers."""
    return build("sdxl", tmp_path_factory)


@pytest.fixture(scope="session")
def lcm_folder(tmp_path_factory):
    """SDXL in small with an embedded guidance, as LCM distils it."""
    return build("sdxl", tmp_path_factory, guidance_embedded=True)


@pytest.fixture(scope="session")
def stable_diffusion_folders(tmp_path_factory):
    """Stable Diffusion in small, by what its U-Net predicts."""
    types = ("epsilon", "v_prediction", "sample")
    return {t: build("stable_diffusion", tmp_path_factory, prediction_type=t) for t in types}


@pytest.fixture(scope="session")
def flow_folder(tmp_path_factory):
    """Stable Diffusion 3 in small, saved by diffusers."""
    return build("stable_diffusion_3", tmp_path_factory)


@pytest.fixture(scope="session")
def tiny_autoencoder_folder(tmp_path_factory):
    """An ``AutoencoderTiny``, saved by itself."""
    return build("saved_tiny_autoencoder", tmp_path_factory)


def build(name, tmp_path_factory, **options):
    import models  # and with it diffusers: only where a test needs them

    return getattr(models, name)(tmp_path_factory.mktemp(name), **options)
