"""What the sweep starts, with the start itself replaced."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.config import load_section
from pipelines.errors import UserError
from pipelines.experiments.sweep import SweepConfig, SweepJob, launch
from pipelines.experiments.sweep.rows import ALONE
from pipelines.models import build_model
from pipelines.models.config import DenseNetConfig
from tests.imports import ROOT
from tests.unit.experiments.sweep.test_sweep import config, job


@pytest.fixture
def cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SweepJob:
    """A job on two cores, in an empty folder."""
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.chdir(tmp_path)
    return replace(job("densenet22", "100mbit"), params=ROOT / "params.yaml")


def test_numbers_of_workers_without_a_method_are_a_mistake(cell: SweepJob) -> None:
    sweep = replace(cell.sweep, workers=(3, 4), oversubscribed_methods=())
    with pytest.raises(
        UserError, match=r"sweep\.workers: \[3, 4\] .* sweep\.oversubscribed_methods is empty"
    ):
        launch.launch(replace(cell, sweep=sweep), ["program"])


def test_one_of_several_is_left_out_with_a_line(
    cell: SweepJob, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
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


def test_horovod_remembers_the_names_of_all_methods_of_the_committed_sweep() -> None:
    sweep = load_section(SweepConfig, "sweep", ROOT / "params.yaml")
    environment = launch.run_environment(sweep, workers=2)
    densenet = load_section(DenseNetConfig, "densenet", ROOT / "params.yaml")
    model = build_model(
        "densenet200", num_channels=1, num_classes=10, image_size=8, densenet=densenet, seed=0
    )
    # As if each method gave every tensor a name of its own; most send few buckets.
    num_names = len(sweep.methods) * len(list(model.parameters()))
    assert int(environment["HOROVOD_CACHE_CAPACITY"]) >= num_names > 1024


@pytest.mark.parametrize(("workers", "threads", "cycle"), [(1, 1, 5), (2, 1, 5), (4, 1, 20), (2, 2, 20)])
def test_the_cycle_is_longer_where_threads_outnumber_cores(
    monkeypatch: pytest.MonkeyPatch, workers: int, threads: int, cycle: int
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    environment = launch.run_environment(config(threads_per_worker=threads), workers)
    assert float(environment["HOROVOD_CYCLE_TIME"]) == cycle
