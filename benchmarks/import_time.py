"""How long ``import visionxl`` takes, as a ratio to ``import torch`` alone.

python benchmarks/import_time.py
"""

import statistics
import subprocess
import sys
import time


def seconds(module: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True)
    return time.perf_counter() - began


def main() -> None:
    seconds("visionxl")  # fills the file cache and writes the byte code
    pairs = [(seconds("torch"), seconds("visionxl")) for _ in range(7)]
    ratio = statistics.median(ours / torch for torch, ours in pairs)
    torch_median, ours_median = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(
        f"import torch {torch_median:.2f} s, import visionxl {ours_median:.2f} s, ratio {ratio:.2f}"
    )


if __name__ == "__main__":
    main()
