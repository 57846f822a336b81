"""The names under which MLflow shows a run: one vocabulary for all stages (docs/mlflow.md explains them).

A parameter without a dot is a column that runs are compared by; one with a dot is that key of params.yaml. A metric
without a slash was measured; those before a slash (`predicted/...`) form a section of MLflow's charts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pipelines.results import Row


class Role(StrEnum):
    """What a run describes, its tag `role`."""

    PIPELINE = "pipeline"
    """The parent of all stages of one pipeline run."""
    MODEL = "model"
    """A model trained by the recipe: curves, and what the evaluation finds."""
    METHOD = "method"
    """A model trained on several workers by a parallel method: curves, step time, bytes, accuracy, acceleration."""
    STAGE = "stage"
    """A stage that trains nothing: its figures and files."""


CURVE_SECONDS = "train_seconds"
"""Metric by epoch: seconds of training since its start, interruptions left out. Its last value is the whole time."""

TRAINING_METRICS = {
    "best_epoch": "best_epoch",
    "best_validation_accuracy": "best_validation_accuracy",
    "images_per_second": "samples_per_second",
    "num_parameters": "num_parameters",
    "num_multiply_adds": "num_multiply_adds",
}
"""Field of a training summary: metric of the model's run."""

EVALUATION_METRICS = {
    "test_accuracy": "test_accuracy",
    "test_accuracy_low": "test_accuracy_low",
    "test_accuracy_high": "test_accuracy_high",
    "test_loss": "test_loss",
    "auc_macro": "auc_macro",
    "auc_micro": "auc_micro",
    "calibration_error": "calibration_error",
    "inference_latency_seconds_median": "inference_latency_seconds",
}
"""Field of a row of recognition.json: metric of the model's run."""

DISTRIBUTED_METRICS = {
    "test_accuracy": "test_accuracy",
    "test_loss": "test_loss",
    "step_seconds_median": "step_seconds",
    "compute_seconds_median": "compute_seconds",
    "encode_seconds_median": "encode_seconds",
    "communication_seconds_median": "communication_seconds",
    "decode_seconds_median": "decode_seconds",
    "local_step_seconds_median": "local_step_seconds",
    "wire_bytes_per_step": "wire_bytes_per_step",
    "sent_bytes_per_step": "sent_bytes_per_step",
    "compression_ratio": "compression_ratio",
    "num_parameters": "num_parameters",
}
"""Field of a row of distributed.json: metric of the method's run."""

SPEEDUP_METRICS = {
    "acceleration_ratio": "acceleration",
    "acceleration_over_reference": "acceleration_over_reference",
    "samples_per_second": "samples_per_second",
}
"""Field of a measured row of speedup.json: metric of the method's run."""

LINK_METRICS = {"acceleration_ratio": "acceleration", "step_seconds": "step_seconds"}
"""Field of a row of speedup.json for a slower link: metric `predicted/NAME_LINK`, see `link_metrics`."""

# Bits of a value on the wire where the strategy fixes them; elsewhere they are a parameter or vary.
_FIXED_BITS = {"sdp": 32, "sdp_fp16": 16, "ssp": 32}


@dataclass(frozen=True)
class Subject:
    """A finished training that a later stage has numbers about, as its result row describes it."""

    role: Role
    item: str
    """Name of the model, or MODEL-METHOD."""
    row: Row
    """The training's summary: data, data_checksum, seed, commit and train_seconds identify its run."""
    params: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    history: Sequence[Mapping[str, Any]] = ()
    """A row per epoch; like `params` and `metrics` for a run that has to be made, as the store has none."""

    @property
    def tags(self) -> dict[str, str]:
        """The tags that its run carries."""
        shared = {key: str(self.row[key]) for key in ("model", "data_checksum", "seed", "commit")}
        method = {"method": str(self.row["method"])} if "method" in self.row else {}
        return {"role": self.role, "item": self.item, **shared, **method}


def chosen(row: Row, names: Mapping[str, str]) -> dict[str, float]:
    """Return the metrics that `names` (field: metric) takes from a result row; fields it lacks are left out."""
    return {metric: float(row[key]) for key, metric in names.items() if row.get(key) is not None}


def link_metrics(row: Row) -> dict[str, float]:
    """Return the metrics of a row of speedup.json for a slower link, such as `predicted/acceleration_100mbit`.

    Where the link was measured there are both, `measured/...` as well.
    """
    named = {
        f"predicted/{name}_{row['link']}": row.get(f"predicted_{key}") for key, name in LINK_METRICS.items()
    }
    if row["source"] == "measured":
        named |= {f"measured/{name}_{row['link']}": row.get(key) for key, name in LINK_METRICS.items()}
    return {name: float(value) for name, value in named.items() if value is not None}


def training_params(row: Row) -> dict[str, Any]:
    """Return the columns of a model's run from its training summary."""
    shared = {key: row[key] for key in ("model", "data", "epochs", "batch_size", "learning_rate", "seed")}
    return {**shared, "workers": 1}


def distributed_params(
    *,
    model: str,
    method: str,
    entry: Mapping[str, Any],
    data: str,
    workers: int,
    batch_size: int,
    **more: Any,
) -> dict[str, Any]:
    """Return the columns of a method's run.

    Args:
        entry: the method's entry in the section `methods` of params.yaml.
        batch_size: images of a step on one worker; the column counts those of all workers.
        more: further columns, taken over as they are.
    """
    bits = entry.get("wire_bits", _FIXED_BITS.get(str(entry["strategy"])))
    columns = {
        "model": model,
        "method": method,
        "strategy": entry["strategy"],
        "data": data,
        "workers": workers,
        "batch_size": workers * batch_size,
    }
    return {**columns, **({} if bits is None else {"wire_bits": bits}), **more}


def link_between(hosts: int) -> str:
    """Return the column `link`: what connects the workers of a run on so many hosts."""
    return "memory" if hosts == 1 else "network"


def trained_model(summary: Row, history: Sequence[Row] = (), name: str | None = None) -> Subject:
    """Return the model's run that a training summary (results/train) and its epochs describe.

    Args:
        name: name of the run in the result files; the model's where it is None.
    """
    item = name or str(summary["model"])
    params, metrics = training_params(summary), chosen(summary, TRAINING_METRICS)
    return Subject(Role.MODEL, item, summary, params, metrics, history)


def distributed_run(row: Row, history: Sequence[Row] = ()) -> Subject:
    """Return the method's run that a row of distributed.json and its epochs describe."""
    params = distributed_params(
        model=row["model"],
        method=row["method"],
        entry=row,
        data=row["data"],
        workers=row["workers"],
        batch_size=row["batch_size_per_worker"],
        link=link_between(row["hosts"]),
        epochs=row["epochs"],
        seed=row["seed"],
    )
    item = f"{row['model']}-{row['method']}"
    return Subject(Role.METHOD, item, row, params, chosen(row, DISTRIBUTED_METRICS), history)
