import csv
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.config.validate import FieldError
from pipelines.data import PreparedData
from pipelines.errors import UserError
from pipelines.evaluation.config import EvaluateConfig
from pipelines.evaluation.evaluate import resolve_device
from pipelines.evaluation.latency import measure_latency
from pipelines.evaluation.stage import evaluate
from pipelines.results import read_json
from pipelines.tracking import NullTracker
from tests.unit.evaluation.trained_run import make_data, write_run

CONFIG = EvaluateConfig(
    batch_size=16,
    device="cpu",
    calibration_bins=5,
    bootstrap_samples=50,
    confidence=0.9,
    seed=0,
    latency_warmup=1,
    latency_repeats=3,
)


@pytest.fixture
def data() -> PreparedData:
    return make_data()


def run(folder: Path, data: PreparedData, *models: str) -> list[dict[str, Any]]:
    return evaluate(
        models,
        data,
        CONFIG,
        checkpoints=folder / "checkpoints",
        results=folder / "results",
        tracker=NullTracker(),
    )


def test_rows_and_files(data: PreparedData, tmp_path: Path) -> None:
    num_parameters = write_run(tmp_path, "densenet10", "densenet10", data)
    write_run(tmp_path, "densenet10-seed7", "densenet10", data, seed=7)
    write_run(tmp_path, "densenet16", "densenet16", data)
    rows = run(tmp_path, data, "densenet10", "densenet16")
    assert [(row["model"], row["seed"]) for row in rows] == [
        ("densenet10", 1),
        ("densenet10", 7),
        ("densenet16", 1),
    ]
    assert rows[0]["num_parameters"] == num_parameters
    assert rows[0]["num_test"] == 45
    assert rows[0]["inference_latency_seconds_median"] > 0
    assert {"commit", "device", "torch_version", "data_checksum", "epochs", "train_seconds"} <= set(rows[0])
    assert all(not isinstance(value, dict | list) for row in rows for value in row.values())
    results = tmp_path / "results"
    assert read_json(results / "recognition.json") == rows
    assert len(read_json(results / "recognition_pairs.json")) == 3
    seeds = read_json(results / "recognition_seeds.json")
    assert [(row["model"], row["num_seeds"]) for row in seeds] == [("densenet10", 2), ("densenet16", 1)]
    metrics = read_json(results / "metrics/recognition/densenet10.json")
    assert metrics["test_accuracy"] == rows[0]["test_accuracy"]
    assert len(list((results / "metrics/recognition").iterdir())) == 2  # further seeds are no models
    with (results / "evaluate/confusion/densenet16.csv").open() as file:
        pairs = [(row["actual"], row["predicted"]) for row in csv.DictReader(file)]
    assert sum(actual == predicted for actual, predicted in pairs) / 45 == rows[2]["test_accuracy"]
    drawn = {path.name for path in (results / "figures/recognition").iterdir()}
    names = ("densenet10", "densenet10-seed7", "densenet16")
    assert drawn == {
        "curves.png",
        "roc.png",
        "accuracy_parameters.png",
        "accuracy_seconds.png",
        *(f"{kind}-{name}.png" for kind in ("roc", "confusion") for name in names),
    }


def test_the_same_run_gives_the_same_metrics_and_figures(data: PreparedData, tmp_path: Path) -> None:
    write_run(tmp_path, "densenet10", "densenet10", data)
    first = run(tmp_path, data, "densenet10")[0]
    picture = (tmp_path / "results/figures/recognition/roc-densenet10.png").read_bytes()
    second = run(tmp_path, data, "densenet10")[0]
    assert [key for key in first if first[key] != second[key] and not key.startswith("inference_")] == []
    assert (tmp_path / "results/figures/recognition/roc-densenet10.png").read_bytes() == picture


def test_a_model_without_a_run_is_named(data: PreparedData, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"checkpoints/densenet10/best.pt: cannot be read .*train the model first"
    ):
        run(tmp_path, data, "densenet10")


def test_a_run_on_other_data_is_refused(data: PreparedData, tmp_path: Path) -> None:
    write_run(tmp_path, "densenet10", "densenet10", data)
    with pytest.raises(
        UserError, match=r"best.pt: was trained on other data \(checksum 0000.*train densenet10 again"
    ):
        run(tmp_path, replace(data, checksum="1" * 64), "densenet10")


def test_warm_up_lies_outside_the_clock(monkeypatch: Any) -> None:
    now = 0.0

    class Slow(torch.nn.Module):
        calls = 0

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            nonlocal now
            self.calls += 1
            now += 0.2 if self.calls <= 2 else 0.001 * self.calls
            return images

    monkeypatch.setattr(time, "perf_counter", lambda: now)
    model = Slow()
    latency = measure_latency(model, torch.zeros(1, 1, 2, 2), num_warmup=2, num_repeats=5)
    assert model.calls == 7
    # Calls 3 to 7 take 3 to 7 ms: median 5, quartiles 4 and 6.
    assert latency.median_seconds == pytest.approx(0.005)
    assert latency.iqr_seconds == pytest.approx(0.002)


def test_missing_gpu_is_a_user_error(monkeypatch: Any) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == torch.device("cpu")
    with pytest.raises(UserError, match=r"evaluate.device: 'cuda' is not available"):
        resolve_device("cuda")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("confidence", 1.0),
        ("bootstrap_samples", 5),
        ("latency_repeats", 0),
        ("device", "tpu"),
        ("batch_size", 0),
    ],
)
def test_values_out_of_range(key: str, value: Any) -> None:
    with pytest.raises(FieldError, match=f"{key}: .* is not allowed"):
        replace(CONFIG, **{key: value})
