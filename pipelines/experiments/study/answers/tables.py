"""Tables of the study: how rows over seeds become one line each."""

from collections.abc import Sequence

import numpy as np

from pipelines.evaluation.comparison import summarise_seeds
from pipelines.experiments.study.answers.claims import Claim
from pipelines.experiments.study.answers.published import PUBLISHED
from pipelines.intervals import deviation
from pipelines.results import Row
from pipelines.tables import (
    Column,
    Interval,
    Spread,
    count,
    decimal,
    mebibytes,
    milliseconds,
    percent,
    seconds,
    times,
)


def rate(value: float) -> str:
    """Return a learning rate without trailing zeros."""
    return f"{value:g}"


def published_percent(value: float) -> str:
    """Return a published error as its source prints it."""
    return f"{value:g} %"


COMPARISON = (
    Column("model", "model"),
    Column("num_parameters", "parameters", count, min),
    Column("num_multiply_adds", "multiply-adds", count, min),
    Column("learning_rate", "rate", rate),
    Column("accuracy", "test accuracy", str, max),
    Column("auc_macro", "AUC macro", str, max),
    Column("auc_micro", "AUC micro", str, max),
    Column("test_loss_mean", "NLL", decimal, min),
    Column("calibration_error_mean", "calibration error", decimal, min),
    Column("peak_memory_bytes", "memory of a step", mebibytes, min),
    Column("train_seconds", "training", seconds, min),
    Column("published_error_percent", "published error", published_percent),
)

TUNING = (
    Column("model", "model"),
    Column("learning_rate", "initial rate", rate),
    Column("best_validation_accuracy", "validation accuracy", percent, max),
    Column("best_validation_loss", "validation loss", decimal, min),
    Column("result", "result"),
)

DROPS = (
    Column("model", "model"),
    Column("learning_rate", "initial rate", rate),
    Column("epoch", "drop at epoch", count),
    Column("accuracy_before", "validation accuracy before", percent),
    Column("accuracy_after", "after", percent),
    Column("accuracy_trend", "change in the epoch before", percent),
    Column("loss_before", "validation loss before", decimal),
    Column("loss_after", "after", decimal),
)

ABLATION = (
    Column("variant", "variant"),
    Column("changed", "changed"),
    Column("accuracy", "test accuracy", str, max),
    Column("num_parameters", "parameters", count, min),
    Column("num_multiply_adds", "multiply-adds in evaluation", count, min),
    Column("train_multiply_adds", "multiply-adds in training", count, min),
    Column("step_seconds_median", "training step", milliseconds, min),
    Column("step_over_reference", "step over reference", times, min),
    Column("peak_memory_bytes", "peak memory", mebibytes, min),
)

# What the rows of all seeds share.
OF_MODEL = (*("data", "num_parameters", "num_multiply_adds", "learning_rate", "epochs"),)
OF_VARIANT = (
    *("data", "model", "variant", "changed", "epochs", "num_parameters", "num_multiply_adds"),
    *("train_multiply_adds", "step_seconds_median", "step_over_reference", "peak_memory_bytes"),
)


def comparison_rows(rows: Sequence[Row], steps: Sequence[Row]) -> list[Row]:
    """Return a row a model from a row a seed: statistics over the seeds that did not diverge.

    A model that diverged with every seed has no statistics; num_diverged counts such seeds. train_seconds is what the
    steps of a run take by the times of `steps`, the rows of `time_models`; None where these lack the model.
    """
    trained = [row for row in rows if row["test_accuracy"] is not None]
    statistics = {row["model"]: row for row in summarise_seeds(trained)}
    table = []
    for model in dict.fromkeys(row["model"] for row in rows):
        mine = [row for row in trained if row["model"] == model]
        every = [row for row in rows if row["model"] == model]
        first = every[0]
        summary = {"model": model, "num_seeds": 0} | statistics.get(model, {})
        row = summary | {key: first[key] for key in OF_MODEL} | {"num_diverged": len(every) - len(mine)}
        published = PUBLISHED.get(model)
        row["published_error_percent"] = None if published is None else published.error_percent
        row["published_source"] = None if published is None else published.source
        for metric in ("auc_macro", "auc_micro") if mine else ():
            row[f"{metric}_low"] = min(one[f"{metric}_low"] for one in mine)
            row[f"{metric}_high"] = max(one[f"{metric}_high"] for one in mine)
        row["train_seconds"] = _train_seconds(first, steps)
        row["peak_memory_bytes"] = first.get("peak_memory_bytes")  # rows of earlier versions have none
        table.append(row)
    return table


