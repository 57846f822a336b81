"""docs/reliability.md: its counts are those of the committed soak, and every count is of a promise."""

import json
import re
from typing import Any

import pytest

from tests.imports import ROOT
from tools.reliability import COMMITTED, PAGE, PROMISES, render, table

RESULT: dict[str, Any] = {
    "commit": "0123",
    "date": "2026-01-01",
    "machine": "one",
    "long": True,
    "minutes": 1.0,
    "failed": ["tests/x.py::test_y"],
    "skipped": [],
    "promises": {"kills of a training": {"tried": 1000, "lost": 1, "tests": ["tests/x.py"]}},
}


def test_the_page_shows_the_committed_soak() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert render(page, json.loads(COMMITTED.read_text())) == page, (
        "write it anew: python -m tools.reliability"
    )


def test_what_was_lost_and_what_failed_is_shown() -> None:
    shown = table(RESULT)
    assert "| `x.py`: random moments | 1,000 | 1 |" in shown
    assert "tests that failed: tests/x.py::test_y" in shown


def test_a_promise_that_nobody_explains_is_an_error() -> None:
    with pytest.raises(KeyError):
        table(RESULT | {"promises": {"unknown": {"tried": 1, "lost": 0, "tests": []}}})


def test_every_promise_is_tried_by_a_test() -> None:
    named = {
        match.strip("\"'")
        for file in (ROOT / "tests").rglob("test_*.py")
        if file.name != "test_soak.py"  # whose promises are made up
        for match in re.findall(r"""tried\(("[^"]+"|'[^']+')""", file.read_text(encoding="utf-8"))
    }
    assert named == set(PROMISES)
