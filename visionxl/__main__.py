"""``python -m visionxl``."""

from visionxl.cli import main

main()
