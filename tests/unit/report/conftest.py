"""The report of the committed results, with one model under a name that HTML would take for a tag."""

import shutil
from pathlib import Path

import pytest

from pipelines.report import build_report
from pipelines.results.reference import REFERENCE

NAME = "densenet<50>"


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of results; nobody may write there."""
    folder = tmp_path_factory.mktemp("report") / "results"
    shutil.copytree(REFERENCE, folder)
    for path in (*folder.glob("recognition*.json"), folder / "speedup.json"):
        path.write_text(path.read_text(encoding="utf-8").replace("densenet50", NAME), encoding="utf-8")
    for path in (*folder.glob("train/densenet50.csv"), *folder.glob("evaluate/*/densenet50.csv")):
        path.rename(path.with_name(f"{NAME}.csv"))
    return folder


@pytest.fixture(scope="session")
def page(results: Path) -> Path:
    """The built page."""
    path = results.parent / "report.html"
    build_report(results, path)
    return path
