"""Our operators against deepinv's same ones: time, memory, and how exact the adjoint is.

    python benchmarks/operators.py --json operators.json

Each task's operator is applied forward, its adjoint is applied, and ten conjugate gradient steps
are made on the normal equations, by either library's own code, on the same random video. A row has
the seconds of processor time, which other work on the machine disturbs little (the best of three;
ten steps are timed once), how many times as long deepinv takes (``ratio``, above 1 where ours is
faster), the most bytes of tensors that live at once beside the input, and the error of the dot
test in float32. It needs deepinv (``docs/deepinv.rst``).
"""

import argparse
import gc
import json
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from peers.deepinv import FACTOR, Peer, peers
from torch import Tensor
from words import Parser, one_of, whole_number

from visionxl import InputError
from visionxl.files import check_output, whole
from visionxl.memory import peak_bytes_of
from visionxl.operators import TASKS, Mask, check_adjoint, normal
from visionxl.protocols import ForwardOperator
from visionxl.solvers import conjugate_gradient

ORDER = ("deblur", "sr4", "inpaint", "temporal", "deblur+", "sr4+", "inpaint+")
STEPS = 10
SAME = 1e-4  # how far two answers may lie apart, relative, and still be those of one operator


def main(words: list[str] | None = None) -> None:
    options = parser().parse_args(words)
    told = sys.argv[1:] if words is None else words
    torch.set_num_threads(options.threads)
    try:
        if options.json is not None:
            check_output(options.json, overwrite=True)
        measured = measure(options, " ".join(["python benchmarks/operators.py", shlex.join(told)]))
        print(HEADER)
        rows = []
        for row in measured:
            print(line(row), flush=True)
            rows.append(row)
            if options.json is not None:
                with whole(options.json) as partial:
                    partial.write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n")
    except InputError as error:
        sys.exit(f"operators.py: {error}")


def parser() -> Parser:
    made = Parser(
        prog="operators.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    count, size = whole_number(1), whole_number(FACTOR)
    made.add_argument("--frames", type=count, default=25)
    made.add_argument("--height", type=size, default=768)
    made.add_argument("--width", type=size, default=1280)
    made.add_argument("--threads", type=count, default=1, help="of PyTorch; default 1")
    made.add_argument(
        "--task", action="append", type=one_of(ORDER), help="repeat for several; default all"
    )
    made.add_argument("--json", type=Path, metavar="FILE", help="keep the rows in FILE.json")
    return made


def measure(options: argparse.Namespace, command: str) -> Iterator[dict[str, Any]]:
    """The rows, one action after another."""
    frames, height, width = options.frames, options.height, options.width
    generator = torch.Generator().manual_seed(0)
    video = torch.rand(frames, 3, height, width, generator=generator) * 2 - 1
    mask = Mask.random(0.5, height, width, generator.manual_seed(1))
    theirs = peers(height, width, mask.mask)
    setting = {
        "frames": frames,
        "height": height,
        "width": width,
        "threads": options.threads,
        "torch": torch.__version__,
        "deepinv": version("deepinv"),
        "command": command,
    }
    for name in options.task or ORDER:
        operator = TASKS[name](frames, height, width, generator.manual_seed(1))
        for row in compare(operator, theirs[name](), video):
            yield {"operator": name, **row, **setting}


@torch.no_grad()
def compare(operator: ForwardOperator, peer: Peer, video: Tensor) -> Iterator[dict[str, Any]]:
    """Ours and theirs in turn, for each action."""
    given = peer.given(video)
    measured, expected = operator.forward(video), peer.physics.A(given)
    check_same(measured, peer.ours(expected))
    errors = {
        f"{who}_dot_error": check_adjoint(tested, video.shape, dtype=torch.float32, trials=1)
        for who, tested in (("ours", operator), ("peer", peer.operator()))
    }

    actions: dict[str, tuple[Callable[[int], Tensor], Callable[[int], Tensor]]] = {
        "forward": (lambda _: operator.forward(video), lambda _: peer.physics.A(given)),
        "adjoint": (
            lambda _: operator.adjoint(measured),
            lambda _: peer.physics.A_adjoint(expected),
        ),
        "ten CG steps": (
            lambda steps: ours_solve(operator, measured, steps),
            lambda steps: peer.solve(expected, steps),
        ),
    }
    for action, (ours, theirs) in actions.items():
        runs = 1 if action == "ten CG steps" else 3
        ours_seconds, peer_seconds = seconds(ours, runs), seconds(theirs, runs)
        yield {
            "action": action,
            "ours_seconds": round(ours_seconds, 6),
            "peer_seconds": round(peer_seconds, 6),
            "ratio": round(peer_seconds / ours_seconds, 2),
            "ours_bytes": bytes_of(ours),
            "peer_bytes": bytes_of(theirs),
            **errors,
        }


def ours_solve(operator: ForwardOperator, measured: Tensor, steps: int) -> Tensor:
    """Conjugate gradients on the normal equations, this library's own."""
    return conjugate_gradient(
        lambda x: normal(operator, x), operator.adjoint(measured), None, iterations=steps
    ).solution


def check_same(ours: Tensor, theirs: Tensor) -> None:
    apart = ((ours - theirs).norm() / ours.norm()).item() if ours.shape == theirs.shape else 1.0
    if apart > SAME:
        raise InputError(f"the operators differ by {apart:.1e}: this deepinv is not the one known")


def seconds(action: Callable[[int], Tensor], runs: int) -> float:
    """The least processor time of several runs."""
    taken = []
    for _ in range(runs):
        gc.collect()
        began = time.process_time()
        action(STEPS)
        taken.append(time.process_time() - began)
    return min(taken)


def bytes_of(action: Callable[[int], Tensor]) -> int:
    """The most bytes at once. Of conjugate gradients the second step takes as many as any later."""
    gc.collect()
    return peak_bytes_of(lambda: action(2))


HEADER = (
    f"{'operator':9} {'action':13} {'ours s':>9} {'deepinv s':>9} {'ratio':>6} "
    f"{'ours MB':>8} {'deepinv MB':>10} {'ours dot':>9} {'deepinv dot':>11}"
)


def line(row: dict[str, Any]) -> str:
    """A row to read."""
    return (
        f"{row['operator']:9} {row['action']:13} {row['ours_seconds']:9.3f} "
        f"{row['peer_seconds']:9.3f} {row['ratio']:6.1f} {row['ours_bytes'] / 1e6:8.1f} "
        f"{row['peer_bytes'] / 1e6:10.1f} {row['ours_dot_error']:9.0e} "
        f"{row['peer_dot_error']:11.0e}"
    )


if __name__ == "__main__":
    main()
