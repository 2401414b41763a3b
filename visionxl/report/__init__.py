"""The page about a run: one HTML file that needs no network, to look at and to send on."""

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
