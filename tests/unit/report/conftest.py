"""The report of the committed results, with one model under a name that HTML would take for a tag."""

import shutil
from pathlib import Path

import pytest

from pipelines.report import build_report
from pipelines.results import Row, write_json
from pipelines.results.reference import REFERENCE

NAME = "densenet<50>"


def target(method: str, link: float, steps: int | None, workers: int = 16) -> Row:
    """A row of target.json, 0.5 s a step."""
    return {
        "model": "densenet50",
        "workers": workers,
        "method": method,
        "study_method": method.upper(),
        "link": f"{link:g}mbit",
        "link_mbit_per_second": link,
        "target_accuracy": 0.9,
        "best_accuracy": 0.81,
        "curve_model": "densenet22",
        "steps_to_target": steps,
        "step_seconds": 0.5,
        "seconds_to_target": steps and 0.5 * steps,
        "gigabytes_to_target": steps and 0.25,
        "price_to_target": steps and 0.0123,
    }


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of results; nobody may write there."""
    folder = tmp_path_factory.mktemp("report") / "results"
    shutil.copytree(REFERENCE, folder)
    for path in (*folder.glob("recognition*.json"), folder / "speedup.json"):
        path.write_text(path.read_text(encoding="utf-8").replace("densenet50", NAME), encoding="utf-8")
    for path in (*folder.glob("train/curves/densenet50.csv"), *folder.glob("evaluate/*/densenet50.csv")):
        path.rename(path.with_name(f"{NAME}.csv"))
    rows = [
        target("sdp", 100.0, 16),
        target("ssp", 100.0, None),
        target("sdp", 100.0, 16, 4),
        target("sdp", 1e4, 16),
    ]
    write_json(folder / "target.json", rows)
    write_json(folder / "slow_link.json", {"measured": False, "reason": "no bridges here", "rows": []})
    return folder


@pytest.fixture(scope="session")
def page(results: Path) -> Path:
    """The built page."""
    path = results.parent / "report.html"
    build_report(results, path)
    return path
