"""Least squares for the machine's free parameters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from pipelines.parallel.traces.trace import Trace
from pipelines.speedup.calibration.cells import Cell
from pipelines.speedup.calibration.prediction import CellPredictor
from pipelines.speedup.simulator import IDEAL, Machine

DIFFERENCE = 1e-4
"""Step of the numeric derivative, in the unit interval that every parameter is mapped to."""
OUTLIER = 0.08
"""Relative error from which on a cell counts less than by its square (soft L1)."""


@dataclass(frozen=True)
class Range:
    """A free parameter: from `low` to `high`, in equal ratios where that is how it is known."""

    low: float
    high: float
    geometric: bool

    def value(self, unit: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map [0, 1] to the range."""
        if self.geometric:
            return np.asarray(self.low * (self.high / self.low) ** unit)
        return self.low + (self.high - self.low) * unit


FREE_PARAMETERS = {
    "efficiency": Range(0.85, 1.0, geometric=False),
    "cycle_share": Range(0.0, 1.0, geometric=False),
    "message_seconds": Range(1e-5, 1e-2, geometric=True),
    "fp32_seconds_per_byte": Range(1e-10, 1e-8, geometric=True),
    "fp16_seconds_per_byte": Range(1e-10, 1e-7, geometric=True),
    "int32_seconds_per_byte": Range(1e-10, 1e-8, geometric=True),
    "bytes_seconds_per_byte": Range(1e-10, 1e-7, geometric=True),
    "pair_factor": Range(1.0, 2.0, geometric=False),
    "tensor_seconds": Range(1e-6, 1e-3, geometric=True),
    "hook_seconds": Range(1e-7, 1e-4, geometric=True),
    "view_seconds_per_byte": Range(1e-11, 2e-9, geometric=True),
    "codec_factor": Range(0.5, 3.0, geometric=True),
    "core_share": Range(0.0, 1.0, geometric=False),
    "overlap_rate": Range(0.2, 1.0, geometric=False),
    "wire_rate": Range(0.2, 1.0, geometric=False),
    "straggler_sigma": Range(0.0, 0.2, geometric=False),
}
"""Fields of `Machine` that are fitted."""


def machine_of(units: NDArray[np.float64]) -> Machine:
    """Return the machine, or machines, of [parameters] or [machines, parameters] numbers in [0, 1]."""
    columns = np.atleast_2d(units).T[:, :, None]
    values = {
        key: column
        for (key, bounds), unit in zip(FREE_PARAMETERS.items(), columns, strict=True)
        for column in (bounds.value(unit),)
    }
    return Machine(**{**vars(IDEAL), **values})


def fit(
    cells: Sequence[Cell],
    traces: Mapping[tuple[str, int], Trace],
    entries: Mapping[str, Mapping[str, object]],
) -> Machine:
    """Return the machine whose predictions of `cells` are closest, by the logarithm of predicted over measured.

    `cycle_seconds` of the result is 0: it is a setting, not a parameter.
    """
    predictor = CellPredictor(cells, traces, entries)
    measured = np.log([cell.measured_seconds for cell in cells])

    def residuals(units: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.log(predictor.predict(machine_of(units))[0]) - measured)

    def jacobian(units: NDArray[np.float64]) -> NDArray[np.float64]:
        # Inwards at the upper bound.
        signs = np.where(units > 0.5, -DIFFERENCE, DIFFERENCE)
        logs = np.log(predictor.predict(machine_of(np.vstack([units, units + np.diag(signs)]))))
        return np.asarray(((logs[1:] - logs[0]) / signs[:, None]).T)

    count = len(FREE_PARAMETERS)
    found = least_squares(
        residuals,
        np.full(count, 0.5),
        jac=jacobian,
        bounds=(np.zeros(count), np.ones(count)),
        loss="soft_l1",
        f_scale=OUTLIER,
        max_nfev=60,
    )
    fitted = machine_of(found.x)
    return Machine(**{key: float(np.squeeze(value)) for key, value in vars(fitted).items()})
