"""Confidence intervals that need no distribution."""

from collections.abc import Sequence

from scipy.stats import binom

CONFIDENCE = 0.95


def median_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Return an interval that holds the population's median with a probability of at least 95 %.

    From order statistics: the number of values below the median is binomial (n, 1/2), whatever their distribution.
    None for fewer than six values, whose extremes hold it with less.
    """
    ordered = sorted(values)
    # The largest k with P(fewer than k values below the median) <= 2.5 %: the k-th value from either end.
    k = int(binom.ppf((1 - CONFIDENCE) / 2, len(ordered), 0.5))
    return (ordered[k - 1], ordered[-k]) if k else None
