"""Running the benchmark's command in the test's process."""

import json
from pathlib import Path

import quality
from command_line import Answer
from peers.case import Estimate
from peers.classical import back_projection

TOY = "--height 32 --width 48 --frames 3"


def chancy(case, prior):
    """A stand-in for a method with a network: it has chance, and takes no time."""
    return Estimate(back_projection(case, prior).video * (1 - case.seed / 100), evaluations=8)


def bench(capsys, words: str) -> Answer:
    """Run ``python benchmarks/quality.py WORDS``."""
    capsys.readouterr()
    code = 0
    try:
        quality.main(words.split())
    except SystemExit as stop:
        code = int(stop.code or 0)
    captured = capsys.readouterr()
    return Answer(code, captured.out, captured.err)


def records(path="out.json"):
    """The entries of a file that has to be JSON in the strict sense."""

    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    return json.loads(Path(path).read_text(), parse_constant=refuse)
