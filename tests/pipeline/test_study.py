"""A tiny but real `make study` without the data of its second set: what can run is run and summarised."""

import pytest

from tests.pipeline.workspace import Workspace, stages_run

MODELS = ["densenet10"]
SEEDS = [1, 2]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = Workspace(tmp_path_factory.mktemp("checkout"))
    workspace.set_params(
        prepare__download=False,
        densenet__growth_rate=4,
        study__digits__train_limit=200,
        study__digits__test_limit=60,
        study__digits__epochs=1,
        study__digits__models=MODELS,
        study__digits__learning_rates=[0.1],
        study__digits__seeds=SEEDS,
        study__digits__curve_models=[],
        study__digits__ablated_model=None,
    )
    workspace.commit("tiny study")
    return workspace


@pytest.fixture(scope="module")
def outputs(workspace: Workspace) -> list[str]:
    """What the commands of `make study` print."""
    status, first = workspace.attempt("dvc", "repro", "--keep-going", "experiments/study/dvc.yaml")
    assert status != 0
    return [first, workspace.run("dvc", "repro", "--single-item", "experiments/study/dvc.yaml:summarise")]


def test_missing_data_stop_the_stages_of_their_set_alone(outputs: list[str]) -> None:
    ran = stages_run(outputs[0])
    assert {name.removeprefix("experiments/study/dvc.yaml:") for name in ran} == {
        "prepare@digits",
        "prepare@fashion_mnist",
        "prepare@cifar10",
        "prepare@cifar10_whole",
        *(f"compare_digits@{model}" for model in MODELS),
        "time@digits",
        "ablate_digits",
    }
    assert "error: " in outputs[0]
    assert "Traceback" not in outputs[0]


def test_what_ran_is_summarised(workspace: Workspace, outputs: list[str]) -> None:
    assert stages_run(outputs[1]) == ["experiments/study/dvc.yaml:summarise"]
    rows = workspace.json("results/study/study.json")
    compared = [(row["model"], row["seed"]) for row in rows if row["experiment"] == "comparison"]
    assert compared == [(model, seed) for model in MODELS for seed in SEEDS]
    assert "not run" in (workspace.folder / "results/study/study.md").read_text(encoding="utf-8")


def test_a_second_run_trains_nothing_again(workspace: Workspace, outputs: list[str]) -> None:
    assert outputs
    status, again = workspace.attempt("dvc", "repro", "--keep-going", "experiments/study/dvc.yaml")
    assert status != 0
    sets = ("fashion_mnist", "cifar10", "cifar10_whole")
    missing = {f"experiments/study/dvc.yaml:prepare@{data}" for data in sets}
    assert set(stages_run(again)) == missing
