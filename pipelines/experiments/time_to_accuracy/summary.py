"""Results of the trainings on a slow link: seconds and bytes to the reference's accuracy, and the curves."""

from collections.abc import Sequence
from itertools import product

import numpy as np

from pipelines.data.prepared import META_FILE
from pipelines.experiments.convergence.figures import draw_curves
from pipelines.experiments.time_to_accuracy.config import DATA, RESULTS, RUNS, TimeToAccuracyConfig
from pipelines.intervals import deviation, mean_interval
from pipelines.report.time_to_accuracy import COLUMNS, RULE, shown_rows
from pipelines.results import Row, read_json, write_json
from pipelines.tables import make_table, markdown

Curve = list[Row]
"""The rows of one training, an epoch each, in order."""
Runs = dict[tuple[str, int], Curve]
"""By method and seed."""
AVERAGED = ("seconds", "sent_megabytes", "train_loss", "test_loss", "test_accuracy")


def summarise(config: TimeToAccuracyConfig) -> None:
    """Compare the methods with the reference, model by model.

    Reads results/time_to_accuracy/runs; writes time_to_accuracy.json, a row a model and method, the curves' means over
    the seeds as curves.json and curves_MODEL.svg, and all as a page, time_to_accuracy.md.
    """
    meta = read_json(DATA / META_FILE)
    facts: Row = {
        "data": config.data,
        "data_checksum": meta["checksum"],
        "num_train_images": meta["num_train"],
        "num_test_images": meta["num_test"],
        "image_size_pixels": meta["image_size_pixels"],
        "link": config.link,
    }
    rows: list[Row] = []
    means: list[Row] = []
    for path in RESULTS.glob("curves_*.svg"):
        path.unlink()
    for model in config.models:
        runs = read_runs(config, model)
        rows += [facts | row for row in compare(runs, config.reference, config.margin_points)]
        mine = mean_curves(runs)
        draw_curves(mine, RESULTS / f"curves_{model}.svg")
        means += mine
    write_json(RESULTS / "time_to_accuracy.json", rows)
    write_json(RESULTS / "curves.json", means)
    pictures = [
        f"![{model}: loss and accuracy, means over the seeds](curves_{model}.svg)" for model in config.models
    ]
    parts = ["# Time to accuracy", RULE, markdown(make_table(shown_rows(rows), COLUMNS, "model")), *pictures]
    (RESULTS / "time_to_accuracy.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def read_runs(config: TimeToAccuracyConfig, model: str) -> Runs:
    """Read the rows of all methods of a model."""
    rows = [row for method in config.methods for row in read_json(RUNS / model / f"{method}.json")]
    runs: Runs = {key: [] for key in product(config.methods, config.seeds)}
    for row in rows:
        runs[row["method"], row["seed"]].append(row)
    return runs


def first_reaching(curve: Curve, accuracy: float) -> Row | None:
    """Return the row of the first epoch whose test accuracy is at least `accuracy`; None where none is."""
    return next((row for row in curve if row["test_accuracy"] >= accuracy), None)


def compare(runs: Runs, reference: str, margin_points: float) -> list[Row]:
    """Return a row a method, in the order of `runs`.

    The accuracy to reach is that of the reference's last epoch with the same seed, less the margin. Seconds are those
    of the training steps, exchange included, up to the end of the first epoch that reaches it; scoring is not in them.
    `speed_up` is the geometric mean over the seeds of the reference's seconds to this accuracy over the method's, its
    bounds those of the t interval of the logarithms; None where a seed did not reach it, since those that did would
    speak for all.
    """
    methods = list(dict.fromkeys(method for method, _ in runs))
    seeds = list(dict.fromkeys(seed for _, seed in runs))
    last = {key: curve[-1] for key, curve in runs.items()}
    goals = {seed: last[reference, seed]["test_accuracy"] - margin_points / 100 for seed in seeds}
    first = {(method, seed): first_reaching(curve, goals[seed]) for (method, seed), curve in runs.items()}
    table = []
    for method in methods:
        row: Row = {"reference": reference, "margin_points": margin_points}
        row |= _at_the_end([(last[method, seed], last[reference, seed]) for seed in seeds])
        table.append(row | _reached([(first[method, seed], first[reference, seed]) for seed in seeds]))
    return table


def _at_the_end(pairs: Sequence[tuple[Row, Row]]) -> Row:
    """Return the fields about the last epoch, from that of the method and the reference, a pair a seed."""
    one = pairs[0][0]
    accuracies = [mine["test_accuracy"] for mine, _ in pairs]
    differences = [100 * (mine["test_accuracy"] - theirs["test_accuracy"]) for mine, theirs in pairs]
    low, high = mean_interval(differences) or (None, None)
    return {
        **{key: one[key] for key in ("model", "method", "workers", "steps", "global_batch_size")},
        "epochs": one["epoch"],
        "num_seeds": len(pairs),
        "test_accuracy_mean": float(np.mean(accuracies)),
        "test_accuracy_std": deviation(accuracies),
        "difference_points": float(np.mean(differences)),
        "difference_low_points": low,
        "difference_high_points": high,
        "train_seconds_mean": float(np.mean([mine["seconds"] for mine, _ in pairs])),
        **{key: one[key] for key in ("device", "commit")},
    }


def _reached(firsts: Sequence[tuple[Row | None, Row | None]]) -> Row:
    """Return the fields about reaching the accuracy; but for the count None where a seed of the method has not."""
    pairs = [(mine, theirs) for mine, theirs in firsts if mine and theirs]
    counted: Row = {"num_reached": len(pairs)}
    if len(pairs) < len(firsts):
        keys = ("seconds_to_accuracy_mean", "seconds_to_accuracy_std", "megabytes_to_accuracy_mean")
        return counted | dict.fromkeys((*keys, "speed_up", "speed_up_low", "speed_up_high"))
    seconds = [one["seconds"] for one, _ in pairs]
    logarithms = [float(np.log(other["seconds"] / one["seconds"])) for one, other in pairs]
    low, high = mean_interval(logarithms) or (None, None)
    return counted | {
        "seconds_to_accuracy_mean": float(np.mean(seconds)),
        "seconds_to_accuracy_std": deviation(seconds),
        "megabytes_to_accuracy_mean": float(np.mean([one["sent_megabytes"] for one, _ in pairs])),
        "speed_up": float(np.exp(np.mean(logarithms))),
        "speed_up_low": None if low is None else float(np.exp(low)),
        "speed_up_high": None if high is None else float(np.exp(high)),
    }


def mean_curves(runs: Runs) -> list[Row]:
    """Return a row a method and epoch: the means over the seeds."""
    rows = []
    for method in dict.fromkeys(method for method, _ in runs):
        curves = [curve for (name, _), curve in runs.items() if name == method]
        for epoch in zip(*curves, strict=True):
            row = {key: epoch[0][key] for key in ("model", "method", "workers", "epoch", "steps")}
            rows.append(row | {key: float(np.mean([one[key] for one in epoch])) for key in AVERAGED})
    return rows
