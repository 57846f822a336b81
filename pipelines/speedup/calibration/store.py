"""The committed calibration: the fitted machine, its errors, the validation's rows; and the suite's traces."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipelines.errors import UserError
from pipelines.parallel.traces.trace import Trace
from pipelines.results import Row, read_json
from pipelines.results.compact import write_compact_json
from pipelines.speedup.simulator import Machine

DATA = Path(__file__).parents[1] / "data"
"""Committed with the code: a prediction needs no measurement of its own."""
ALL = "all"
"""Key of the error over all methods."""
MORE_WORKERS = DATA / "more_workers.json"
"""Measured rows of more than two workers, as of a sweep."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What a prediction starts from."""

    machine: Machine
    """Fitted on all cells of two workers; `cycle_seconds` is that of the sweep."""
    errors: Mapping[str, float]
    """Mean absolute percentage error of cells that were not used for fitting, as a share; by method, and `all`."""
    validation: Sequence[Row]
    """The predictions behind the errors, beside what was measured."""
    provenance: Mapping[str, Any]
    """Commit, machine, command and the files that it read."""

    def error_of(self, method: str) -> float:
        """Return the error of a method, or that of all where it was not in the sweep."""
        return self.errors.get(method, self.errors[ALL])

    def write(self, folder: Path) -> None:
        """Write `calibration.json` in `folder`."""
        write_compact_json(folder / "calibration.json", asdict(self))


def load_calibration(folder: Path = DATA) -> Calibration:
    """Read what `Calibration.write` wrote; UserError where it is missing."""
    values = read_json(folder / "calibration.json")
    return Calibration(**{**values, "machine": Machine(**values["machine"])})


def traced_models(folder: Path = DATA) -> list[str]:
    """Return the models that have a committed trace, the smaller ones first."""
    return [
        path.stem
        for path in sorted((folder / "traces").glob("*.json"), key=lambda path: (len(path.stem), path.stem))
    ]


def load_trace(model: str, folder: Path = DATA) -> Trace:
    """Read the committed trace of a model; UserError with the known ones where there is none."""
    known = traced_models(folder)
    if model not in known:
        raise UserError(f"model {model!r} has no trace; allowed: {', '.join(known)}")
    return Trace.read(trace_file(model, folder))


def trace_file(model: str, folder: Path = DATA, batch_size: int | None = None) -> Path:
    """Return the file of the committed trace of a model; `batch_size`: of cells with another one than the sweep's."""
    other = "" if batch_size is None else f"batch{batch_size}"
    return folder / "traces" / other / f"{model}.json"


def load_cell_trace(model: str, batch_size: int, folder: Path = DATA) -> Trace:
    """Read the trace of cells with this batch size; UserError where it is missing."""
    usual = load_trace(model, folder)
    return usual if usual.batch_size == batch_size else Trace.read(trace_file(model, folder, batch_size))
