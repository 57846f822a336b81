"""What a training and its evaluation log, and what of it is in a store."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pipelines.tracking import Role, TrackingConfig, open_run
from pipelines.tracking.vocabulary import CURVE_SECONDS, trained_model
from tests.unit.tracking.stores import mlflow

EPOCHS = 3
HISTORY = [{"epoch": epoch, "seconds": 2.0, "loss": 1 / epoch} for epoch in range(1, EPOCHS + 1)]
# Differ from run to run, as they must.
_OWN = ("gqbench.identity", "gqbench.owner", "gqbench.checkout", "mlflow.parentRunId", "mlflow.loggedModels")
# What started the run and at which state of the code: the same for all runs of a test, but not of its process.
_PROGRAM = ("command", "commit", "mlflow.source.name", "mlflow.source.git.commit", "mlflow.source.git.dirty")


class Shift(nn.Module):
    """Returns the mean of each channel, shifted: output [b, c] from [b, c, h, w]."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.tensor(0.25))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean((2, 3)) + self.shift


def log_training(
    config: TrackingConfig, folder: Path, between: Callable[[int], None] = lambda _: None
) -> None:
    """Log a training and an evaluation of it; `between` is called with 0, 1, ... before every call."""
    numbers: Iterator[int] = iter(range(1000))

    def step() -> None:
        between(next(numbers))

    figure = folder / "curve.png"
    figure.write_bytes(b"picture")
    summary = {
        "model": "m",
        "data": "digits",
        "data_checksum": "c" * 64,
        "seed": 1,
        "commit": "0123",
        "train_seconds": 2.0 * EPOCHS,
        "epochs": EPOCHS,
        "batch_size": 8,
        "learning_rate": 0.1,
        "best_epoch": 2,
    }
    tags = trained_model(summary).tags
    step()
    with open_run(config, "train", "m", tags, role=Role.MODEL) as tracker:
        step()
        tracker.log_params({"recipe": {"epochs": EPOCHS}, **{f"p{index}": index for index in range(120)}})
        for epoch in range(1, EPOCHS + 1):
            step()
            tracker.log_history(HISTORY[:epoch])
        step()
        tracker.log_dataset("digits", "c" * 64, {"train": 7}, "training")
        step()
        tracker.log_model("shift", Shift().eval(), np.zeros((1, 3, 4, 4), np.float32), 2)
        step()
        tracker.log_metrics({"accuracy": 0.75, "not_finite": float("nan")})
        step()
    step()
    with open_run(config, "evaluate", None, {}) as tracker:
        step()
        tracker.run_of(trained_model(summary)).log_metrics({"test_accuracy": 0.5})
        # A training that this store has never seen gets a run of its own.
        other = trained_model(summary | {"model": "other", "train_seconds": 7.0}, HISTORY)
        step()
        tracker.run_of(other).log_metrics({"test_accuracy": 0.25})
        step()
        tracker.log_figure(figure)
        step()
        tracker.pipeline().set_note("the findings")


def content(store: str, experiment: str) -> list[dict[str, Any]]:
    """Return all that the store holds of an experiment's runs, number by number, in an order of their own."""
    client = mlflow.MlflowClient(store)
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return []
    runs = client.search_runs([found.experiment_id])
    return sorted(
        (_content(client, run) for run in runs),
        key=lambda run: (run["name"], run["status"], sorted(run["params"].items())),
    )


def _content(client: Any, run: Any) -> dict[str, Any]:
    run_id, start = run.info.run_id, run.info.start_time
    numbers = []
    for key in run.data.metrics:
        for metric in client.get_metric_history(run_id, key):
            # A curve's time is the training's own; of the other numbers it is the moment at which they were told.
            moment = metric.timestamp - start if metric.step else None
            numbers.append((key, metric.step, repr(metric.value), moment))
    models = [
        client.get_logged_model(one.model_id) for one in (run.outputs.model_outputs if run.outputs else [])
    ]
    return {
        "name": run.info.run_name,
        "status": run.info.status,
        "params": run.data.params,
        "tags": {key: value for key, value in run.data.tags.items() if key not in _OWN + _PROGRAM},
        "numbers": Counter(numbers),
        "data": [(one.dataset.name, one.dataset.digest) for one in run.inputs.dataset_inputs],
        "models": [
            (model.name, str(model.status), model.experiment_id == run.info.experiment_id) for model in models
        ],
        "versions": [(one.name, one.version) for one in client.search_model_versions(f"run_id = '{run_id}'")],
        "files": [one.path for one in client.list_artifacts(run_id, "figures")],
        "curve": CURVE_SECONDS in run.data.metrics,
    }
