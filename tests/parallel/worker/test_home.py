"""Runs of two checkouts share the home folder: horovodrun, as the suite starts it, keeps nothing there."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pipelines.parallel.run.launch import options


def test_a_run_needs_no_file_in_the_home_folder(tmp_path: Path) -> None:
    (tmp_path / ".horovod").write_text("where Horovod would make a folder for its cache\n")
    config = SimpleNamespace(workers=1, host_slots="localhost:1", network_interface=None)
    job: Any = SimpleNamespace(distributed=config)
    horovodrun = Path(sys.executable).with_name("horovodrun")
    done = subprocess.run(
        [horovodrun, "--gloo", *options(job), sys.executable, "-c", "print('ran')"],
        env=os.environ | {"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "ran" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == [".horovod"]
