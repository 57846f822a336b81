"""Paired tests between all pairs of models of one data set: over the seeds, and on the shared test images."""

import itertools
from collections.abc import Sequence

from pipelines.evaluation.comparison import compare_pairs
from pipelines.experiments.study.answers.claims import SIGNIFICANCE, ScoresBySeed, accuracies, interval_test
from pipelines.report.claims import difference_cells
from pipelines.results import Row
from pipelines.tables import Column, decimal

PAIRS = (
    Column("first", "model"),
    Column("second", "other model"),
    Column("difference", "mean difference"),
    Column("interval", "95 % interval"),
    Column("p_values", "p of each seed"),
    Column("rejections", "seeds with p < 0.05"),
)


def pair_rows(data: str, comparison: Sequence[Row], scores: ScoresBySeed) -> list[Row]:
    """Return a row per pair of models: their difference over seeds, and McNemar's exact test of each seed.

    The seeds of a pair are those with which neither diverged. difference: mean test accuracy of the first model
    minus that of the second over these seeds, difference_low and _high its 95 % t interval (None for one seed).
    p_values_holm: a p-value a seed, corrected for the pairs of that seed (Holm). They share their test images, so
    they are dependent and not combined; num_first_better and num_second_better count the seeds that reject equal
    accuracy at level 0.05, by the model that is ahead.

    Args:
        data: name of the data set.
        comparison: a row a model and seed; test_accuracy None where the run diverged.
        scores: of the test part, by model and seed that did not diverge.
    """
    accuracy = accuracies(comparison)
    tests = _tests_by_seed(scores)
    rows: list[Row] = []
    for first, second in itertools.combinations(accuracy, 2):
        seeds = [seed for seed in accuracy[first] if seed in accuracy[second]]
        over_seeds = interval_test("", [accuracy[first][seed] - accuracy[second][seed] for seed in seeds])
        mine = [tests[seed][first, second] for seed in seeds]
        ahead = [test["accuracy_difference"] for test in mine if test["p_value_holm"] < SIGNIFICANCE]
        rows.append(
            {
                "data": data,
                "first": first,
                "second": second,
                "seeds": seeds,
                **{key: over_seeds[key] for key in ("difference", "difference_low", "difference_high")},
                "p_values_holm": [test["p_value_holm"] for test in mine],
                "num_first_better": sum(difference > 0 for difference in ahead),
                "num_second_better": sum(difference < 0 for difference in ahead),
            }
        )
    return rows


def _tests_by_seed(scores: ScoresBySeed) -> dict[int, dict[tuple[str, str], Row]]:
    """Return McNemar's test by seed and pair, corrected for the pairs of the seed."""
    seeds = dict.fromkeys(seed for mine in scores.values() for seed in mine)
    return {
        seed: {
            (test["first"], test["second"]): test
            for test in compare_pairs({model: mine[seed] for model, mine in scores.items() if seed in mine})
        }
        for seed in seeds
    }


def shown_pairs(rows: Sequence[Row]) -> list[Row]:
    """Return rows of `pair_rows` with the composed cells of the table `PAIRS`."""
    return [
        row
        | difference_cells(row)
        | {"p_values": ", ".join(map(decimal, row["p_values_holm"])) or None, "rejections": _rejections(row)}
        for row in rows
    ]


def _rejections(row: Row) -> str:
    """Say how many seeds reject equal accuracy, and which model is ahead there."""
    counts = {row["first"]: row["num_first_better"], row["second"]: row["num_second_better"]}
    ahead = ", ".join(f"{model} better in {number}" for model, number in counts.items() if number)
    return f"{sum(counts.values())} of {len(row['seeds'])}{f': {ahead}' if ahead else ''}"
