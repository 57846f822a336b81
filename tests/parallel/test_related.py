"""The frame of the further systems with a tiny one: a real launch of two workers, interrupted, gone on with."""

import dataclasses
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
import torch

from pipelines.config import load_section
from pipelines.data import PrepareConfig, load_prepared
from pipelines.data.preparation import prepare
from pipelines.experiments.related.answers.summary import summarise
from pipelines.experiments.related.job import RelatedJob
from pipelines.experiments.related.runs.found import found_folder
from pipelines.experiments.related.runs.run import run
from pipelines.experiments.study.job import Training
from pipelines.experiments.study.runs.worker import Trained, train_run
from pipelines.inference.classifier import load_classifier
from pipelines.results import Row
from tests.unit.experiments.related import fake
from tests.unit.search.algorithms import Here


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> RelatedJob:
    folder = tmp_path_factory.mktemp("related")
    config = load_section(PrepareConfig, "prepare", fake.PARAMS)
    limits = {"train_limit": fake.SET.train_limit, "test_limit": fake.SET.test_limit}
    prepare(dataclasses.replace(config, **limits), folder / "data", folder / "samples.png")
    return fake.make_job(folder)


@pytest.fixture(scope="module")
def interrupted(job: RelatedJob) -> Iterator[list[str]]:
    """What was trained, one after the other in this process, until Ctrl-C while the rows were measured."""
    with pytest.MonkeyPatch.context() as patch:
        trained: list[str] = []

        def train_all(trainings: Sequence[Training], _: str) -> list[Trained]:
            trained.extend(one.model for one in trainings)
            return [train_run(one) for one in trainings]

        def interrupt(*_: object, **__: object) -> list[Row]:
            raise KeyboardInterrupt

        @contextmanager
        def no_pool(_: int) -> Iterator[Here]:
            yield Here()

        patch.setattr("pipelines.experiments.related.runs.trials.train_all", train_all)
        patch.setattr("pipelines.experiments.related.runs.searches.kept_or_own_pool", no_pool)
        with patch.context() as measuring:
            measuring.setattr("pipelines.experiments.related.runs.run.run_all", interrupt)
            with pytest.raises(KeyboardInterrupt):
                run(job, program(job))
        yield trained


@pytest.fixture(scope="module")
def rows(job: RelatedJob, interrupted: list[str]) -> list[Row]:
    """The rows of the second call, which may neither train nor launch anything."""
    assert interrupted
    with pytest.MonkeyPatch.context() as patch:
        for name in (
            "pipelines.experiments.study.runs.worker.train",
            "pipelines.experiments.related.runs.searches.judge",
            "pipelines.experiments.related.runs.workers.horovodrun.run",
        ):
            patch.setattr(name, refuse)
        return run(job, program(job))


def refuse(*_: object, **__: object) -> None:
    raise AssertionError("a finished run was made again")


def program(job: RelatedJob) -> list[str]:
    """Return the command line of a worker."""
    return ["-m", fake.__name__, str(job.data_folder.parent)]


def runs(rows: Sequence[Row], variant: str) -> list[Row]:
    return [row for row in rows if row["experiment"] == "run" and row["variant"] == variant]


def test_every_seed_of_a_variant_has_its_row(job: RelatedJob, rows: list[Row]) -> None:
    for name in ("plain", "grown"):
        mine = runs(rows, name)
        assert [row["seed"] for row in mine] == [1, 2, 3]
        assert all(0 <= row["test_accuracy"] <= 1 and row["num_classes"] == 10 for row in mine)
    assert json.loads(job.result_file.read_text()) == rows
    assert not job.checkpoints.exists()


def test_a_variant_goes_on_from_the_one_before_it(rows: list[Row]) -> None:
    tried = [row for row in rows if row["experiment"] == "tuning" and row["variant"] == "grown"]
    assert [row["learning_rate"] for row in tried] == [0.01, 0.02]
    assert sum(row["chosen"] for row in tried) == 1
    assert {row["epochs"] for row in runs(rows, "grown")} == {2}
    assert {row["finish_difference"] for row in runs(rows, "grown")} == {0.0}


def test_the_bytes_of_the_pattern_are_those_that_the_workers_count(rows: list[Row]) -> None:
    for name in ("plain", "grown"):
        first, second, _ = runs(rows, name)
        assert "workers_bytes_per_step" not in first
        assert second["workers_bytes_per_step"] == second["compressed_bytes_per_step"]
        assert second["reference_bytes_per_step"] == 4 * second["num_trained_parameters"]
        assert 0 <= second["workers_test_accuracy"] <= 1


def test_a_found_network_is_trained_like_any_other_and_kept(job: RelatedJob, rows: list[Row]) -> None:
    mine = runs(rows, "searched")
    generations = [row for row in rows if row["experiment"] == "search"]
    assert [(row["seed"], row["generation"]) for row in generations] == [
        (s, g) for s in (1, 2, 3) for g in (0, 1)
    ]
    for row, last in zip(mine, generations[1::2], strict=True):
        assert row["model"] == last["best_model"]
        assert row["model"].startswith("chain_c3m")  # the first was too large
        assert row["search_accuracy"] == last["best_accuracy"] > 0
        assert (row["search_evaluations"], row["search_hits"]) == (2, 0)
    assert mine[1]["workers_bytes_per_step"] == mine[1]["compressed_bytes_per_step"]
    best = max(mine, key=lambda row: row["best_validation_accuracy"])
    classifier, checkpoint = load_classifier(found_folder(job) / "searched" / "best.pt")
    assert (checkpoint.spec.name, checkpoint.recipe["seed"]) == (best["model"], best["seed"])
    test = load_prepared(job.data_folder).test
    with torch.inference_mode():
        right = classifier(test.images).argmax(1) == test.labels
    assert float(right.float().mean()) == pytest.approx(best["test_accuracy"])


def test_what_diverges_is_a_result_and_what_comes_after_it_is_missing(rows: list[Row]) -> None:
    (wild,) = runs(rows, "wild")
    assert (wild["diverged"], wild["test_accuracy"]) == (True, None)
    (missing,) = [row for row in rows if row["experiment"] == "missing"]
    assert missing["variant"] == "orphan"
    assert "wild" in missing["reason"]


def test_the_summary_goes_on_without_a_system_that_failed(job: RelatedJob, rows: list[Row]) -> None:
    assert rows
    folder = job.result_file.parents[1]
    failed = fake.Fake("failed", fake.Fake.Options())
    shutil.copytree(job.result_file.parent, folder / "related" / "runs")
    summarise([job.system, failed], folder)
    found = json.loads((folder / "related" / "related.json").read_text())
    assert {row["system"] for row in found} == {"fake"}
    (answer,) = [row for row in found if row["experiment"] == "claim" and row["test"] is None]
    assert answer["answer"] in ("holds", "not decided", "does not hold")
    page = (folder / "related" / "related.md").read_text()
    assert "failed: digits" in page
    assert "digits: not run." in page
    assert (folder / "related" / "fake-digits.svg").exists()
