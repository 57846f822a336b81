"""The tables of the accuracy test say what was trained on what, and hold all data sets."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.config import load_section
from pipelines.errors import UserError
from pipelines.experiments.convergence import ConvergenceConfig
from pipelines.experiments.convergence.summary import join_parity, summarise_parity
from pipelines.results import Row, read_json, write_json
from tests.imports import ROOT

NUM_TRAIN = {"digits": 1146, "cifar10": 8500}


def runs(method: str, accuracies: list[float]) -> list[Row]:
    facts = {"model": "m", "workers": 2, "steps": 8, "global_batch_size": 128, "epoch": 2, "seconds": 3.0}
    facts |= {"commit": "c", "device": "d", "method": method}
    return [facts | {"seed": seed, "test_accuracy": value} for seed, value in enumerate(accuracies, start=1)]


def test_the_tables_of_all_sets_become_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_section(ConvergenceConfig, "convergence", ROOT / "params.yaml")
    config = replace(config, parity=replace(config.parity, methods=("gq4", "sdp")))
    monkeypatch.chdir(tmp_path)
    for data, num_train in NUM_TRAIN.items():
        meta = {"checksum": data, "num_train": num_train, "num_test": 450, "image_size_pixels": 8}
        write_json(Path("data/convergence") / data / "meta.json", meta)
        write_json(Path("results/convergence/parity") / data / "sdp.json", runs("sdp", [0.5, 0.6]))
        write_json(Path("results/convergence/parity") / data / "gq4.json", runs("gq4", [0.51, 0.61]))
        summarise_parity(config, data)
    join_parity(config)
    rows = read_json(Path("results/convergence/parity.json"))
    assert {row["data"]: row["num_train_images"] for row in rows} == NUM_TRAIN
    assert {(row["method"], row["reference"], row["epochs"], row["num_seeds"]) for row in rows} == {
        ("gq4", "sdp", 2, 2)
    }
    for row in rows:
        assert row["difference_points"] == pytest.approx(1.0)
    with pytest.raises(UserError, match="'svhn' is no key"):
        summarise_parity(config, "svhn")
