"""tools/keep_going.sh with a real DVC: one stage may fail, Ctrl-C ends them all."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.imports import ROOT

SCRIPT = ROOT / "tools" / "keep_going.sh"
WAIT_SECONDS = 60
WAITS = (
    "import pathlib, time\n"
    "pathlib.Path('started').touch()\n"
    "try:\n"
    "    time.sleep(600)\n"
    "except KeyboardInterrupt:\n"
    "    pathlib.Path('cleaned').touch()\n"
    "    raise SystemExit(130)\n"
)


ENVIRONMENT = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty DVC project."""
    command = ["dvc", "init", "--no-scm", "--quiet"]
    subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, check=True, capture_output=True)
    return tmp_path


def start(folder: Path, stages: dict[str, dict[str, object]], *arguments: str) -> subprocess.Popen[str]:
    """Start the script on a pipeline of `stages`, in a session of its own."""
    YAML().dump({"stages": stages}, folder / "dvc.yaml")
    return subprocess.Popen(
        [SCRIPT, "dvc.yaml", *arguments],
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def test_a_failed_stage_stops_only_what_depends_on_it(folder: Path) -> None:
    stages: dict[str, dict[str, object]] = {
        "broken": {"cmd": "exit 3", "outs": ["rows/broken"]},
        "whole": {"cmd": "mkdir -p rows && echo whole > rows/whole", "outs": ["rows/whole"]},
        "summary": {"cmd": "cat rows/* > all", "deps": ["rows"], "outs": ["all"]},
    }
    process = start(folder, stages, "summary")
    output, _ = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode != 0, output
    assert (folder / "all").read_text() == "whole\n"


def test_the_status_is_0_where_all_stages_succeed(folder: Path) -> None:
    process = start(folder, {"whole": {"cmd": "echo whole > whole", "outs": ["whole"]}}, "whole")
    output, _ = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 0, output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_starts_no_other_stage(folder: Path, number: signal.Signals) -> None:
    (folder / "waits.py").write_text(WAITS)
    command = f"{sys.executable} waits.py"
    stages: dict[str, dict[str, object]] = {name: {"cmd": f"{command} {name}"} for name in ("one", "two")}
    process = start(folder, stages)
    deadline = time.monotonic() + WAIT_SECONDS
    while not (folder / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(process.pid, number)
    output, _ = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 130, output
    assert (folder / "cleaned").exists()
    assert output.count(command) == 1, "the other stage was started"
    assert "run it again" in output
    (folder / "waits.py").write_text("")
    again, _ = start(folder, stages).communicate(timeout=WAIT_SECONDS)
    assert again.count(command) == 2, "no second run after the interrupt"
