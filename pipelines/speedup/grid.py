"""A grid of predicted steps for the report's explorer: every traced model and method, on many networks.

Each point is what `python -m stages.speedup predict` answers for the same model, workers, bandwidth and latency.
"""

import hashlib
import inspect
import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.errors import UserError
from pipelines.parallel.strategies import STRATEGIES
from pipelines.parallel.traces.trace import Trace
from pipelines.results import Row
from pipelines.speedup.calibration.prediction import programs_of
from pipelines.speedup.calibration.store import (
    ALL,
    DATA,
    Calibration,
    load_calibration,
    load_trace,
    traced_models,
)
from pipelines.speedup.forecast import machine_for
from pipelines.speedup.scaling import simulated_steps
from pipelines.speedup.simulator import Machine

WORKERS = tuple(2**power for power in range(1, 11))
BANDWIDTHS_MBIT = (10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000)
"""Of a host's link."""
LATENCIES_MICROSECONDS = (10, 25, 50, 200, 1_000, 5_000)
"""One way from host to host; 25 is that of the emulated cluster."""
DIGITS = 4
"""Significant digits of a step in the grid."""

Steps = list[list[float]]
"""Milliseconds, [latencies][bandwidths]."""


def grid(models: Sequence[str] | None = None, workers: Sequence[int] = WORKERS) -> dict[str, Any]:
    """Return the grid of `models` (None: all that are traced) as a JSON document, deterministic.

    Its `steps` are milliseconds, [model][method][workers][latencies][bandwidths]; None where a method cannot have so
    many workers: `impossible` says why.
    """
    calibration = load_calibration()
    machine = machine_for(calibration, "gloo")
    traces = [load_trace(model) for model in models or traced_models()]
    methods = list(dict.fromkeys(method for trace in traces for method in trace.codecs))
    steps: dict[str, dict[str, list[Steps | None]]] = {}
    impossible: dict[str, dict[int, str]] = {}
    for trace in traces:
        steps[trace.model] = {method: [] for method in trace.codecs}
        for method, count in itertools.product(trace.codecs, workers):
            try:
                steps[trace.model][method].append(_steps(trace, method, count, machine))
            except UserError as error:
                steps[trace.model][method].append(None)
                reason = str(error).removeprefix("methods.*.wire_bits: ")
                impossible.setdefault(method, {})[count] = reason
    return {
        "inputs": input_digests(),
        "workers": list(workers),
        "bandwidths_mbit": list(BANDWIDTHS_MBIT),
        "latencies_microseconds": list(LATENCIES_MICROSECONDS),
        "one_worker_ms": {trace.model: _rounded(1e3 * trace.step_seconds) for trace in traces},
        "batch_size": {trace.model: trace.batch_size for trace in traces},
        "methods": {method: _facts(method, traces, calibration) for method in methods},
        "impossible": impossible,
        "error": calibration.errors[ALL],
        "validation": [_validated(row) for row in calibration.validation],
        "steps": steps,
    }


def input_digests(folder: Path = DATA) -> Mapping[str, str]:
    """Return the SHA-256 of the files that the grid follows from, by their path in `folder`."""
    paths = [folder / "calibration.json", *sorted((folder / "traces").glob("*.json"))]
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths
    }


def _steps(trace: Trace, method: str, workers: int, machine: Machine) -> Steps:
    cases = list(itertools.product(LATENCIES_MICROSECONDS, BANDWIDTHS_MBIT))
    bandwidths, latencies = [1e6 * bits for _, bits in cases], [1e-6 * latency for latency, _ in cases]
    seconds = simulated_steps(trace, method, workers, bandwidths, machine, latencies)
    table = seconds.reshape(len(LATENCIES_MICROSECONDS), len(BANDWIDTHS_MBIT))
    return [[_rounded(1e3 * value) for value in row] for row in np.asarray(table).tolist()]


def _validated(row: Row) -> Row:
    """Return a prediction of a cell that its fit had not seen, in milliseconds."""
    facts = {key: row[key] for key in ("model", "method", "link", "workers", "oversubscribed", "left_out")}
    return facts | {
        f"{kind}_ms": _rounded(1e3 * row[f"{kind}_seconds"]) for kind in ("measured", "predicted")
    }


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _facts(method: str, traces: Sequence[Trace], calibration: Calibration) -> dict[str, Any]:
    """Return what holds of a method on every network."""
    trace = next(trace for trace in traces if method in trace.codecs)
    pattern = programs_of(trace, method, trace.codecs[method].entry, WORKERS[0])[0].pattern
    entry = trace.codecs[method].entry
    return {
        "uncertainty": _rounded(calibration.error_of(method)),
        "same_updates": pattern.interval == 1 and pattern.staleness == 0,
        "strategy": entry["strategy"],
        "description": _described(entry),
    }


def _described(entry: Mapping[str, Any]) -> str:
    """Return the first sentence of the strategy's docstring, with the method's values for the names of its options."""
    text = inspect.getdoc(STRATEGIES[entry["strategy"]]) or ""
    first = text.split("\n\n")[0].replace("\n", " ")
    return re.sub(r"`(\w+)`", lambda name: str(entry.get(name[1], name[0])), first)
