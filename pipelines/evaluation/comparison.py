"""Comparisons between models: over seeds, and in pairs on the same test images."""

import itertools
from collections.abc import Sequence

import numpy as np
from scipy.stats import binomtest

from pipelines.evaluation.scores import Scores
from pipelines.intervals import deviation
from pipelines.results import Row

# The metrics that are averaged over seeds.
SUMMARISED = (
    "test_accuracy",
    "test_loss",
    "auc_macro",
    "auc_micro",
    "calibration_error",
    "train_seconds",
)


def summarise_seeds(rows: Sequence[Row]) -> list[Row]:
    """Return a row per model: number of seeds, and mean and standard deviation of each metric over them.

    The deviation is the sample's (n - 1), None for a single seed.
    """
    summary = []
    for model in dict.fromkeys(row["model"] for row in rows):
        mine = [row for row in rows if row["model"] == model]
        result: Row = {"model": model, "num_seeds": len(mine), "seeds": [row["seed"] for row in mine]}
        for metric in SUMMARISED:
            values = [row[metric] for row in mine]
            result[f"{metric}_mean"] = float(np.mean(values))
            result[f"{metric}_std"] = deviation(values)
        summary.append(result)
    return summary


def compare_pairs(scores: dict[str, Scores]) -> list[Row]:
    """Return a row per pair of runs: McNemar's exact test of equal accuracy on the same test images.

    Under the null hypothesis an image that just one of the two gets right is either's with probability 1/2
    (McNemar 1947; exact binomial form). `p_value_holm` is corrected for the number of pairs (Holm 1979).
    """
    rows: list[Row] = []
    for first, second in itertools.combinations(scores, 2):
        only_first = int((scores[first].correct & ~scores[second].correct).sum())
        only_second = int((scores[second].correct & ~scores[first].correct).sum())
        num_discordant = only_first + only_second
        p_value = binomtest(only_first, num_discordant).pvalue if num_discordant else 1.0
        num_images = len(scores[first].labels)
        rows.append(
            {
                "first": first,
                "second": second,
                "only_first_correct": only_first,
                "only_second_correct": only_second,
                "accuracy_difference": (only_first - only_second) / num_images,
                "p_value": float(p_value),
            }
        )
    for row, corrected in zip(rows, holm([row["p_value"] for row in rows]), strict=True):
        row["p_value_holm"] = corrected
    return rows


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values corrected for their number by Holm's step-down method, in the given order."""
    order = np.argsort(p_values, kind="stable")
    corrected = np.empty(len(p_values))
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return [float(value) for value in corrected]
