"""One store for all tests of this folder: making its tables takes seconds."""

from pathlib import Path
from typing import Any

import pytest

from tests.unit.tracking.stores import undisturbed_settings


@pytest.fixture(autouse=True)
def _working_folder(tmp_path_factory: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in the store's folder, with no settings but the test's own."""
    base: Path = tmp_path_factory.getbasetemp() / "tracking"
    base.mkdir(exist_ok=True)
    monkeypatch.chdir(base)
    undisturbed_settings(monkeypatch)
    return base


@pytest.fixture
def base(_working_folder: Path) -> Path:
    """The folder with the store of all tests of this package, mlflow.db."""
    return _working_folder


@pytest.fixture
def own_journals(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder of the test's own, in which its journals are, as a stage of the pipeline run "lost"."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GQBENCH_PIPELINE_RUN", "lost")
    monkeypatch.setenv("no_proxy", "*")
