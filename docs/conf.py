"""Sphinx configuration: ``python -m sphinx -W --keep-going -b html docs docs/_build/html``."""

import inspect
import re
import sys
from pathlib import Path

from sphinx.pycode import ModuleAnalyzer
from sphinx.util.typing import stringify_annotation

import visionxl
from visionxl import operators, protocols, solvers

project = "visionxl"
author = "The visionxl developers"
copyright = "The visionxl developers"
version = release = visionxl.__version__

sys.path.insert(0, str(Path(__file__).parent))  # for the extensions beside this file
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
    "markdown_pages",
    "mathml",
]
exclude_patterns = ["_build", "gallery"]  # of the gallery, what its scripts make is built
nitpicky = True
# Only our own names are pages here; those of torch, typing and the like are not looked up, nor T,
# which stands for any type.
nitpick_ignore_regex = [("py:.*", r"(?!visionxl\.).*|visionxl\.[\w.]+\.T")]

sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "auto_gallery",
    "within_subsection_order": "FileNameSortKey",
    "image_scrapers": ("films.scraper",),
    "capture_repr": (),
    "inspect_global_variables": False,
    "show_signature": False,
    "download_all_examples": False,
    "write_computation_times": False,
}

html_theme = "furo"
html_title = f"visionxl {release}"
html_math_renderer = "mathml"
html_static_path = ["static"]
html_css_files = ["phone.css"]

napoleon_numpy_docstring = False
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "undoc-members": True}
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 120
toc_object_entries_show_parents = "hide"

ALIASES = {
    "visionxl.protocols.Video": protocols.Video,
    "visionxl.protocols.Latent": protocols.Latent,
    "visionxl.protocols.Measurement": protocols.Measurement,
    "visionxl.operators.Boundary": operators.Boundary,
    "visionxl.operators.Task": operators.Task,
    "visionxl.operators.NonlinearTask": operators.NonlinearTask,
    "visionxl.solvers.LowPass": solvers.LowPass,
    "visionxl.solvers.Renoise": solvers.Renoise,
    "visionxl.solvers.Spread": solvers.Spread,
}
SPELLED_OUT = sorted(
    ((stringify_annotation(alias, "smart"), f"~{name}") for name, alias in ALIASES.items()),
    key=lambda pair: -len(pair[0]),  # a long one holds short ones
)
CONTRACTS = (
    protocols.ForwardOperator,
    protocols.LatentPrior,
    protocols.DataConsistency,
    protocols.Initializer,
    protocols.NoiseSchedule,
    operators.Factored,
    operators.Liftable,
)


def with_aliases(text):
    """Types by their names, and ``...`` for a default that is made anew every time."""
    if text is None:
        return None
    for long, short in SPELLED_OUT:
        text = text.replace(long, short)
    return re.sub(r"\bNOTHING\b", "...", text)


def shorter_signature(app, what, name, thing, options, signature, returns):
    inherited = what == "class" and "__init__" not in vars(thing)
    if inherited or getattr(thing, "_is_protocol", False):
        return "", None  # it is made by a class method, or not at all
    return with_aliases(signature), with_aliases(returns)


def words_from_elsewhere(app, what, name, thing, options, lines):
    """A method that keeps a protocol without words of its own is told in the protocol's.

    Data that a package takes from a module have their words there.
    """
    last = name.rpartition(".")[2]
    if what == "data":
        modules = [module for module in list(sys.modules) if module.startswith("visionxl.")]
        found = [ModuleAnalyzer.for_module(m).find_attr_docs().get(("", last)) for m in modules]
        lines[:] = next(words for words in found if words)
    elif what in ("method", "property") and not any(lines):
        contracts = [vars(c)[last] for c in CONTRACTS if last in vars(c)]
        lines[:] = (inspect.getdoc(contracts[0]) or "").splitlines() if contracts else []


def skip_fields(app, what, name, thing, skip, options):
    """The fields of a value stand in its signature already."""
    action = callable(thing) or isinstance(thing, property)
    return True if what == "class" and not action else None


def setup(app):
    app.connect("autodoc-process-signature", shorter_signature)
    app.connect("autodoc-process-docstring", words_from_elsewhere)
    app.connect("autodoc-skip-member", skip_fields)
