"""Yours beside ours: shared rows, rows of one set alone, what differs in origin, and mistakes in one line."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.compare import SUBJECTS, compare_results
from pipelines.errors import UserError
from pipelines.results import REFERENCE, Row, read_json, write_json
from tests.imports import ROOT


def row(model: str, accuracy: float, seconds: float, **origin: str) -> Row:
    facts = {"commit": "aaa", "device": "cpu, 2 threads", "torch_version": "2.13.0"} | origin
    scores = {"test_accuracy": accuracy, "auc_macro": 0.5, "train_seconds": seconds}
    return {"data": "digits", "model": model, "seed": 1, **scores, **facts}


def lines_of(tmp_path: Path, own: list[Row], reference: list[Row]) -> list[str]:
    write_json(tmp_path / "own/recognition.json", own)
    write_json(tmp_path / "reference/recognition.json", reference)
    text = "\n".join(compare_results(tmp_path / "own", tmp_path / "reference", ["recognition.json"]))
    return text.splitlines()


def test_a_row_of_both_shows_both_and_the_change(tmp_path: Path) -> None:
    lines = lines_of(tmp_path, [row("densenet50", 0.97, 30.0)], [row("densenet50", 0.98, 20.0)])
    (line,) = [line for line in lines if line.startswith("digits  densenet50")]
    assert line.split() == [
        "digits",
        "densenet50",
        "1",
        "97.00",
        "%",
        "98.00",
        "%",
        "-1.00",
        "%",
        "0.5",
        "0.5",
        "1.000",
        "30.0",
        "s",
        "20.0",
        "s",
        "1.500",
    ]


def test_rows_of_one_set_alone_are_named(tmp_path: Path) -> None:
    lines = lines_of(tmp_path, [row("new", 0.9, 1.0)], [row("old", 0.9, 1.0)])
    assert "only yours: digits new 1" in lines
    assert "only ours: digits old 1" in lines


def test_what_differs_in_origin_is_said_and_what_does_not_is_in_one_line(tmp_path: Path) -> None:
    own = [row("densenet50", 0.9, 1.0, commit="bbb-dirty", torch_version="2.14.0")]
    lines = lines_of(tmp_path, own, [row("densenet50", 0.9, 1.0)])
    assert "commit: yours bbb-dirty; ours aaa" in lines
    assert "torch: yours 2.14.0; ours 2.13.0" in lines
    assert "the same: device cpu, 2 threads" in lines


def test_a_missing_number_is_no_zero(tmp_path: Path) -> None:
    lost = row("densenet50", 0.9, 1.0) | {"train_seconds": None}
    (line,) = [
        line for line in lines_of(tmp_path, [lost], [row("densenet50", 0.9, 2.0)]) if "densenet50" in line
    ]
    assert line.split()[-4:] == ["–", "2.0", "s", "–"]


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'speed\.json' is nothing to compare; allowed: recognition\.json,"):
        list(compare_results(tmp_path, tmp_path, ["speed.json"]))
    with pytest.raises(UserError, match="no results to compare yet; run `make repro` first"):
        list(compare_results(tmp_path, tmp_path))


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.file)
def test_the_reference_has_rows_with_the_keys_and_numbers_of_every_subject(subject) -> None:  # type: ignore[no-untyped-def]
    rows = subject.rows_by_key(read_json(REFERENCE / subject.file))
    assert rows
    for number in subject.numbers:
        assert any(row.get(number.key) is not None for row in rows.values()), number.key


def test_the_command_compares_the_reference_with_itself_and_ends_quietly_when_nobody_reads() -> None:
    command = [sys.executable, "-m", "stages.compare", "--results", str(REFERENCE)]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert all(f"== {subject.file}: yours beside ours" in shown for subject in SUBJECTS)
    assert "only" not in shown
    cut = subprocess.run(
        f"{' '.join(command)} | head -1", shell=True, cwd=ROOT, capture_output=True, text=True
    )
    assert (cut.returncode, cut.stderr) == (0, "")
