"""A suite that is stopped, killed included, leaves no process behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.imports import ROOT
from tests.leftovers import VARIABLE

SLEEPS = """
import pathlib, subprocess, sys, time

def test_it():
    inner = "import os, time; print(os.getpid(), flush=True); time.sleep(100000)"
    outer = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]], start_new_session=True)"
    process = subprocess.Popen(
        [sys.executable, "-c", outer, inner], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    pathlib.Path("started.new").write_text(process.stdout.readline())
    pathlib.Path("started.new").rename("started")
    time.sleep(100000)
"""


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return b"sleep(100000)" in Path(f"/proc/{pid}/cmdline").read_bytes()


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_what_tests_have_started_ends_with_the_suite(ending: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "test_sleeps.py").write_text(SLEEPS)
    environment = {key: value for key, value in os.environ.items() if key != VARIABLE}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "test_sleeps.py"]
    suite = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        # Where this suite runs in the background of a script it ignores Ctrl-C, and a child would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while not (tmp_path / "started").exists():
        assert suite.poll() is None, "the suite ended too early"
        time.sleep(0.02)
    left = int((tmp_path / "started").read_text())
    assert exists(left)
    suite.send_signal(ending)
    assert suite.wait() != 0
    while exists(left):  # pytest's time limit ends this
        time.sleep(0.02)
