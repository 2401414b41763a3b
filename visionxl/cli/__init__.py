"""The command line: ``visionxl``."""

from visionxl.cli import commands, demo, restoring  # noqa: F401 (they register their commands)
from visionxl.cli.app import main

__all__ = ["main"]
