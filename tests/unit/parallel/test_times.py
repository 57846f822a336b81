"""The parts of a step over several workers."""

import numpy as np
import pytest
import torch

from pipelines.parallel.metering import metered
from pipelines.parallel.metering.step_times import (
    StepTimes,
    as_array,
    interquartile_range,
    slowest_worker,
    summarise,
    window_means,
)


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
    assert summary["step_seconds_median"] == 3.0
    assert summary["step_seconds_iqr"] == np.subtract(*np.percentile(steps[:, 0], [75, 25]))
    assert summary["compute_seconds_median"] == 1.5
    assert summary["decode_seconds_median"] == 0.375


def test_a_rare_exchange_counts_for_the_steps_that_wait_for_it() -> None:
    # Seven steps of an interval of three: steps 0, 3 and 6 exchange, the first before any whole window.
    steps = np.array([[9.0], [1.0], [2.0], [6.0], [1.0], [1.0], [10.0]])
    assert window_means(steps, 3).tolist() == [[3.0], [4.0]]
    workers = np.stack([steps, 2 * steps])
    assert window_means(workers, 3).tolist() == [[[3.0], [4.0]], [[6.0], [8.0]]]


@pytest.mark.parametrize("num_steps", [7, 20])
def test_fewer_steps_than_a_window_are_one_window(num_steps: int) -> None:
    steps = np.arange(7.0).reshape(7, 1)
    assert window_means(steps, num_steps).tolist() == [[3.0]]


def test_windows_of_one_step_are_the_steps() -> None:
    steps = np.random.default_rng(0).random((2, 5, 5))
    assert np.array_equal(window_means(steps, 1), steps)


@pytest.mark.parametrize("values", [[], [1.0]])
def test_a_single_value_has_no_spread(values: list[float]) -> None:
    assert interquartile_range(values) == 0.0


def test_nested_clocks_share_out_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting inside a decompression inside a wait, as with buckets behind the stock optimizer: each second once."""
    ticks = iter([0.0, 1.0, 3.0, 7.0, 8.0, 10.0])
    monkeypatch.setattr(metered, "seconds_now", lambda device: next(ticks))
    meter = metered.CostMeter(torch.device("cpu"))
    with meter.waiting(), meter.decoding(), meter.waiting():
        pass
    cost = meter.take()
    assert (cost.encode_seconds, cost.decode_seconds, cost.communication_seconds) == (0.0, 3.0, 7.0)
