"""The benchmark that checks the papers' claims, and those of them that are mathematics."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import claim_cases
import claims
import posterior
import pytest
from attrs import evolve
from dense import generator

from visionxl import simulate
from visionxl.solvers import METHODS, NullSpace, peers

SCRIPT = Path(claims.__file__)
KEPT = json.loads((SCRIPT.parent / "results" / "claims.json").read_text())
PAGE = SCRIPT.parent.parent / "docs" / "methods.rst"


def test_every_method_has_a_claim_and_its_rows_are_kept():
    assert {claim.method for claim in claims.CLAIMS} == set(METHODS)
    assert {(row["method"], row["claim"]) for row in KEPT} == {
        (claim.method, claim.claim) for claim in claims.CLAIMS
    }
    for row in KEPT:
        assert row["holds"] == (row["figure"] <= row["limit"])


def test_the_page_tells_of_every_claim_in_how_many_cases_it_holds():
    page = PAGE.read_text()
    total, held = Counter(), Counter()
    for row in KEPT:
        total[row["claim"]] += 1
        held[row["claim"]] += row["holds"]
    for claim in claims.CLAIMS:
        after = page.partition(f"- {claim.claim}\n")[2]
        expected = f"{held[claim.claim]} of {total[claim.claim]}"
        assert expected in after.partition("   * -")[0], claim.claim


@pytest.mark.parametrize("cases", ["one_frame_at_a_time", "still_frames", "krylov"])
def test_what_is_mathematics_holds_to_rounding(cases):
    found = list(getattr(claim_cases, cases)())
    assert {case.limit for case in found} == {claim_cases.ROUNDING}
    assert all(case.figure <= case.limit for case in found), found


def test_ddnm_explains_a_measurement_without_noise_whatever_the_prior_says():
    found = {case.name: case for case in claim_cases.whatever_the_prior()}
    for name, case in found.items():
        if not name.startswith("deblur+"):  # some of its singular values count as not measured
            assert case.figure <= case.limit, name
    every_mode = NullSpace(negligible=1e-8)
    method = evolve(peers.ddnm(), consistency=every_mode)
    for prior in posterior.priors().values():
        truth = claim_cases.NATURAL.sample(posterior.FRAMES, 1, generator(1))
        problem = simulate(truth, claim_cases.OPERATORS["deblur+"], generator=generator(2))
        again = problem.operator.forward(claim_cases.answer(method, problem, prior))
        assert claim_cases.error(again, problem.measurement) <= claim_cases.ROUNDING


def test_daps_has_the_posteriors_marginals_where_its_gaussian_is_true():
    for case in claim_cases.exact_marginals():
        assert case.figure <= case.limit, case


def test_frames_that_do_not_share_noise_differ():
    """What the claim of svi is measured by can fail."""
    problem = claim_cases.measured(claim_cases.turning(0.0), "sr2+", 0.0)
    video = claim_cases.answer(peers.dds(), problem, claim_cases.NATURAL)
    assert video.diff(dim=0).abs().max().item() > claim_cases.ROUNDING


def test_the_command_prints_a_line_for_every_claim_and_keeps_every_case(tmp_path):
    command = [sys.executable, str(SCRIPT), "--method", "vision_xl"]
    done = subprocess.run(
        [*command, "--json", "out.json"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    asked = [claim for claim in claims.CLAIMS if claim.method == "vision_xl"]
    header, _, *lines = done.stdout.splitlines()
    assert header.startswith("| method | claim | where |")
    assert [line.split(" | ")[1] for line in lines] == [claim.claim for claim in asked]
    rows = json.loads((tmp_path / "out.json").read_text())
    kept = [row for row in KEPT if row["method"] == "vision_xl"]
    assert [told(row) for row in rows] == [told(row) for row in kept]


def told(row):
    return {name: row[name] for name in row if name not in ("figure", "limit")}
