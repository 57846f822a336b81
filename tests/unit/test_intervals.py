"""Intervals against formulas worked out by hand."""

import pytest

from pipelines.intervals import mean_interval


def test_the_t_interval_of_three_values() -> None:
    # Mean 2, deviation 1, error 1 / sqrt 3, quantile of two degrees of freedom 4.302652729911275.
    low, high = mean_interval([1.0, 2.0, 3.0]) or (0.0, 0.0)
    half = 4.302652729911275 / 3**0.5
    assert (low, high) == (pytest.approx(2 - half), pytest.approx(2 + half))


@pytest.mark.parametrize("values", [[], [1.0], [0.3, 0.1 + 0.2, 0.3], [1e6, 1e6 * (1 + 1e-14)]])
def test_without_spread_there_is_none(values: list[float]) -> None:
    assert mean_interval(values) is None
