"""The section on the further systems: answers beside the bytes, or that nothing was run."""

from pathlib import Path

import pytest

from pipelines.report.related import answer_rows, related_section, shown_tests, shown_variants
from pipelines.results import Row, write_json


def variant(name: str, role: str, accuracy: float | None, sent: float | None) -> Row:
    bounds = (None, None) if accuracy is None else (accuracy - 0.01, accuracy + 0.01)
    return {
        "experiment": "variant",
        "system": "dacnn",
        "data": "digits",
        "variant": name,
        "role": role,
        "num_diverged": int(accuracy is None),
        "test_accuracy_mean": accuracy,
        "test_accuracy_low": bounds[0],
        "test_accuracy_high": bounds[1],
        "compressed_bytes_per_step_mean": sent,
        "workers_test_accuracy_mean": accuracy,
    }


def claim(test: str | None, **fields: object) -> Row:
    common: Row = {
        "experiment": "claim",
        "system": "dacnn",
        "data": "digits",
        "answer": "holds",
        "test": test,
    }
    return common | fields


ROWS = [
    {"experiment": "run", "system": "dacnn", "data": "digits", "commit": "abc"},
    variant("plain", "baseline", 0.9, 2000.0),
    variant("shared", "system", 0.88, 500.0),
    variant("wild", "peer", None, None),
    claim(None),
    claim(
        "shared over plain",
        key="test_accuracy",
        margin=0.05,
        counted=True,
        difference=-0.02,
        difference_low=-0.03,
        difference_high=-0.01,
    ),
]


def test_an_answer_stands_beside_the_accuracies_and_the_share_of_the_bytes() -> None:
    (row,) = answer_rows(ROWS)
    assert (row["answer"], row["baseline"], row["best"]) == ("holds", "plain", "shared")
    assert (row["best_accuracy"], row["workers_accuracy"], row["bytes_ratio"]) == (0.88, 0.88, 0.25)


def test_the_cells_say_what_the_rows_do() -> None:
    plain, _, wild = shown_variants([row for row in ROWS if row["experiment"] == "variant"])
    assert (plain["accuracy"].low, plain["accuracy"].high) == (pytest.approx(0.89), pytest.approx(0.91))
    assert wild["variant"] == "wild (1 diverged)"
    (test,) = shown_tests([row for row in ROWS if row["experiment"] == "claim"])
    assert (test["test"], test["difference"]) == ("shared over plain (margin 5 points)", "-2 points")
    assert test["interval"] == "[-3, -1]"


def test_the_section_reads_the_users_rows(tmp_path: Path) -> None:
    write_json(tmp_path / "related/related.json", ROWS)
    section = related_section(tmp_path)
    assert section.paragraphs[0].startswith("Answered by make related at commit abc")
    assert section.table is not None
    assert [cell.text for cell in section.table.rows[0]][:3] == ["dacnn", "digits", "holds"]


def test_without_rows_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.results.reference.REFERENCE", tmp_path / "nothing")
    assert related_section(tmp_path).paragraphs == ["Not run: make related answers their claims."]
