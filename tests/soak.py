"""How often a test tries: some times in `make test`, often in `make soak`, which writes down what was tried."""

import json
import os
import platform
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipelines.provenance import commit

SOAK = bool(os.environ.get("GQBENCH_SOAK"))
RESULT = "GQBENCH_SOAK_RESULT"
"""Environment variable: the file that `Recorder` writes."""
_PROPERTY = "tried: "
Tried = Callable[[str, int], None]


def times(quick: int, long: int) -> int:
    """Return `quick`, or `long` in a soak."""
    return long if SOAK else quick


@pytest.fixture
def tried(record_property: Callable[[str, Any], None]) -> Tried:
    """Say how often a promise of docs/reliability.md is tried: `tried("kills of a training", 60)`, before trying.

    The words are those that tests/promises.py explains. Where the test fails, the promise counts as lost once.
    """
    return lambda promise, number: record_property(_PROPERTY + promise, number)


class Recorder:
    """Counts, per promise, what the tests tried and how many tests failed; writes it to `path` at the end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._start = time.monotonic()
        self._promises: dict[str, dict[str, Any]] = defaultdict(lambda: {"tried": 0, "lost": 0, "tests": []})
        self._failed: list[str] = []
        self._skipped: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a test that has run; one that failed counts for each promise that it had named by then."""
        if report.skipped:
            self._skipped.append(report.nodeid)
        if report.failed:
            self._failed.append(report.nodeid)
        if report.when != "call":
            return
        for name, number in report.user_properties:
            if name.startswith(_PROPERTY):
                promise = self._promises[name.removeprefix(_PROPERTY)]
                promise["tried"] += number
                promise["lost"] += report.failed
                file = report.nodeid.partition("::")[0]
                promise["tests"] = sorted({*promise["tests"], file})

    def pytest_sessionfinish(self) -> None:
        """Write the file."""
        result = {
            "commit": commit(),
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, "
            f"{psutil.virtual_memory().total / 2**30:.0f} GiB, Linux {platform.release().partition('-')[0]}",
            "long": SOAK,
            "minutes": round((time.monotonic() - self._start) / 60, 1),
            "failed": sorted(self._failed),
            "skipped": sorted(self._skipped),
            "promises": dict(sorted(self._promises.items())),
        }
        self._path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
