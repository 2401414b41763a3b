"""The page about a run: one HTML file that needs no network, to look at and to send on."""

from visionxl.report.page import render, write_page
from visionxl.report.watching import Album, Look

__all__ = ["Album", "Look", "render", "write_page"]
