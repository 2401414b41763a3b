"""The command line: ``visionxl``."""

from visionxl.cli import (  # noqa: F401 (they register their commands)
    app_command,
    demo,
    evaluate,
    info,
    restore,
    simulate,
)
from visionxl.cli.options import main

__all__ = ["main"]
