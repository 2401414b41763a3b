"""What programs rely on changes on purpose only."""

import difflib

from public_api import LIST, public_api


def test_the_public_names_and_their_parameters_are_those_of_the_list():
    listed, found = LIST.read_text(), public_api()
    changes = difflib.unified_diff(listed.splitlines(), found.splitlines(), "listed", "found", n=0)
    assert listed == found, "\n".join(
        ["if this is meant, run python tests/public_api.py and tell it in CHANGELOG.md:", *changes]
    )
