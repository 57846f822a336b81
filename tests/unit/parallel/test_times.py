"""The parts of a step over several workers."""

import numpy as np
import pytest

from pipelines.parallel.times import StepTimes, as_array, interquartile_range, slowest_worker, summarise


def test_the_slowest_worker_of_each_step_is_kept_whole() -> None:
    first = [StepTimes(3.0, 2.0, 0.5, 0.25, 0.25), StepTimes(1.0, 0.7, 0.1, 0.1, 0.1)]
    second = [StepTimes(2.0, 1.0, 0.5, 0.25, 0.25), StepTimes(4.0, 3.0, 0.5, 0.25, 0.25)]
    kept = slowest_worker(np.stack([as_array(first), as_array(second)]))
    assert kept.tolist() == as_array([first[0], second[1]]).tolist()
    # What a reader adds up in the figure is the step itself.
    assert np.allclose(kept[:, 1:].sum(axis=1), kept[:, 0], rtol=1e-12)


def test_summary_has_medians_and_the_quartile_distance() -> None:
    steps = as_array([StepTimes(float(s), s / 2, s / 4, s / 8, s / 8) for s in (1, 2, 3, 4, 100)])
    summary = summarise(steps)
    assert summary["timed_steps"] == 5
    assert summary["step_seconds_median"] == 3.0
    assert summary["step_seconds_iqr"] == np.subtract(*np.percentile(steps[:, 0], [75, 25]))
    assert summary["compute_seconds_median"] == 1.5
    assert summary["decode_seconds_median"] == 0.375


@pytest.mark.parametrize("values", [[], [1.0]])
def test_a_single_value_has_no_spread(values: list[float]) -> None:
    assert interquartile_range(values) == 0.0
