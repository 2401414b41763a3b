"""Memory grows by a fixed, small number of videos, whatever the networks need."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("resource")

SCRIPT = Path(__file__).with_name("peak_memory.py")
FEW, MANY = 8, 20
# glibc gives each freed video back at once, so the peak counts what is held and nothing else.
ENVIRONMENT = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}


def videos_held(side, prior, consistency):
    """By how many of its own sizes the peak grows with the video, from 8 to 20 frames."""
    runs = [
        subprocess.Popen(
            [sys.executable, SCRIPT, str(frames), str(side), prior, consistency],
            stdout=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
        )
        for frames in (FEW, MANY)
    ]
    few, many = (int(run.communicate(timeout=300)[0]) for run in runs)
    return (many - few) / ((MANY - FEW) * 3 * side**2 * 4)  # float32, three channels


@pytest.mark.parametrize(
    ("prior", "consistency", "at_most"),
    [
        # Latents of a 48th of a video.
        ("diffusers", "closed form", 5),
        # Latents as large as a video.
        ("gaussian", "closed form", 10),
        # Three differences for each value, directions and motion; latents of a 48th.
        ("diffusers", "total variation", 12),
        # Beside it 16 numbers and 16 weights for each pixel, up to 2.2 GB in all.
        ("diffusers", "total variation, motion sorted", 23),
        # The flow both ways.
        ("diffusers", "shrinkage", 9),
        # Conjugate gradients hold four tensors more.
        ("gaussian", "CG", 14),
    ],
)
def test_the_peak_grows_by_a_fixed_number_of_videos(prior, consistency, at_most):
    assert 2 < videos_held(128, prior, consistency) < at_most
