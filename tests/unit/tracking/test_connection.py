"""How a stage opens the store."""

import subprocess
import sys
from pathlib import Path

from tests.imports import ROOT

OPEN = "import sys; from pipelines.tracking.connection import open_client as o; o(sys.argv[1]).search_experiments()"


def test_two_stages_that_start_at_once_make_one_store(tmp_path: Path) -> None:
    """MLflow makes a new database's tables step by step, without a lock: the second one would fail in the middle."""
    command = [sys.executable, "-c", OPEN, f"sqlite:///{tmp_path}/mlflow.db"]
    processes = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    failures = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], failures
