"""Words of the benchmarks' commands, each told in one sentence where it cannot be used."""

import argparse
import math
import re
from collections.abc import Callable, Sequence
from typing import NoReturn

from visionxl.errors import nearest


class Parser(argparse.ArgumentParser):
    """Tells an error in one sentence."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def one_of(known: Sequence[str]) -> Callable[[str], str]:
    def parse(word: str) -> str:
        if word not in known:
            raise argparse.ArgumentTypeError(f"{word!r} is unknown: {nearest(word, known)}")
        return word

    return parse


def noise(word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(
            f"{word!r} is not a standard deviation: give a finite number from 0, in units of the "
            "range [-1, 1]"
        )
    return value


def whole_number(multiple: int) -> Callable[[str], int]:
    def parse(word: str) -> int:
        value = int(word) if word.isdecimal() else 0
        if value < 1 or value % multiple:
            kind = f"multiple of {multiple}" if multiple > 1 else "whole number"
            near = max(multiple, value // multiple * multiple)
            raise argparse.ArgumentTypeError(
                f"{word!r} is not a {kind} from {multiple}: give one, such as {near}"
            )
        return value

    return parse


count = whole_number(1)


def frame_size(multiple: int) -> Callable[[str], tuple[int, int]]:
    """HEIGHTxWIDTH, each a multiple."""

    def parse(word: str) -> tuple[int, int]:
        found = re.fullmatch(r"(\d+)x(\d+)", word)
        if found is None:
            raise argparse.ArgumentTypeError(
                f"{word!r} is no size: give height and width in pixels, such as "
                f"{24 * multiple}x{40 * multiple}"
            )
        height, width = map(whole_number(multiple), found.groups())
        return height, width

    return parse
