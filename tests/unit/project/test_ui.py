"""tools/ui.sh: MLflow's pages are for this machine alone, and two checkouts do not get into each other's way."""

import os
import socket
import subprocess
from pathlib import Path

import pytest

from tests.imports import ROOT


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a store, and programs that say what they were started with."""
    (tmp_path / "mlflow.db").touch()
    for name in ("mlflow", "python"):
        (tmp_path / name).write_text(f'#!/bin/sh\necho {name} "$@"\n')
        (tmp_path / name).chmod(0o755)
    return tmp_path


def ui(folder: Path, port: int) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    environment["PATH"] = f"{folder}:{environment['PATH']}"
    command = [ROOT / "tools/ui.sh", str(port)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_pages_are_served_to_this_machine_alone(folder: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    done = ui(folder, port)
    assert done.returncode == 0, done.stderr
    served = done.stdout.splitlines()[-1].split()
    assert served[:2] == ["mlflow", "ui"]
    assert served[served.index("--host") + 1] == "127.0.0.1"
    assert served[served.index("--port") + 1] == str(port)


def test_a_port_that_is_taken_is_named_with_the_way_out(folder: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = ui(folder, port)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: port {port} is taken")
    assert f"make ui PORT={port + 1}" in done.stderr
    assert "mlflow ui" not in done.stdout
