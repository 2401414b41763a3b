"""The command line: ``visionxl``."""

from visionxl.cli import (  # noqa: F401 (they register their commands)
    app_command,
    commands,
    demo,
    restoring,
)
from visionxl.cli.app import main

__all__ = ["main"]
