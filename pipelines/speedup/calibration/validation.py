"""How good predictions are on cells that were not used for fitting: one link, or one model, is left out at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.parallel.traces.trace import Trace
from pipelines.results import Row
from pipelines.speedup.calibration.cells import Cell
from pipelines.speedup.calibration.fit import fit
from pipelines.speedup.calibration.prediction import CellPredictor

FITTED_WORKERS = 2
LEFT_OUT = ("link", "model")
"""Fields of a cell by which cells are left out together."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """A cell and its predicted step."""

    cell: Cell
    left_out: str
    """What was left out of the fit that predicts it: `link`, `model`; or `workers`, fitted on two workers alone."""
    predicted_seconds: float

    @property
    def error(self) -> float:
        """Predicted over measured, less 1."""
        return self.predicted_seconds / self.cell.measured_seconds - 1

    def row(self) -> Row:
        """Return a flat row for a result file."""
        return {
            "model": self.cell.model,
            "method": self.cell.method,
            "link": self.cell.link,
            "workers": self.cell.workers,
            "oversubscribed": self.cell.oversubscribed,
            "left_out": self.left_out,
            "predicted_seconds": self.predicted_seconds,
            "measured_seconds": self.cell.measured_seconds,
        }


def fitted_cells(cells: Sequence[Cell]) -> list[Cell]:
    """Return the cells that a fit may use: those of two workers, without `auto`.

    More workers judge how far the fit carries, and where they fill the cores the scheduler decides. What `auto` does
    follows from the other methods; its cells judge the fit and do not shape it.
    """
    return [
        cell
        for cell in cells
        if cell.workers == FITTED_WORKERS and not cell.oversubscribed and cell.method != "auto"
    ]


def validate(
    cells: Sequence[Cell],
    traces: Mapping[tuple[str, int], Trace],
    entries: Mapping[str, Mapping[str, object]],
) -> list[Prediction]:
    """Return a prediction of every cell of two workers for each field of `LEFT_OUT`, and one of all cells of more."""
    usual = [cell for cell in cells if cell.workers == FITTED_WORKERS and not cell.oversubscribed]
    others = [cell for cell in cells if cell not in usual]
    predictions = []
    for field in LEFT_OUT:
        for value in dict.fromkeys(getattr(cell, field) for cell in usual):
            test = [cell for cell in usual if getattr(cell, field) == value]
            train = [cell for cell in fitted_cells(usual) if getattr(cell, field) != value]
            predictions += _predictions(train, test, field, traces, entries)
    if others:
        predictions += _predictions(fitted_cells(usual), others, "workers", traces, entries)
    return predictions


def _predictions(
    train: Sequence[Cell],
    test: Sequence[Cell],
    left_out: str,
    traces: Mapping[tuple[str, int], Trace],
    entries: Mapping[str, Mapping[str, object]],
) -> list[Prediction]:
    machine = fit(train, traces, entries)
    steps = CellPredictor(test, traces, entries).predict(machine)[0]
    return [
        Prediction(cell=cell, left_out=left_out, predicted_seconds=float(step))
        for cell, step in zip(test, steps, strict=True)
    ]


def mean_error(predictions: Sequence[Prediction]) -> float:
    """Return the mean absolute percentage error, as a share."""
    return float(np.mean([abs(each.error) for each in predictions]))


def errors_by_method(predictions: Sequence[Prediction]) -> dict[str, float]:
    """Return the mean absolute percentage error of each method over all cells but those of full cores, as a share."""
    methods = dict.fromkeys(each.cell.method for each in predictions)
    usual = [each for each in predictions if not each.cell.oversubscribed]
    return {method: mean_error([each for each in usual if each.cell.method == method]) for method in methods}
