"""What is told to those who carry on: no page names a file or a version that is not there."""

import re
from pathlib import Path

import pytest
import yaml

import visionxl

REPOSITORY = Path(__file__).parent.parent
TEMPLATES = sorted((REPOSITORY / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
PATH = re.compile(r"`((?:visionxl|tests|docs|benchmarks)/[\w./-]+\.\w+)`")
TARGET = re.compile(r"^([\w-]+):", re.MULTILINE)


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "ARCHITECTURE.md", "CHANGELOG.md"])
def test_every_file_that_a_page_names_is_there(page):
    text = (REPOSITORY / page).read_text()
    named = {name for name in PATH.findall(text) if "yours" not in name}
    assert named or page == "CHANGELOG.md"
    assert not {name for name in named if not (REPOSITORY / name).exists()}
    linked = re.findall(r"\]\((?!https?:)([^)]+)\)", text)
    assert not {name for name in linked if not (REPOSITORY / name).exists()}


def test_every_command_of_make_that_a_page_names_is_there():
    targets = TARGET.findall((REPOSITORY / "Makefile").read_text())
    text = (REPOSITORY / "CONTRIBUTING.md").read_text()
    named = set(re.findall(r"^make (\w+)|`make (\w+)`", text, re.MULTILINE))
    assert len(named) > 3
    assert {name for pair in named for name in pair if name} <= set(targets)


def test_no_kind_of_part_takes_more_than_three_files():
    text = (REPOSITORY / "CONTRIBUTING.md").read_text()
    tables = re.findall(r"\| file \| what \|\n\|---\|---\|\n((?:\|.*\n)+)", text)
    assert len(tables) == 5  # an operator, a named task, a prior, a method, a public name
    assert max(table.count("\n") for table in tables) <= 3


def test_the_citation_and_the_changelog_are_of_this_version():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == visionxl.__version__
    assert citation["authors"] == [{"name": "The visionxl developers"}]
    (paper,) = citation["references"]
    assert paper["identifiers"][0]["value"].endswith("arXiv.2412.00156")
    first = re.search(r"^## (.*)$", (REPOSITORY / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert first
    assert visionxl.__version__ in first[1]


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_a_template_asks_for_something_in_a_form_that_can_be_read(path):
    form = yaml.safe_load(path.read_text())
    if path.stem == "config":
        assert set(form) == {"blank_issues_enabled"}
        return
    assert form["name"]
    assert form["description"]
    fields = [field for field in form["body"] if field["type"] in ("textarea", "input")]
    assert len({field["id"] for field in fields}) == len(form["body"])
    assert any(field.get("validations", {}).get("required") for field in fields)
    assert all(field["attributes"]["label"] for field in fields)


def test_a_report_of_a_bug_asks_for_visionxl_info():
    assert "`visionxl info`" in (REPOSITORY / ".github" / "ISSUE_TEMPLATE" / "bug.yml").read_text()
