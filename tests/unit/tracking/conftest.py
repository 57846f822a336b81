"""One store for all tests of this folder: making its tables takes seconds."""

from pathlib import Path
from typing import Any

import pytest

from tests.unit.tracking.stores import mlflow


@pytest.fixture(autouse=True)
def _working_folder(tmp_path_factory: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in the store's folder, with no settings from outside or of the test before."""
    base: Path = tmp_path_factory.getbasetemp() / "tracking"
    base.mkdir(exist_ok=True)
    monkeypatch.chdir(base)
    for name in ("MLFLOW_TRACKING_URI", "GQBENCH_PIPELINE_RUN"):
        monkeypatch.delenv(name, raising=False)
    mlflow.set_tracking_uri(None)  # it is the whole process's, and takes the variable away
    return base
