"""What the sweep starts, with the start itself replaced."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.errors import UserError
from pipelines.sweep import SweepJob, launch
from pipelines.sweep.rows import ALONE
from tests.imports import ROOT
from tests.unit.sweep.test_sweep import job


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> SweepJob:
    """A job on two cores, with the committed methods `sdp` and `gq4`."""
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    return replace(job("densenet22", "100mbit"), params=ROOT / "params.yaml")


def test_numbers_of_workers_without_a_method_are_a_mistake(cell: SweepJob) -> None:
    sweep = replace(cell.sweep, workers=(3, 4), oversubscribed_methods=())
    with pytest.raises(
        UserError, match=r"sweep\.workers: \[3, 4\] .* sweep\.oversubscribed_methods is empty"
    ):
        launch.launch(replace(cell, sweep=sweep), ["program"])


def test_one_of_several_is_left_out_with_a_line(
    cell: SweepJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    def write_part(job: SweepJob, workers: int, program: Sequence[str]) -> None:
        path = job.part_file(workers)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps([{"method": ALONE, "run": workers}, {"method": "sdp", "run": workers}]))

    monkeypatch.setattr(launch, "_run", write_part)
    sweep = replace(cell.sweep, workers=(2, 4), oversubscribed_methods=())
    launch.launch(replace(cell, sweep=sweep), ["program"])
    assert "4 workers are left out" in capsys.readouterr().out
    rows = json.loads(cell.result_file.read_text())
    assert rows == [{"method": ALONE, "run": 2}, {"method": "sdp", "run": 2}]
