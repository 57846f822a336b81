"""Runs whose process died: closed, or gone on with; the runs of living processes are left alone."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from ruamel.yaml import YAML

from pipelines.config import load_section
from pipelines.data import PrepareConfig
from pipelines.data.preparation import prepare
from pipelines.tracking import Role, open_run
from pipelines.tracking.interrupted import OWNER_TAG
from pipelines.tracking.owner import Owner, checkout
from tests.imports import ROOT
from tests.unit.tracking.stores import config, mlflow, own_store, runs

EPOCHS = 30


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that sleeps until it is killed."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process
    process.kill()
    process.wait()


def test_a_killed_process_is_dead_even_before_it_is_waited_for(child: Any) -> None:
    owner = Owner.of(psutil.Process(child.pid))
    assert Owner.parse(str(owner)) == owner
    assert not owner.is_dead()
    child.kill()
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert owner.is_dead()
    child.wait()
    assert owner.is_dead()


@pytest.mark.parametrize(
    ("changes", "dead"),
    [
        ({}, False),
        ({"started": 1.0}, True),  # the process id has come back
        ({"boot": "another"}, True),
        ({"machine": "another", "started": 1.0}, False),
        ({"machine": "another", "boot": "another"}, False),
        ({"namespace": "another", "started": 1.0}, False),
    ],
)
def test_only_what_is_certain_counts_as_dead(changes: dict[str, Any], dead: bool) -> None:
    assert dataclasses.replace(Owner.of(psutil.Process()), **changes).is_dead() is dead


@pytest.mark.parametrize("text", ["", "x", "[]", "{}", '{"machine": "a"}'])
def test_another_text_names_no_owner(text: str) -> None:
    assert Owner.parse(text) is None


def begun(experiment: str, owner: Owner | None, stage: str = "train", item: str = "m", seed: int = 1) -> str:
    """Make a run as a stage does that then dies; `owner` stands for its process. Return its id."""
    with open_run(config(experiment), stage, item, {"seed": seed}, role=Role.MODEL) as tracker:
        tracker.log_history([{"epoch": 1, "seconds": 3.0, "loss": 1.0}])
    client = mlflow.MlflowClient(own_store())
    run_id = str(runs(experiment)[-1].info.run_id)
    client.set_tag(run_id, OWNER_TAG, str(owner))
    client.update_run(run_id, status="RUNNING")
    return run_id


def dead() -> Owner:
    return dataclasses.replace(Owner.of(psutil.Process()), started=1.0)


def statuses(experiment: str) -> dict[str, str]:
    return {run.info.run_id: run.info.status for run in runs(experiment)}


def test_any_stage_closes_the_runs_of_dead_processes_and_no_others() -> None:
    lost = begun("close", dead())
    alive = begun("close", Owner.of(psutil.Process()), item="other")
    foreign = begun("close", dataclasses.replace(dead(), machine="elsewhere"), item="third")
    unknown = begun("close", None, item="fourth")
    with open_run(config("close"), "prepare", None, {}):
        pass
    found = statuses("close")
    assert [found[run_id] for run_id in (lost, alive, foreign, unknown)] == [
        "KILLED",
        "RUNNING",
        "RUNNING",
        "RUNNING",
    ]
    run = mlflow.MlflowClient(own_store()).get_run(lost)
    assert run.info.end_time == run.info.start_time + 3000


def test_a_stage_that_resumes_goes_on_with_its_run() -> None:
    lost = begun("resume", dead())
    with open_run(config("resume"), "train", "m", {"seed": 1}, role=Role.MODEL, resumes=True) as tracker:
        assert statuses("resume") == {lost: "RUNNING"}
        tracker.log_params({"a": 1})
        tracker.log_history([{"epoch": epoch, "seconds": 3.0, "loss": 1.0 / epoch} for epoch in (1, 2)])
    (run,) = runs("resume")
    assert (run.info.run_id, run.info.status) == (lost, "FINISHED")
    assert Owner.parse(run.data.tags[OWNER_TAG]) == Owner.of(psutil.Process())
    history = mlflow.MlflowClient(own_store()).get_metric_history(lost, "loss")
    assert [(m.step, m.timestamp - run.info.start_time) for m in history] == [(1, 3000), (2, 6000)]
    # Finished is finished: what resumes now is another work.
    with open_run(config("resume"), "train", "m", {"seed": 1}, role=Role.MODEL, resumes=True):
        pass
    assert list(statuses("resume").values()) == ["FINISHED", "FINISHED"]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("anew", {"resumes": False}),
        ("seed", {"resumes": True, "seed": 2}),
        ("item", {"resumes": True, "item": "other"}),
        ("live", {"resumes": True, "owner": "alive"}),
        ("folder", {"resumes": True, "folder": True}),
    ],
)
def test_another_work_gets_a_run_of_its_own(
    name: str, arguments: dict[str, Any], tmp_path: Path, monkeypatch: Any
) -> None:
    alive = arguments.get("owner") == "alive"
    first = begun(name, Owner.of(psutil.Process()) if alive else dead())
    uri = own_store()
    if "folder" in arguments:
        monkeypatch.chdir(tmp_path)
    item, seed, resumes = arguments.get("item", "m"), arguments.get("seed", 1), arguments["resumes"]
    with open_run(
        config(name, uri), "train", item, {"seed": seed}, role=Role.MODEL, resumes=resumes
    ) as tracker:
        tracker.log_params({"a": 1})
    found = {run.info.run_id: run.info.status for run in runs(name, uri)}
    assert found.pop(first) == ("RUNNING" if alive else "KILLED")
    assert list(found.values()) == ["FINISHED"]


def test_a_checkout_is_a_folder(tmp_path: Path, monkeypatch: Any) -> None:
    here = checkout()
    assert checkout() == here
    monkeypatch.chdir(tmp_path)
    assert checkout() != here


class Project:
    """A folder with tiny parameters and prepared digits, in which stages really run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        yaml = YAML(typ="safe", pure=True)
        params = yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8"))
        params["prepare"] |= {"train_limit": 100, "test_limit": 20}
        params["densenet"] |= {"growth_rate": 2, "bottleneck_width": 1}
        params["recipe"] |= {"batch_size": 50, "epochs": EPOCHS}
        params["tracking"] |= {"store": "sqlite:///mlflow.db", "log_models": False}
        with (folder / "params.yaml").open("w", encoding="utf-8") as file:
            yaml.dump(params, file)
        config = load_section(PrepareConfig, "prepare", folder / "params.yaml")
        prepare(config, folder / "data/prepared", folder / "samples.png")

    def start(self, pipeline: str) -> subprocess.Popen[bytes]:
        environment = os.environ | {"PYTHONPATH": str(ROOT), "GQBENCH_PIPELINE_RUN": pipeline}
        command = [sys.executable, "-m", "stages.train", "--depth", "10"]
        return subprocess.Popen(command, cwd=self.folder, env=environment)

    def kill_training(self, pipeline: str) -> None:
        """Start a training and end it by SIGKILL once its first epoch is in the store."""
        process = self.start(pipeline)
        try:
            while not self.epochs():
                assert process.poll() is None, "the training ended before it was killed"
                time.sleep(0.05)
        finally:
            process.kill()
        assert process.wait() == -signal.SIGKILL

    def epochs(self) -> list[int]:
        """Return the epochs that the last training's run holds."""
        # Not before the training itself has made the store: two processes cannot make its tables at once.
        if not (self.folder / "checkpoints/recognition/densenet10/last.pt").exists():
            return []
        history = mlflow.MlflowClient(self.store).get_metric_history
        found = [run for run in self.runs() if run.data.tags["role"] == Role.MODEL]
        return [metric.step for metric in history(found[-1].info.run_id, "train_loss")]

    def runs(self) -> list[Any]:
        """Return all runs, oldest first."""
        return runs("gqbench", self.store)

    @property
    def store(self) -> str:
        return f"sqlite:///{self.folder}/mlflow.db"


def test_after_sigkill_the_next_training_goes_on_with_the_run(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.kill_training("first")
    assert [run.info.status for run in project.runs()] == [
        "RUNNING",
        "RUNNING",
    ]  # the parent and the training
    killed = len(project.epochs())
    assert 0 < killed < EPOCHS
    assert project.start("second").wait() == 0
    parents = {run.info.run_name: run for run in project.runs() if run.data.tags["role"] == Role.PIPELINE}
    assert {name: run.info.status for name, run in parents.items()} == {
        "pipeline first": "KILLED",
        "pipeline second": "FINISHED",
    }
    (training,) = [run for run in project.runs() if run.data.tags["role"] == Role.MODEL]
    assert training.info.status == "FINISHED"
    assert training.data.tags["mlflow.parentRunId"] == parents["pipeline second"].info.run_id
    assert project.epochs() == list(range(1, EPOCHS + 1))
