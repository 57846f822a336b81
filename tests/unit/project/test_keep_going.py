"""tools/keep_going.sh with a real DVC: one stage may fail, Ctrl-C ends them all.

Nothing here has a time limit of its own, which a busy machine would break: pytest's is the only one.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.imports import ROOT

SCRIPT = ROOT / "tools" / "keep_going.sh"
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


STARTED: list[subprocess.Popen[str]] = []


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """An empty DVC project; what a failed test leaves running there is ended."""
    command = ["dvc", "init", "--no-scm", "--quiet"]
    subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, check=True, capture_output=True)
    yield tmp_path
    while STARTED:
        process = STARTED.pop()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def start(folder: Path, stages: dict[str, dict[str, object]], *arguments: str) -> subprocess.Popen[str]:
    """Start the script on a pipeline of `stages`, in a session of its own."""
    YAML().dump({"stages": stages}, folder / "dvc.yaml")
    process = subprocess.Popen(
        [SCRIPT, "dvc.yaml", *arguments],
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # Where pytest runs in the background of a script it ignores Ctrl-C, and a child would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    STARTED.append(process)
    return process


def test_a_failed_stage_stops_only_what_depends_on_it(folder: Path) -> None:
    stages: dict[str, dict[str, object]] = {
        "broken": {"cmd": "exit 3", "outs": ["rows/broken"]},
        "whole": {"cmd": "mkdir -p rows && echo whole > rows/whole", "outs": ["rows/whole"]},
        "summary": {"cmd": "cat rows/* > all", "deps": ["rows"], "outs": ["all"]},
    }
    process = start(folder, stages, "summary")
    output, _ = process.communicate()
    assert process.returncode != 0, output
    assert (folder / "all").read_text() == "whole\n"


def test_the_status_is_0_where_all_stages_succeed(folder: Path) -> None:
    process = start(folder, {"whole": {"cmd": "echo whole > whole", "outs": ["whole"]}}, "whole")
    output, _ = process.communicate()
    assert process.returncode == 0, output


def test_only_the_targets_run_and_then_the_stages(folder: Path) -> None:
    stages: dict[str, dict[str, object]] = {
        "first": {"cmd": "mkdir -p rows && echo first > rows/first", "outs": ["rows/first"]},
        "second": {"cmd": "mkdir -p rows && echo second > rows/second", "outs": ["rows/second"]},
        "summary": {"cmd": "cat rows/* > all", "deps": ["rows"], "outs": ["all"]},
    }
    process = start(folder, stages, "summary", "--", "second")
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert (folder / "all").read_text() == "second\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_starts_no_other_stage(folder: Path, number: signal.Signals) -> None:
    (folder / "waits.py").write_text(WAITS)
    command = f"{sys.executable} waits.py"
    stages: dict[str, dict[str, object]] = {name: {"cmd": f"{command} {name}"} for name in ("one", "two")}
    process = start(folder, stages)
    while not (folder / "started").exists() and process.poll() is None:
        time.sleep(0.1)
    os.killpg(process.pid, number)
    output, _ = process.communicate()
    assert process.returncode == 130, output
    assert (folder / "cleaned").exists()
    assert output.count(command) == 1, "the other stage was started"
    assert "run it again" in output
    (folder / "waits.py").write_text("")
    again, _ = start(folder, stages).communicate()
    assert again.count(command) == 2, "no second run after the interrupt"
