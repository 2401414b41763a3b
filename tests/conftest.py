"""Shared by all tests: few threads, quick hypothesis."""

import os

import hypothesis
import torch

os.environ.setdefault("HF_HUB_OFFLINE", "1")
torch.set_num_threads(2)
hypothesis.settings.register_profile("default", deadline=None, max_examples=40)
hypothesis.settings.load_profile("default")
