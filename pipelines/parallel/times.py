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
    """Keep for each step the worker that took longest: [workers, steps, 5] -> [steps, 5], as in StepTimes."""
    slowest = times[:, :, 0].argmax(axis=0)
    return np.asarray(times[slowest, np.arange(times.shape[1])])


def as_array(steps: Sequence[StepTimes]) -> NDArray[np.float64]:
    """Return the steps as an array [steps, 5] of seconds."""
    return np.array([astuple(step) for step in steps], dtype=np.float64).reshape(-1, 5)


def interquartile_range(values: Sequence[float]) -> float:
    """Return the distance of the quartiles, 0 for fewer than two values."""
    if len(values) < 2:
        return 0.0
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return high - low


def summarise(times: NDArray[np.float64]) -> dict[str, float | int]:
    """Return median and spread of [steps, 5] seconds under the keys of a result row."""
    steps = times[:, 0].tolist()
    summary: dict[str, float | int] = {
        "timed_steps": len(steps),
        "step_seconds_median": statistics.median(steps),
        "step_seconds_iqr": interquartile_range(steps),
    }
    for column, part in enumerate(PARTS, start=1):
        summary[f"{part}_seconds_median"] = statistics.median(times[:, column].tolist())
    return summary
