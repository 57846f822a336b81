"""What `make soak` writes down: how often each promise was tried, and what failed."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.imports import ROOT
from tests.leftovers import VARIABLE
from tests.soak import RESULT

TESTS = """
import pytest

@pytest.mark.parametrize("wrong", [False, True, False])
def test_it(wrong, tried):
    tried("a promise", 5)
    assert not wrong

def test_another(tried):
    tried("another", 7)

def test_none():
    pytest.skip("not here")
"""


def test_counts_failures_and_skips_are_written(tmp_path: Path) -> None:
    (tmp_path / "test_promises.py").write_text(TESTS)
    environment = {key: value for key, value in os.environ.items() if key != VARIABLE}
    environment |= {"PYTHONPATH": str(ROOT), RESULT: str(tmp_path / "soak.json")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "test_promises.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout
    result = json.loads((tmp_path / "soak.json").read_text())
    assert result["promises"] == {
        "a promise": {"tried": 15, "lost": 1, "tests": ["test_promises.py"]},
        "another": {"tried": 7, "lost": 0, "tests": ["test_promises.py"]},
    }
    assert result["failed"] == ["test_promises.py::test_it[True]"]
    assert result["skipped"] == ["test_promises.py::test_none"]
