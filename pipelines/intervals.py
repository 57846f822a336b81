"""Confidence intervals: of a median, which need no distribution, and of a mean.

The distributions are those of scipy.special: scipy.stats takes a second and a half to import, and every worker does.
"""

from collections.abc import Sequence

import numpy as np
from scipy.special import bdtr, stdtrit

CONFIDENCE = 0.95
ROUNDING = 1e-12
"""A spread below this part of the values (below this, of values under 1) is that of rounding, and none."""


def median_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Return an interval that holds the population's median with a probability of at least 95 %.

    From order statistics: the number of values below the median is binomial (n, 1/2), whatever their distribution.
    None for fewer than six values, whose extremes hold it with less.
    """
    ordered = sorted(values)
    # The largest k with P(fewer than k values below the median) <= 2.5 %: the k-th value from either end.
    below = bdtr(np.arange(len(ordered) + 1), len(ordered), 0.5)
    k = int(np.searchsorted(below, (1 - CONFIDENCE) / 2))
    return (ordered[k - 1], ordered[-k]) if k else None


def deviation(values: Sequence[float]) -> float | None:
    """Return the sample's standard deviation (n - 1); None for fewer than two values."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def mean_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the two-sided 95 % t interval of the population's mean.

    None for fewer than two values, and for equal ones: without spread there is nothing to tell an interval from.
    """
    array = np.asarray(values, dtype=np.float64)
    if len(array) < 2 or float(np.ptp(array)) <= ROUNDING * max(1.0, float(np.abs(array).max())):
        return None
    error = float(array.std(ddof=1) / np.sqrt(len(array)))
    half_width = error * student_quantile((1 + CONFIDENCE) / 2, len(array) - 1)
    mean = float(array.mean())
    return mean - half_width, mean + half_width


def student_quantile(probability: float, freedom: int) -> float:
    """Return what a t distributed value with so many degrees of freedom stays below with `probability`."""
    return float(stdtrit(freedom, probability))
