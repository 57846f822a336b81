"""A kept network is evaluated from its checkpoint alone, to the row of the evaluation of its run."""

import dataclasses
from pathlib import Path

import pytest

from pipelines.config import load_section
from pipelines.errors import UserError
from pipelines.evaluation import EvaluateConfig
from pipelines.evaluation.kept import evaluate_kept
from pipelines.training import load_checkpoint, predict_logits, rebuild_model
from tests.imports import ROOT
from tests.unit.evaluation.trained_run import make_data, write_run


def make_config() -> EvaluateConfig:
    config = load_section(EvaluateConfig, "evaluate", ROOT / "params.yaml")
    return dataclasses.replace(config, bootstrap_samples=20, latency_repeats=1)


def test_kept_networks_have_the_accuracy_of_their_checkpoints(tmp_path: Path) -> None:
    data = make_data()
    for name in ("one", "two"):
        write_run(tmp_path, name, "densenet10", data)
    rows = evaluate_kept(tmp_path / "checkpoints", data, make_config())
    assert [row["kept"] for row in rows] == ["one", "two"]
    model = rebuild_model(load_checkpoint(tmp_path / "checkpoints/one/best.pt"))
    logits = predict_logits(model, data.test, data, batch_size=64, device="cpu")
    right = (logits.argmax(1) == data.test.labels).double().mean()
    assert rows[0]["test_accuracy"] == pytest.approx(float(right))
    assert rows[0]["model"] == "densenet10"


def test_other_data_and_an_empty_folder_are_told_in_one_line(tmp_path: Path) -> None:
    data = make_data()
    with pytest.raises(
        UserError, match=r"--checkpoints: .* holds no NAME/best.pt; allowed: a folder with such"
    ):
        evaluate_kept(tmp_path, data, make_config())
    write_run(tmp_path, "one", "densenet10", data)
    with pytest.raises(UserError, match=r"--data: .*one/best.pt was trained on other data than these"):
        evaluate_kept(tmp_path / "checkpoints", dataclasses.replace(data, checksum="other"), make_config())
