import csv
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.config.validate import FieldError
from pipelines.data import AugmentConfig, PreparedData, Split
from pipelines.errors import UserError
from pipelines.evaluation import EvaluateConfig, evaluate
from pipelines.evaluation.evaluate import resolve_device
from pipelines.evaluation.latency import measure_latency
from pipelines.models import DenseNetConfig, build_model, count_parameters, spec_of
from pipelines.results import read_json, write_csv, write_json
from pipelines.tracking import NullTracker
from pipelines.training import Checkpoint, RecipeConfig
from pipelines.training.checkpoint import save_checkpoint

DENSENET = DenseNetConfig(
    growth_rate=4,
    bottleneck=True,
    bottleneck_width=2,
    compression=0.5,
    initial_width=None,
    blocks={},
    dropout=0.0,
    discard_rate=0.0,
    discard_granularity="layer",
    discard_group_size=4,
    memory_efficient=False,
)
RECIPE = RecipeConfig(
    epochs=4,
    batch_size=8,
    learning_rate=0.1,
    schedule="step",
    milestones=(0.5, 0.75),
    decay_factor=0.1,
    warmup_epochs=0,
    momentum=0.9,
    nesterov=True,
    weight_decay=0.0,
    seed=1,
    device="cpu",
    precision="float32",
    memory_format="contiguous",
    execution="eager",
    evaluation_batch_size=16,
    augment=AugmentConfig(crop_padding=0, flip=False, cutout=0),
)
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
    generator = torch.Generator().manual_seed(0)

    def split(size: int) -> Split:
        images = torch.randint(0, 256, (size, 1, 8, 8), dtype=torch.uint8, generator=generator)
        return Split(images, torch.arange(size) % 3)

    return PreparedData(
        name="random",
        class_names=("a", "b", "c"),
        mean=(0.5,),
        std=(0.3,),
        checksum="0" * 64,
        train=split(6),
        validation=split(6),
        test=split(45),
    )


def write_run(folder: Path, name: str, model_name: str, data: PreparedData, seed: int = 1) -> int:
    """Write a checkpoint and training results as the training stages do; return the number of parameters."""
    model = build_model(model_name, num_channels=1, num_classes=3, image_size=8, densenet=DENSENET, seed=seed)
    history: list[dict[str, int | float]] = [
        {
            "epoch": epoch,
            "learning_rate": 0.1,
            "train_loss": 1 / epoch,
            "train_accuracy": 0.5,
            "validation_loss": 1 / epoch,
            "validation_accuracy": 0.5,
            "seconds": 1.0,
        }
        for epoch in range(1, 5)
    ]
    checkpoint = Checkpoint(
        spec=spec_of(model),
        recipe=asdict(replace(RECIPE, seed=seed)),
        data_name=data.name,
        class_names=data.class_names,
        mean=data.mean,
        std=data.std,
        data_checksum=data.checksum,
        epoch=4,
        best_epoch=3,
        finished=True,
        history=history,
        model_state=model.state_dict(),
        optimizer_state=None,
        generator_states={},
    )
    save_checkpoint(checkpoint, folder / "checkpoints" / name / "best.pt")
    summary = {"epochs": 4, "best_validation_accuracy": 0.5, "train_seconds": 4.0, "device": "x"}
    write_json(folder / f"results/train/{name}.json", summary)
    write_csv(folder / f"results/train/{name}.csv", history)
    return count_parameters(model)


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
    assert rows[0]["parameters"] == num_parameters
    assert rows[0]["num_test"] == 45
    assert rows[0]["inference_latency_seconds_median"] > 0
    assert {"commit", "device", "torch_version", "data_checksum", "epochs", "train_seconds"} <= set(rows[0])
    assert all(not isinstance(value, dict | list) for row in rows for value in row.values())
    results = tmp_path / "results"
    assert read_json(results / "recognition.json") == rows
    assert len(read_json(results / "recognition_pairs.json")) == 3
    seeds = read_json(results / "recognition_seeds.json")
    assert [(row["model"], row["num_seeds"]) for row in seeds] == [("densenet10", 2), ("densenet16", 1)]
    metrics = read_json(results / "recognition.metrics.json")
    assert metrics["densenet10"]["test_accuracy"] == rows[0]["test_accuracy"]
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


def test_warm_up_lies_outside_the_clock() -> None:
    class Slow(torch.nn.Module):
        calls = 0

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            time.sleep(0.2 if self.calls <= 2 else 0.005)
            return images

    model = Slow()
    latency = measure_latency(model, torch.zeros(1, 1, 2, 2), num_warmup=2, num_repeats=5)
    assert model.calls == 7
    assert 0.005 <= latency.median_seconds < 0.2
    assert latency.iqr_seconds >= 0


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
