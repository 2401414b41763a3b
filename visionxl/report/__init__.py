"""The page about a run: one HTML file that needs no network, to look at and to send on."""

from visionxl.report.page import render, write_page
from visionxl.report.record import measures, run_record
from visionxl.report.watching import Album, Look, Spent

__all__ = ["Album", "Look", "Spent", "measures", "render", "run_record", "write_page"]
