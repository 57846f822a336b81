from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import UserError
from pipelines.report.findings import findings
from pipelines.results import write_json


def model(name: str, accuracy: float) -> dict[str, Any]:
    bounds = {"_low": accuracy - 0.01, "": accuracy, "_high": accuracy + 0.01}
    row = {
        f"{key}{end}": value
        for key in ("test_accuracy", "auc_macro", "auc_micro")
        for end, value in bounds.items()
    }
    return {"model": name, "data": "digits", "num_test": 449, "epochs": 10, "num_parameters": 1000, **row}


def speedup(method: str, link: int | None, acceleration: float) -> dict[str, Any]:
    return {
        "model": "densenet50",
        "method": method,
        "workers": 2,
        "source": "measured" if link is None else "predicted",
        "link_mbit_per_second": link,
        "step_seconds": 0.1 / acceleration,
        "acceleration_ratio": acceleration,
        "wire_bytes_per_step": 4000.0 if method == "sdp" else 1000.0,
    }


@pytest.fixture
def results(tmp_path: Path) -> Path:
    write_json(tmp_path / "recognition.json", [model("densenet50", 0.9), model("vgg16_bn", 0.8)])
    runs = [
        {"model": "densenet50", "method": name, "test_accuracy": accuracy}
        for name, accuracy in (("sdp", 0.7), ("gq4", 0.6))
    ]
    write_json(tmp_path / "distributed.json", runs)
    rows = [speedup("sdp", None, 1.5), speedup("gq4", None, 1.25)]
    rows += [
        speedup("sdp", 1000, 1.4),
        speedup("gq4", 1000, 1.2),
        speedup("sdp", 100, 0.5),
        speedup("gq4", 100, 1.1),
    ]
    write_json(tmp_path / "speedup.json", rows)
    return tmp_path


def test_headline_numbers_are_those_of_the_files(results: Path) -> None:
    text = findings(results)
    assert "densenet50 has the highest test accuracy, 90.00 %" in text
    assert (
        "- densenet50, 2 workers: sdp was the fastest, 66.7 ms a step and 1.50× of one worker, "
        "at 70.00 % test accuracy; "
        "predicted for 100 Mbit/s: gq4, 1.10×.\n" in text
    )
    assert "| densenet50 | gq4 | 60.00 % | 80.0 ms | 1.25× | **1,000** |" in text
    assert "Answered by the authors' run (yours: make study)" in text


def test_the_studys_answers_are_named(results: Path) -> None:
    claim = {"experiment": "claim", "data": "digits", "claim": "deeper", "statement": "Deeper is better"}
    rows = [claim | {"claim_answer": "not decided", "reason": None, "test": None, "answer": "not decided"}]
    write_json(results / "study/study.json", rows)
    assert "- Deeper is better, on digits: not decided." in findings(results)


def test_a_missing_file_names_the_way_out(results: Path) -> None:
    (results / "speedup.json").unlink()
    with pytest.raises(UserError, match="make repro"):
        findings(results)
