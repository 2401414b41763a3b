"""Animations of the gallery become pictures that loop in the page, and need neither network nor
ffmpeg. Every other figure is left to sphinx-gallery."""

from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.animation import Animation
from sphinx_gallery.scrapers import figure_rst, matplotlib_scraper


def scraper(block, block_vars, gallery_conf):
    """The pictures of a block, in reStructuredText."""
    written = ""
    for animation in block_vars["example_globals"].values():
        if isinstance(animation, Animation) and plt.fignum_exists(animation._fig.number):
            path = Path(next(block_vars["image_path_iterator"])).with_suffix(".webp")
            animation.save(path, writer="pillow")
            plt.close(animation._fig)
            written += figure_rst([path], gallery_conf["src_dir"])
    return written + matplotlib_scraper(block, block_vars, gallery_conf)
