"""Is a method's accuracy the reference's? Paired differences, confidence interval, equivalence test."""

from collections.abc import Sequence

import numpy as np
from scipy.special import stdtr

from pipelines.intervals import mean_interval
from pipelines.results import Row

SIGNIFICANCE = 0.05


def paired_equivalence(differences: Sequence[float], margin: float) -> Row:
    """Compare two methods by the paired differences of their accuracies, one a seed.

    Two one-sided t tests (Schuirmann 1987): the methods are equivalent at level 0.05 when both "the difference is at
    most -margin" and "at least margin" are rejected; where the first one is, the method is not worse (non-inferiority).
    The interval is the two-sided 95 % one. Where all differences are equal there is no spread to test against:
    nothing is decided, and interval, p-values and answers are None.

    Args:
        differences: at least two, in points.
        margin: in points, above 0.
    """
    values = np.asarray(differences, dtype=np.float64)
    mean, freedom = float(values.mean()), len(values) - 1
    low, high = mean_interval(differences) or (None, None)
    p_value = below = None
    if low is not None:
        error = float(values.std(ddof=1) / np.sqrt(len(values)))
        below = float(stdtr(freedom, -(mean + margin) / error))
        p_value = max(below, float(stdtr(freedom, (mean - margin) / error)))
    return {
        "difference_points": mean,
        "difference_low_points": low,
        "difference_high_points": high,
        "margin_points": margin,
        "equivalence_p_value": p_value,
        "equivalent": None if p_value is None else p_value < SIGNIFICANCE,
        "not_worse_p_value": below,
        "not_worse": None if below is None else below < SIGNIFICANCE,
    }


def parity_rows(runs: Sequence[Row], reference: str, margin: float) -> list[Row]:
    """Return a row a method from the rows of all epochs: the last epochs' test accuracies, paired by seed."""
    last = {(row["method"], row["seed"]): row for row in sorted(runs, key=lambda row: int(row["epoch"]))}
    seeds = [seed for method, seed in last if method == reference]
    rows = []
    for method in dict.fromkeys(method for method, _ in last if method != reference):
        pairs = [(last[method, seed], last[reference, seed]) for seed in seeds]
        mine, theirs = (np.array([100 * pair[k]["test_accuracy"] for pair in pairs]) for k in (0, 1))
        first = pairs[0][0]
        rows.append(
            {
                **{key: first[key] for key in ("model", "method", "workers", "steps", "global_batch_size")},
                "reference": reference,
                "epochs": first["epoch"],
                "num_seeds": len(seeds),
                "test_accuracy_mean": float(mine.mean()) / 100,
                "test_accuracy_std": float(mine.std(ddof=1)) / 100,
                "reference_accuracy_mean": float(theirs.mean()) / 100,
                "reference_accuracy_std": float(theirs.std(ddof=1)) / 100,
                **paired_equivalence((mine - theirs).tolist(), margin),
                "train_seconds_per_seed": float(np.mean([pair[0]["seconds"] for pair in pairs])),
                "reference_train_seconds_per_seed": float(np.mean([pair[1]["seconds"] for pair in pairs])),
                **{key: first[key] for key in ("device", "commit")},
            }
        )
    return rows
