"""The command line: ``visionxl``."""

from visionxl.cli.commands import main

__all__ = ["main"]
