"""Every public name has a whole type, for those who check their own programs against it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import visionxl

# Their types are deepinv's own classes, and deepinv ships no py.typed.
OF_DEEPINV = {
    "visionxl.interop.deepinv.prior_to_deepinv",
    "visionxl.interop.deepinv.problem_to_deepinv",
    "visionxl.interop.deepinv.to_deepinv",
    "visionxl.interop.deepinv_operators.OperatorPhysics",
    "visionxl.interop.deepinv_operators.to_deepinv",
    "visionxl.interop.deepinv_priors.PriorDenoiser",
    "visionxl.interop.deepinv_priors.prior_to_deepinv",
}


def test_every_public_type_is_known(tmp_path):
    pytest.importorskip("pyright", reason="pyright is not installed: pip install 'visionxl[dev]'")
    found = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    sources = str(Path(visionxl.__file__).parents[1])
    options = ["--verifytypes", "visionxl", "--ignoreexternal", "--outputjson"]
    told = subprocess.run(
        [sys.executable, "-m", "pyright", *options],
        cwd=tmp_path,  # away from the configuration of the repository, as a user is
        env={**os.environ, "PATH": found, "PYTHONPATH": sources},
        capture_output=True,
        text=True,
    )
    completeness = json.loads(told.stdout)["typeCompleteness"]
    assert Path(completeness["packageRootDirectory"]) == Path(sources, "visionxl")
    symbols = completeness["symbols"]
    assert len(symbols) > 1000
    lacking = {s["name"] for s in symbols if not s["isTypeKnown"] or s["isTypeAmbiguous"]}
    assert lacking == OF_DEEPINV
