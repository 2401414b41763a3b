"""The directive ``markdown``: a page of the repository that is written in Markdown.

Only what those pages use: headings, lists, tables, blocks and words of code, bold words, links. A
link to another of the pages leads to it here; one to any other file is its name.
"""

import re
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from sphinx.util.nodes import nested_parse_with_titles

PAGES = {
    f"{name.upper()}.md": name
    for name in ("architecture", "benchmarks", "changelog", "contributing")
}
UNDERLINES = {1: "=", 2: "-", 3: "~"}
INLINE = re.compile(r"`([^`]+)`|\[([^\]]+)\]\(([^)]+)\)")


def inline(text: str) -> str:
    """A line's words, links and code."""

    def one(found: re.Match[str]) -> str:
        code, label, target = found.groups()
        if code is not None:
            return f"``{code}``"
        if target in PAGES:
            return f":doc:`{PAGES[target]}`"
        if page := re.fullmatch(r"docs/(\w+)\.rst", target):
            return f":doc:`{page[1]}`"
        return f"`{label} <{target}>`__" if "://" in target else f"``{label.strip('`')}``"

    return INLINE.sub(one, text)


def table(rows: list[str]) -> list[str]:
    """A table with a head; a cell may be empty."""
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in rows[:1] + rows[2:]:
        for index, cell in enumerate(row.strip()[1:-1].split("|")):
            lines.append(f"   {'* -' if index == 0 else '  -'} {inline(cell.strip())}".rstrip())
    return [*lines, ""]


def restructured(text: str) -> list[str]:
    """The lines of a Markdown page as those of reStructuredText."""
    lines, given = [], iter([*text.splitlines(), ""])
    for line in given:
        if heading := re.match(r"(#+) (.*)", line):
            title = inline(heading[2])
            lines += [title, UNDERLINES[len(heading[1])] * len(title), ""]
        elif fence := re.match(r"```(\w*)", line):
            lines += [f".. code-block:: {fence[1] or 'text'}", ""]
            lines += [f"   {code}" for code in iter(lambda: next(given), "```")]
            lines.append("")
        elif line.startswith("|"):
            lines += table([line, *iter(lambda: next(given), "")])
        else:
            lines.append(inline(line))
    return lines


class Markdown(Directive):
    """``.. markdown:: FILE``, from the folder of the page."""

    required_arguments = 1

    def run(self):
        environment = self.state.document.settings.env
        path = Path(environment.doc2path(environment.docname)).parent / self.arguments[0]
        environment.note_dependency(str(path.resolve()))
        page = nodes.section()
        lines = StringList(restructured(path.read_text(encoding="utf-8")), str(path))
        nested_parse_with_titles(self.state, lines, page)
        return page.children


def setup(app):
    app.add_directive("markdown", Markdown)
    return {"parallel_read_safe": True}
