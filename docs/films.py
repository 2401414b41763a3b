"""Animations of the gallery become pictures that loop in the page, and need neither network nor
ffmpeg. Every other figure is left to sphinx-gallery."""

import logging
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.animation import Animation
from sphinx_gallery.scrapers import figure_rst, matplotlib_scraper

logging.getLogger("matplotlib.animation").setLevel(logging.WARNING)  # else it tells of every film


def scraper(block, block_vars, gallery_conf):
    """The pictures of a block, in reStructuredText."""
    written = ""
    figures = [plt.figure(number) for number in plt.get_fignums()]
    for animation in block_vars["example_globals"].values():
        if isinstance(animation, Animation) and animation._fig in figures:
            path = Path(next(block_vars["image_path_iterator"])).with_suffix(".webp")
            animation.save(path, writer="pillow")
            plt.close(animation._fig)
            written += figure_rst([path], gallery_conf["src_dir"])
    return written + matplotlib_scraper(block, block_vars, gallery_conf)
