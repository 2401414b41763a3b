"""The report of a run: one self-contained HTML file, to view or to send."""

from visionxl.report.page import render, write_page
from visionxl.report.record import measures, measures_in_pieces, run_record
from visionxl.report.watching import Album, Look, Spent

__all__ = [
    "Album",
    "Look",
    "Spent",
    "measures",
    "measures_in_pieces",
    "render",
    "run_record",
    "write_page",
]