def _train_seconds(run: Row, steps: Sequence[Row]) -> float | None:
    """Return the seconds of the steps of `run`; None where its model was not timed."""
    for row in steps:
        if row["model"] == run["model"]:
            num_steps = run["epochs"] * run["num_train_images"] / row["batch_size"]
            return float(num_steps * row["step_seconds_median"])
    return None


def shown_comparison(rows: Sequence[Row]) -> list[Row]:
    """Return rows of `comparison_rows` with the composed cells of the table `COMPARISON`."""
    shown = []
    for row in rows:
        cells: Row = {}
        if row["num_seeds"]:
            cells["accuracy"] = Spread(row["test_accuracy_mean"], row["test_accuracy_std"], row["num_seeds"])
            for metric in ("auc_macro", "auc_micro"):
                bounds = row[f"{metric}_low"], row[f"{metric}_high"]
                cells[metric] = Interval(row[f"{metric}_mean"], *bounds)
        if row["num_diverged"]:
            cells["model"] = f"{row['model']} ({row['num_diverged']} diverged)"
        shown.append(row | cells)
    return shown


def shown_tuning(rows: Sequence[Row]) -> list[Row]:
    """Return tuning rows with what became of each rate in words."""
    words = {True: "chosen", False: None}
    return [row | {"result": "diverged" if row["diverged"] else words[row["chosen"]]} for row in rows]


def ablation_rows(rows: Sequence[Row], steps: Sequence[Row]) -> list[Row]:
    """Return a row a variant from a row a seed.

    train_seconds is that of the unchanged model in `comparison_rows`, by the ratio of both steps.
    """
    table = []
    for variant in dict.fromkeys(row["variant"] for row in rows):
        every = [row for row in rows if row["variant"] == variant]
        values = [row["test_accuracy"] for row in every if row["test_accuracy"] is not None]
        row = {key: every[0][key] for key in OF_VARIANT}
        row["num_seeds"], row["num_diverged"] = len(values), len(every) - len(values)
        row["test_accuracy_mean"] = float(np.mean(values)) if values else None
        row["test_accuracy_std"] = deviation(values)
        unchanged = _train_seconds(every[0], steps)
        row["train_seconds"] = None if unchanged is None else row["step_over_reference"] * unchanged
        table.append(row)
    return table


def shown_ablation(rows: Sequence[Row]) -> list[Row]:
    """Return rows of `ablation_rows` with the composed cells of the table `ABLATION`."""
    return [
        row | {"accuracy": Spread(row["test_accuracy_mean"], row["test_accuracy_std"], row["num_seeds"])}
        if row["num_seeds"]
        else row
        for row in rows
    ]


def claim_rows(data: str, claims: Sequence[Claim]) -> list[Row]:
    """Return a row a claim, followed by one a test of it (claim_answer: that of the whole claim)."""
    rows: list[Row] = []
    for claim in claims:
        common: Row = {"experiment": "claim", "data": data, "claim": claim.key, "statement": claim.statement}
        common |= {"claim_answer": claim.answer, "reason": claim.reason}
        rows.append({**common, "test": None, "answer": claim.answer})
        rows += [{**common, **test} for test in claim.tests]
    return rows
