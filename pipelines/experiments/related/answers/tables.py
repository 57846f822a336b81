"""Tables of the systems: rows over seeds become one a variant."""

import math
from collections.abc import Sequence

import numpy as np

from pipelines.experiments.related.system import System
from pipelines.intervals import deviation, mean_interval
from pipelines.report.related import VARIANTS
from pipelines.results import Row
from pipelines.tables import Column

SAME = (
    "data",
    "model",
    "variant",
    "role",
    "epochs",
    "num_train_images",
    "published_accuracy",
    "published_source",
)
"""What all seeds of a variant share."""
AVERAGED = (
    *(
        "test_accuracy",
        "test_loss",
        "num_parameters",
        "num_trained_parameters",
        "num_multiply_adds",
        "train_seconds",
    ),
    *("inference_latency_seconds_median", "inference_images_per_second", "finish_difference"),
    *("reference_bytes_per_step", "compressed_bytes_per_step"),
    *("workers_test_accuracy", "workers_test_loss", "workers_bytes_per_step", "workers_train_seconds"),
)


def variant_rows(system: System, rows: Sequence[Row]) -> list[Row]:
    """Return a row a variant from the rows of the runs on one data set, a seed each.

    KEY_mean over the seeds that have the number, with KEY_std (n - 1; None for one); for accuracies and the system's
    score KEY_low and KEY_high, the bounds of the 95 % t interval of the mean.
    """
    runs = [row for row in rows if row["experiment"] == "run"]
    keys = [*AVERAGED, *(column.key for column in system.columns)]
    table = []
    for variant in system.variants():
        mine = [row for row in runs if row["variant"] == variant.name]
        if not mine:
            continue
        row: Row = {"experiment": "variant", "system": system.name, "what": variant.what}
        row |= {key: mine[0][key] for key in SAME}
        row["prepared"] = mine[0].get("prepared")  # rows of earlier versions have none
        row["learning_rate"] = mine[0]["learning_rate"]
        row["num_seeds"] = sum(not one["diverged"] for one in mine)
        row["num_diverged"] = sum(bool(one["diverged"]) for one in mine)
        row["workers_reason"] = next(
            (one["workers_reason"] for one in mine if one.get("workers_reason")), None
        )
        for key in keys:
            values = [one[key] for one in mine if one.get(key) is not None]
            row |= statistics_of(key, values, system.score)
        table.append(row)
    return table


def statistics_of(key: str, values: Sequence[float], score: str = "test_accuracy") -> Row:
    """Return the mean of a field over seeds, its deviation, and of accuracies and the `score` the t interval of it."""
    mean = float(np.mean(values)) if values else None
    std = deviation(values)
    row: Row = {f"{key}_mean": mean, f"{key}_std": std}
    if key.endswith("accuracy") or key == score:
        # Equal values: the interval is a point.
        low, high = mean_interval(values) or ((mean, mean) if len(values) > 1 else (None, None))
        most = 1.0 if key.endswith("accuracy") else math.inf
        row[f"{key}_low"] = None if low is None else max(0.0, low)
        row[f"{key}_high"] = None if high is None else min(most, high)
        row[f"{key}_seeds"] = len(values)
    return row


def columns_of(system: System) -> list[Column]:
    """Return the columns of a system's table: those of all, without accuracies where it has none, then its own."""
    own = [Column(f"{one.key}_mean", one.heading, one.format, one.best) for one in system.columns]
    classifies = system.score == "test_accuracy"
    return [*(one for one in VARIANTS if classifies or not one.key.endswith("accuracy")), *own]
