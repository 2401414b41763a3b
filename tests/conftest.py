"""Shared by all tests: one thread, quick hypothesis, a quick garbage collector."""

import gc
import os
import shutil
import signal

import hypothesis
import jaxtyping
import pytest
import torch

gc.disable()  # until all are collected: what imports make stays
os.environ.setdefault("HF_HUB_OFFLINE", "1")
QUIET = (  # of Chromium: nothing but what a page asks for
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# Small tensors wait longer for a second thread than they compute, in the processes of tests too.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"
# A shell's & and nohup have Ctrl-C ignored, and processes of tests would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
hypothesis.settings.register_profile("default", deadline=None, max_examples=40)
hypothesis.settings.load_profile("default")


def pytest_collection_finish():
    """What was imported stays, and need not be looked through by every collection of garbage."""
    gc.freeze()
    gc.enable()


# They run whole commands and the examples of the manual, as users do: without checks of types.
AS_USERS_DO = {"test_app", "test_cli", "test_docs", "test_long", "test_resume"}
AS_USERS_DO |= {"test_shown_commands", "test_own_tasks", "test_report"}


@pytest.fixture(autouse=True, scope="module")
def checks_of_types(request):
    """Of every function's arguments and answers, which take a seventh of all time."""
    unchecked = request.module.__name__ in AS_USERS_DO
    jaxtyping.config.update("jaxtyping_disable", unchecked)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium, where there is one."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=QUIET)
        yield opened
        opened.close()


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
