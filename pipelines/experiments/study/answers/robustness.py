"""The table of shifted test images: rows over corruptions, severities and seeds become one line a model."""

from collections.abc import Sequence

import numpy as np

from pipelines.experiments.study.answers.claims import robust_accuracies
from pipelines.results import Row
from pipelines.tables import Column, Spread, percent

REFERENCE = "vgg16_bn"
"""Whose errors the relative mean corruption error divides by, as AlexNet's in Hendrycks and Dietterich 2019."""


def robustness_rows(corruption: Sequence[Row]) -> list[Row]:
    """Return a row a model from a row a seed, corruption and severity.

    robust_accuracy_mean and _std: over seeds, of the mean over corruptions and severities. error_CORRUPTION: mean
    error over severities and seeds. mean_corruption_error: mean of these; relative_corruption_error: mean over the
    corruptions of the error divided by that of `REFERENCE`, None where that was not trained.
    """
    accuracy = robust_accuracies(corruption)
    kinds = list(dict.fromkeys(row["corruption"] for row in corruption))
    errors = {model: {kind: _error(corruption, model, kind) for kind in kinds} for model in accuracy}
    rows = []
    for model, seeds in accuracy.items():
        values = list(seeds.values())
        relative = None
        if REFERENCE in errors:
            relative = float(np.mean([errors[model][kind] / errors[REFERENCE][kind] for kind in kinds]))
        rows.append(
            {
                "data": corruption[0]["data"],
                "model": model,
                "num_seeds": len(values),
                "robust_accuracy_mean": float(np.mean(values)),
                "robust_accuracy_std": float(np.std(values, ddof=1)) if len(values) > 1 else None,
                **{f"error_{kind}": errors[model][kind] for kind in kinds},
                "mean_corruption_error": float(np.mean(list(errors[model].values()))),
                "relative_corruption_error": relative,
            }
        )
    return rows


def _error(corruption: Sequence[Row], model: str, kind: str) -> float:
    """Return the mean error of a model over seeds and severities of a corruption."""
    mine = [row for row in corruption if (row["model"], row["corruption"]) == (model, kind)]
    return 1 - float(np.mean([row["test_accuracy"] for row in mine]))


def robustness_columns(rows: Sequence[Row]) -> tuple[Column, ...]:
    """Return the columns of the table of `robustness_rows`, one a corruption among them."""
    kinds = [key.removeprefix("error_") for key in (rows[0] if rows else {}) if key.startswith("error_")]
    return (
        Column("model", "model"),
        Column("accuracy", "accuracy on shifted images", str, max),
        *(Column(f"error_{kind}", f"error, {kind.replace('_', ' ')}", percent, min) for kind in kinds),
        Column("mean_corruption_error", "mean corruption error", percent, min),
        Column("relative_corruption_error", f"relative to {REFERENCE}", percent, min),
    )


def shown_robustness(rows: Sequence[Row]) -> list[Row]:
    """Return rows of `robustness_rows` with the composed cell of the table."""
    return [
        row | {"accuracy": Spread(row["robust_accuracy_mean"], row["robust_accuracy_std"], row["num_seeds"])}
        for row in rows
    ]
