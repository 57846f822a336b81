"""Finished seeds survive an interruption, unless what they depend on has changed."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.experiments.convergence import ConvergenceJob, finished_seeds
from pipelines.experiments.convergence.finished_seeds import FinishedSeeds
from pipelines.experiments.convergence.job import parity_job
from pipelines.results import Row, read_json
from tests.imports import ROOT

PARAMS = ROOT / "params.yaml"


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ConvergenceJob:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(finished_seeds, "commit", lambda: "now")
    return replace(parity_job("gq8_bucketed", "digits", PARAMS), seeds=(1, 2, 3))


def rows(seed: int, commit: str = "now") -> list[Row]:
    return [{"seed": seed, "commit": commit}]


def test_an_interrupted_job_goes_on_and_joins_in_the_order_of_seeds(job: ConvergenceJob) -> None:
    first = FinishedSeeds(job, "checksum")
    first.write(2, rows(2))
    again = FinishedSeeds(job, "checksum")
    again.drop_stale()
    assert again.missing() == [1, 3]
    again.write(3, rows(3))
    again.write(1, rows(1))
    again.join()
    assert read_json(job.result_file) == rows(1) + rows(2) + rows(3)
    assert not job.part_folder.exists()


def test_more_seeds_keep_those_that_are_there(job: ConvergenceJob) -> None:
    FinishedSeeds(job, "checksum").write(1, rows(1))
    more = FinishedSeeds(replace(job, seeds=(1, 2, 3, 4)), "checksum")
    more.drop_stale()
    assert more.missing() == [2, 3, 4]


@pytest.mark.parametrize("changed", ["epochs", "recipe", "data", "method", "commit"])
def test_rows_of_anything_else_are_dropped(job: ConvergenceJob, changed: str) -> None:
    FinishedSeeds(job, "checksum").write(1, rows(1, "before" if changed == "commit" else "now"))
    if changed == "epochs":
        job = replace(job, epochs=job.epochs + 1)
    elif changed == "recipe":
        job = replace(job, recipe=replace(job.recipe, learning_rate=0.05))
    elif changed == "method":
        file = Path("params.yaml")
        entry = "gq8_bucketed: { strategy: gq, wire_bits: "
        file.write_text(PARAMS.read_text().replace(f"{entry}8", f"{entry}16"))
        job = replace(job, params=file)
    other = FinishedSeeds(job, "other" if changed == "data" else "checksum")
    other.drop_stale()
    assert other.missing() == [1, 2, 3]
