"""Formulas as MathML, which browsers set by themselves: no script, and no network."""

from xml.etree import ElementTree

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

ACCENTS = {"\u02c6", "\u02c9", "\u02dc"}  # hat, bar, tilde


def mathml(formula: str, as_block: bool = False) -> str:
    """A formula. The subscript of an accented letter is put beside it; docutils puts it below."""
    text = tex2mathml(formula, as_block=as_block).replace("&ApplyFunction;", "\u2061")
    ElementTree.register_namespace("", "http://www.w3.org/1998/Math/MathML")
    root = ElementTree.fromstring(text)
    for element in root.iter():
        children = list(element)
        if element.tag.endswith("munderover") and children[2].text in ACCENTS:
            letter, below, accent = children
            space = element.tag.removesuffix("munderover")
            accented = ElementTree.Element(f"{space}mover", accent="true")
            accented.extend([letter, accent])
            element.tag = f"{space}msub"
            element[:] = [accented, below]
    return ElementTree.tostring(root, encoding="unicode")


def inline(translator, node):
    translator.body.append(mathml(node.astext()))
    raise nodes.SkipNode


def block(translator, node):
    translator.body.append(f'<div class="math">{mathml(node.astext(), as_block=True)}</div>')
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True}
