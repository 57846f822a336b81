"""Two at once: set-ups build one wheel, and a second `make repro` says who holds the checkout."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.imports import ROOT

# Stands for the Python of a set-up: answers what the script asks, and counts and delays the builds.
FAKE_PYTHON = """#!/usr/bin/env bash
case "$*" in
  *torch.__version__*) echo 9.9 ;;
  *sys.version_info*) echo cp311-test ;;
  *"pip wheel"*)
    echo build >>"$COUNTER"
    while [ ! -f "$GO" ]; do sleep 0.05; done
    while [ "$1" != --wheel-dir ]; do shift; done
    touch "$2/horovod-0.28.1-test.whl" ;;
esac
"""
FAKE_DVC = """#!/usr/bin/env bash
touch started
while [ ! -f go ]; do sleep 0.05; done
"""


def script(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def wait_for(condition: Path, process: subprocess.Popen[str]) -> None:
    while not condition.exists():
        assert process.poll() is None, "it ended too early"
        time.sleep(0.02)


def test_two_set_ups_at_once_build_one_wheel(tmp_path: Path) -> None:
    python = script(tmp_path / "python", FAKE_PYTHON)
    counter, go = tmp_path / "builds", tmp_path / "go"
    environment = os.environ | {"GQBENCH_CACHE": str(tmp_path), "COUNTER": str(counter), "GO": str(go)}
    command = [ROOT / "tools/build_horovod.sh", python, "0.28.1"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    first = subprocess.Popen(command, env=environment, text=True, **pipes)
    wait_for(counter, first)
    second = subprocess.Popen(command, env=environment, text=True, **pipes)
    assert second.stderr is not None
    assert second.stderr.readline().startswith("Another set-up is building Horovod in ")
    go.touch()
    folders = {process.communicate()[0].splitlines()[-1] for process in (first, second)}
    assert (first.returncode, second.returncode) == (0, 0)
    assert len(folders) == 1
    assert counter.read_text() == "build\n"


@pytest.mark.parametrize("number", [None, signal.SIGKILL])
def test_a_second_make_repro_says_who_holds_the_checkout(
    tmp_path: Path, number: signal.Signals | None
) -> None:
    script(tmp_path / "dvc", FAKE_DVC)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = [ROOT / "tools/repro.sh"]
    first = subprocess.Popen(command, cwd=tmp_path, env=environment, text=True, stdout=subprocess.PIPE)
    wait_for(tmp_path / "started", first)
    second = subprocess.run(
        command, cwd=tmp_path, env=environment, text=True, capture_output=True, check=False
    )
    assert second.returncode == 1
    assert second.stderr.startswith(f"error: this checkout is held by make repro, process {first.pid} of ")
    assert second.stderr.count("\n") == 1
    if number is not None:
        first.send_signal(number)
    (tmp_path / "go").touch()
    first.communicate()
    third = subprocess.run(
        command, cwd=tmp_path, env=environment, text=True, capture_output=True, check=False
    )
    assert third.returncode == 0, third.stderr
