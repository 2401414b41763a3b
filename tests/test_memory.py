"""Memory grows by a fixed, small number of videos, whatever the networks need."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("peak_memory.py")
# glibc gives each freed video back at once, so the peak counts what is held and nothing else.
ENVIRONMENT = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
AT_MOST = {
    # Latents of a 48th of a video.
    "diffusers, closed form": 6,
    # Latents as large as a video.
    "gaussian, closed form": 10,
    # Three differences for each value, directions and motion; latents of a 48th.
    "diffusers, total variation": 10,
    # Beside it 16 numbers and 16 weights for each pixel, up to 2.2 GB in all.
    "diffusers, total variation, motion sorted": 22,
    # The flow both ways.
    "diffusers, shrinkage": 7,
    # Conjugate gradients hold four tensors more.
    "gaussian, CG": 13,
}


@pytest.mark.skipif(
    not os.access("/proc/self/clear_refs", os.W_OK), reason="a peak cannot be reset on this system"
)
def test_the_peak_grows_by_a_fixed_number_of_videos():
    """From 8 to 20 frames, in float32 with three channels."""
    done = subprocess.run([sys.executable, SCRIPT, "128"], capture_output=True, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr.decode()
    held = json.loads(done.stdout)
    assert held.keys() == AT_MOST.keys()
    assert {name: videos for name, videos in held.items() if not 2 < videos < AT_MOST[name]} == {}
