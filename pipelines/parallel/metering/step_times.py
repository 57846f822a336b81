"""The parts of a training step, per step and summarised over the workers."""

import statistics
from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

PARTS = ("compute", "encode", "communication", "decode")


@dataclass(frozen=True)
class StepTimes:
    """Seconds of one step on one worker; the four parts add up to the step.

    `communication` is what the worker waited for sums (exposed communication): sums that travel while the
    backward pass still computes cost nothing here.
    """

    step: float
    compute: float
    encode: float
    communication: float
    decode: float


def slowest_worker(times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keep the worker that took longest in each step or window: [workers, steps, 5] -> [steps, 5], as in StepTimes."""
    slowest = times[:, :, 0].argmax(axis=0)
    return np.asarray(times[slowest, np.arange(times.shape[1])])


def window_means(values: NDArray[np.float64], num_steps: int) -> NDArray[np.float64]:
    """Average over windows of `num_steps` steps, [..., steps, columns] -> [..., windows, columns].

    A method that exchanges every H-th step costs what H of its steps cost on average: their median would leave the
    exchange out. Windows are counted from the end; fewer steps than `num_steps` are one window.
    """
    steps, columns = values.shape[-2:]
    size = min(num_steps, steps)
    whole = values[..., steps % size :, :]
    return np.asarray(whole.reshape(*values.shape[:-2], steps // size, size, columns).mean(axis=-2))


def as_array(steps: Sequence[StepTimes]) -> NDArray[np.float64]:
    """Return the steps as an array [steps, 5] of seconds."""
    return np.array([astuple(step) for step in steps], dtype=np.float64).reshape(-1, 5)


def interquartile_range(values: Sequence[float]) -> float:
    """Return the distance of the quartiles, 0 for fewer than two values."""
    if len(values) < 2:
        return 0.0
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return high - low


def summarise(times: NDArray[np.float64]) -> dict[str, float]:
    """Return median and spread of [steps, 5] or [windows, 5] seconds under the keys of a result row."""
    steps = times[:, 0].tolist()
    summary = {
        "step_seconds_median": statistics.median(steps),
        "step_seconds_iqr": interquartile_range(steps),
    }
    for column, part in enumerate(PARTS, start=1):
        summary[f"{part}_seconds_median"] = statistics.median(times[:, column].tolist())
    return summary
