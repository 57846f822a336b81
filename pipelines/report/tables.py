"""Tables of the report: which columns of the result rows are shown."""

from collections.abc import Sequence

from pipelines.results import Row
from pipelines.tables import (
    Column,
    Interval,
    count,
    decimal,
    milliseconds,
    percent,
    percent_interval,
    seconds,
    times,
)


def shown_recognition(rows: Sequence[Row]) -> list[Row]:
    """Return evaluated runs with the composed cells of the table `RECOGNITION`."""
    bounded = ("test_accuracy", "auc_macro", "auc_micro")
    return [
        row | {key: Interval(row[key], row[f"{key}_low"], row[f"{key}_high"]) for key in bounded}
        for row in rows
    ]


def shown_pairs(rows: Sequence[Row]) -> list[Row]:
    """Return rows of `pipelines.evaluation.comparison.compare_pairs` with the composed cells of the table `PAIRS`."""
    return [row | {"difference": f"{100 * row['accuracy_difference']:+.3g} points"} for row in rows]


RECOGNITION = (
    Column("model", "model"),
    Column("test_accuracy", "test accuracy", percent_interval, max),
    Column("test_loss", "test loss", decimal, min),
    Column("auc_macro", "AUC macro", str, max),
    Column("auc_micro", "AUC micro", str, max),
    Column("calibration_error", "calibration error", decimal, min),
    Column("num_parameters", "parameters", count, min),
    Column("num_multiply_adds", "multiply-adds", count, min),
    Column("inference_latency_seconds_median", "latency, one image", milliseconds, min),
    Column("epochs", "epochs", count),
    Column("train_seconds", "training", seconds, min),
)

RECOGNITION_SHORT = (
    Column("model", "model"),
    Column("test_accuracy", "test accuracy", percent_interval, max),
    Column("auc_macro", "AUC macro", lambda interval: decimal(interval.value), max),
    Column("num_parameters", "parameters", count, min),
    Column("inference_latency_seconds_median", "latency, one image", milliseconds, min),
    Column("train_seconds", "training", seconds, min),
)

PAIRS = (
    Column("first", "model"),
    Column("second", "other model"),
    Column("difference", "difference"),
    Column("only_first_correct", "only the model correct", count),
    Column("only_second_correct", "only the other correct", count),
    Column("p_value", "p", decimal),
    Column("p_value_holm", "p (Holm)", decimal),
)

DISTRIBUTED_SHORT = (
    Column("model", "model"),
    Column("method", "method"),
    Column("step_seconds_median", "step (median)", milliseconds, min),
    Column("acceleration_ratio", "acceleration", times, max),
    Column("wire_bytes_per_step", "bytes a step", count, min),
    Column("test_accuracy", "test accuracy", percent, max),
)

DISTRIBUTED = (
    Column("model", "model"),
    Column("method", "method"),
    Column("workers", "workers", count),
    Column("step_seconds_median", "step (median)", milliseconds, min),
    Column("step_seconds_iqr", "step (IQR)", milliseconds),
    Column("compute_seconds_median", "compute", milliseconds),
    Column("encode_seconds_median", "encode", milliseconds),
    Column("communication_seconds_median", "communication", milliseconds),
    Column("decode_seconds_median", "decode", milliseconds),
    Column("wire_bytes_per_step", "bytes a step", count, min),
    Column("compression_ratio", "compression", times, max),
    Column("train_loss", "train loss", decimal),
    Column("test_accuracy", "test accuracy", percent, max),
)

SPEEDUP = (
    Column("model", "model"),
    Column("method", "method"),
    Column("link", "link"),
    Column("source", "source"),
    Column("step_seconds", "step", milliseconds, min),
    Column("predicted_step_seconds", "predicted step", milliseconds),
    Column("prediction_error", "mean error of such predictions", percent),
    Column("samples_per_second", "samples/s", decimal, max),
    Column("epoch_seconds", "epoch", seconds, min),
    Column("acceleration_ratio", "acceleration over one worker", times, max),
    Column("acceleration_over_reference", "over the reference", times, max),
)

TARGET = (
    Column("model", "model"),
    Column("workers", "workers", count),
    Column("study_method", "method"),
    Column("method", "by"),
    Column("steps", "steps (measured)"),
    Column("curve_model", "curve of"),
    Column("step_seconds", "step (simulated)", milliseconds, min),
    Column("seconds_to_target", "time", seconds, min),
    Column("gigabytes_to_target", "GB sent by all", decimal, min),
    Column("price_to_target", "price", decimal, min),
)


def shown_target(rows: Sequence[Row]) -> list[Row]:
    """Return rows of target.json on the slowest link, with the composed cells of the table `TARGET`."""
    slowest = min((row["link_mbit_per_second"] for row in rows), default=None)
    return [
        row | {"steps": _steps(row), "cell": f"{row['model']} {row['workers']}"}
        for row in rows
        if row["link_mbit_per_second"] == slowest
    ]


def _steps(row: Row) -> str:
    steps = row["steps_to_target"]
    return f"not reached (best: {percent(row['best_accuracy'])})" if steps is None else count(steps)
