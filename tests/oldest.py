"""Print the oldest versions that pyproject.toml allows, as pins: ``python tests/oldest.py``."""

import tomllib
from pathlib import Path

PROJECT = Path(__file__).parents[1] / "pyproject.toml"
EXTRAS = ("lora",)


def oldest() -> list[str]:
    """``name==version`` of every package that the library needs."""
    project = tomllib.loads(PROJECT.read_text())["project"]
    asked = project["dependencies"] + [
        line for extra in EXTRAS for line in project["optional-dependencies"][extra]
    ]
    return [f"{name}=={bound}" for name, bound in (line.split(">=") for line in asked)]


if __name__ == "__main__":
    print(*oldest(), sep="\n")
