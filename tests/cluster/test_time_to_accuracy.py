"""Tiny but real trainings on a slow link (`dvc repro`): two emulated nodes, every method and seed, the summary."""

import pytest

from tests.pipeline.workspace import Workspace

MODEL, METHODS, SEEDS, EPOCHS = "densenet10", ["sdp", "gq8_bucketed"], [1, 2], 2


@pytest.fixture(scope="module")
def workspace(machine: None, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = Workspace(tmp_path_factory.mktemp("checkout"))
    workspace.set_params(
        # Wide, so that a step's bytes take longer than what else differs between two runs.
        densenet__growth_rate=48,
        time_to_accuracy__data="digits",
        time_to_accuracy__train_limit=200,
        time_to_accuracy__test_limit=60,
        time_to_accuracy__image_size=None,
        time_to_accuracy__augment={"crop_padding": 0, "flip": False, "cutout": 0},
        time_to_accuracy__models={MODEL: {"epochs": EPOCHS, "global_batch_size": 64, "learning_rate": 0.1}},
        time_to_accuracy__methods=METHODS,
        time_to_accuracy__seeds=SEEDS,
        time_to_accuracy__margin_points=100.0,
    )
    workspace.commit("tiny trainings")
    workspace.run("dvc", "repro", "experiments/time_to_accuracy/dvc.yaml")
    return workspace


def test_every_epoch_of_every_seed_has_a_row(workspace: Workspace) -> None:
    for method in METHODS:
        rows = workspace.json(f"results/time_to_accuracy/runs/{MODEL}/{method}.json")
        assert [(row["seed"], row["epoch"]) for row in rows] == [(s, e) for s in SEEDS for e in (1, 2)]
        assert all(row["workers"] == 2 and row["sent_megabytes"] > 0 for row in rows)


def test_no_training_is_faster_than_its_link(workspace: Workspace) -> None:
    for method in METHODS:
        rows = workspace.json(f"results/time_to_accuracy/runs/{MODEL}/{method}.json")
        for row in rows:
            # 100 Mbit/s are 12.5 MB a second; a bucket passes at once.
            assert row["seconds"] >= 0.9 * row["sent_megabytes"] / 12.5


def test_the_first_epoch_reaches_what_asks_for_nothing(workspace: Workspace) -> None:
    rows = workspace.json("results/time_to_accuracy/time_to_accuracy.json")
    assert [(row["model"], row["method"], row["num_reached"]) for row in rows] == [
        (MODEL, method, len(SEEDS)) for method in METHODS
    ]
    sums, quantized = rows
    assert sums["speed_up"] == 1.0
    # Its first steps are in fp32, and so few follow in two epochs that 8 bits save no three quarters.
    assert quantized["megabytes_to_accuracy_mean"] < 0.75 * sums["megabytes_to_accuracy_mean"]
