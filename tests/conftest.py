"""For all tests: one thread a process, and nothing that they have started outlives them."""

import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from tests.imports import ROOT
from tests.leftovers import VARIABLE
from tests.soak import RESULT, SOAK, Recorder, tried

__all__ = ["tried"]

# Whole pipelines again and again: for `make soak` alone.
collect_ignore = [] if SOAK else ["pipeline/test_kills.py"]

# Two test processes share two cores (`make test`), and launches put two ranks on them. Torch reads it when it is
# imported, which is later.
os.environ.setdefault("OMP_NUM_THREADS", "1")

_WATCH = pytest.StashKey[subprocess.Popen[bytes]]()


def pytest_configure(config: pytest.Config) -> None:
    """Start the process that ends the leftovers; the workers of one suite have one."""
    if VARIABLE in os.environ:
        return
    mark = secrets.token_hex(16)
    command = [sys.executable, "-m", "tests.leftovers", mark]
    # A session of its own: Ctrl-C in the terminal is for the suite.
    config.stash[_WATCH] = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, start_new_session=True)
    os.environ[VARIABLE] = mark
    if RESULT in os.environ:
        config.pluginmanager.register(Recorder(Path(os.environ[RESULT]).absolute()))


# Folders of files that take minutes: they come first, or the last of them would leave a core idle at the end.
_LONG = tuple(ROOT / "tests" / name for name in ("pipeline", "cluster", "parallel"))


@pytest.hookimpl(trylast=True)  # after pytest-randomly: the order within both parts stays random
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the long files, and leave out what waits for minutes (marker `soak`), but in a soak."""
    items.sort(key=lambda item: not any(item.path.is_relative_to(folder) for folder in _LONG))
    if SOAK:
        return
    long = [item for item in items if item.get_closest_marker("soak")]
    items[:] = [item for item in items if item not in long]
    config.hook.pytest_deselected(items=long)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Let it end what is left."""
    watch = config.stash.get(_WATCH, None)
    if watch is not None:
        os.environ.pop(VARIABLE)
        assert watch.stdin is not None
        watch.stdin.close()
