"""Kill a restoration at random moments, go on with it, and compare the bytes it ends with.

    python benchmarks/kill.py --times 50

Each time a run is begun, killed by SIGKILL at a random moment of its life, and gone on with by the
same command and ``--resume``, which may be killed as well, until it ends. The table tells what was
finished at those moments; the exit code is 0 if every run ended with the same video and the same
files as one without interruption.
"""

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from attrs import asdict, frozen
from words import count, frame_size

from visionxl.files import whole
from visionxl.video import DEMO_CLIP

COMMAND = (sys.executable, "-m", "visionxl")
OUTPUT = "x.mkv"
CHECKPOINTS = Path(f"{OUTPUT}.checkpoint")


@frozen
class Trial:
    """One run, from its beginning to its end.

    Args:
        moments: seconds after which it was killed, once per begin.
        found: what was finished when it was killed, as often.
        same_bytes: whether the video is the same.
        same_files: whether the folder holds the same files, and no others.
    """

    moments: tuple[float, ...]
    found: tuple[str, ...]
    same_bytes: bool
    same_files: bool


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def run(folder: Path, *words: str) -> None:
    subprocess.run(
        [*COMMAND, *words], cwd=folder, check=True, capture_output=True, env=environment()
    )


def killed_after(folder: Path, seconds: float, *words: str) -> bool:
    """Whether the run had to be killed, or had ended before."""
    process = subprocess.Popen(
        [*COMMAND, *words],
        cwd=folder,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        told = process.communicate(timeout=seconds)[1]
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return True
    if process.returncode:
        command = f"visionxl {' '.join(words)}"
        raise RuntimeError(f"{command} ended with {process.returncode}: {told}")
    return False


def finished(folder: Path) -> str:
    """What a run has finished, in words."""
    if (folder / OUTPUT).exists():
        return "video"
    steps = sorted((folder / CHECKPOINTS).glob("step-*.json"))
    if steps:
        return f"step {int(steps[-1].stem.split('-')[1])}"
    return "nothing"


def contents(folder: Path) -> tuple[str, set[str]]:
    digest = hashlib.sha256((folder / OUTPUT).read_bytes()).hexdigest()
    return digest, {str(p.relative_to(folder)) for p in folder.rglob("*")}


def trial(make: Path, place: Path, longest: float, chance: random.Random) -> Trial:
    """Begin, kill, and go on until the run ends by itself; killed at most three times."""
    place.mkdir()
    (place / "y.safetensors").write_bytes((make / "y.safetensors").read_bytes())
    moments, found = [], []
    words = ["restore", "y.safetensors", "--output", OUTPUT, "--resume"]
    for _ in range(3):
        seconds = chance.uniform(0.3, 1.1) * longest
        if not killed_after(place, seconds, *words):
            break
        moments.append(round(seconds, 2))
        found.append(finished(place))
    run(place, *words)
    digest, files = contents(place)
    expected, expected_files = contents(make)
    return Trial(tuple(moments), tuple(found), digest == expected, files == expected_files)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--times", type=count, default=50, help="runs; default 50")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--frames", type=count, default=9)
    parser.add_argument(
        "--size", type=frame_size(8), default=(96, 160), help="HEIGHTxWIDTH; default 96x160"
    )
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    chance = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary)
        make = base / "whole"
        make.mkdir()
        words = ["simulate", str(DEMO_CLIP), "--task", "deblur+", "--noise", "0.01"]
        words += ["--frames", str(given.frames), "--size", "x".join(map(str, given.size))]
        run(make, *words, "--output", "y.safetensors")
        began = time.perf_counter()
        run(make, "restore", "y.safetensors", "--output", OUTPUT)
        longest = time.perf_counter() - began
        print(f"without interruption: {longest:.1f} s")
        trials = []
        for number in range(given.times):
            trials.append(trial(make, base / f"trial-{number}", longest, chance))
            last = trials[-1]
            killed = ", ".join(
                f"{s} s ({f})" for s, f in zip(last.moments, last.found, strict=True)
            )
            verdict = "same bytes" if last.same_bytes and last.same_files else "DIFFERENT"
            print(f"{number + 1:3}  killed after {killed or 'its end'}: {verdict}", flush=True)
            if given.json is not None:
                told = {"seconds": longest, "trials": [asdict(t) for t in trials]}
                with whole(given.json) as partial:
                    partial.write_text(json.dumps(told, indent=1) + "\n")
    kills = Counter(found for t in trials for found in t.found)
    print("\n| finished when it was killed | times |\n|---|---|")
    for name in sorted(kills):
        print(f"| {name} | {kills[name]} |")
    good = sum(t.same_bytes and t.same_files for t in trials)
    print(f"\n{good} of {len(trials)} runs ended with the same bytes and the same files")
    sys.exit(good != len(trials))


if __name__ == "__main__":
    main()
