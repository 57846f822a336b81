"""What a target accuracy costs: measured steps to reach it, times simulated steps; in seconds, bytes and money.

How many steps a method needs was measured: accuracy by epoch of real trainings (`data/curves.json`, global batch kept
whatever the number of workers). How long a step takes on a network is simulated; what it sends follows from the
method's pattern. A curve of the model itself counts where there is one, else that of the small model of `make
convergence`; each row says which.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.errors import UserError
from pipelines.parallel.strategies import strategy_of
from pipelines.parallel.traces.trace import Trace
from pipelines.results import Row, read_json
from pipelines.speedup.calibration.store import DATA
from pipelines.speedup.config import SpeedupConfig
from pipelines.speedup.scaling import LATENCY_SECONDS, STUDY_METHODS, simulated_steps
from pipelines.speedup.simulator import Machine

CURVES = DATA / "curves.json"
BATCH_STEPS = DATA / "batch_steps.json"
SECONDS_PER_HOUR = 3600.0
SMALL_MODEL = "densenet22"
"""That of `make convergence`, whose curves stand for models without one of their own."""


@dataclass(frozen=True, kw_only=True)
class Curves:
    """Measured accuracies, by (model, method, workers) and epoch."""

    rows: Mapping[tuple[str, str, int], Sequence[Row]]
    global_batch_size: int

    @classmethod
    def read(cls, path: Path = CURVES) -> "Curves":
        """Read the committed curves; all of one global batch size."""
        rows: dict[tuple[str, str, int], list[Row]] = {}
        document = read_json(path)
        for row in document["curves"]:
            rows.setdefault((row["model"], row["method"], row["workers"]), []).append(row)
        return cls(rows=rows, global_batch_size=document["global_batch_size"])

    def of(self, model: str, method: str, workers: int) -> Sequence[Row]:
        """Return the epochs of the model's own curve, or of the small model's; empty where there is neither."""
        usual = self.rows.get((SMALL_MODEL, method, workers), ())
        return self.rows.get((model, method, workers), usual)

    def workers(self) -> list[int]:
        """Return the numbers of workers that have curves."""
        return sorted({workers for _, _, workers in self.rows})


def steps_to(curve: Sequence[Row], accuracy: float) -> int | None:
    """Return the steps until the end of the first epoch with this test accuracy; None where it was not reached."""
    return next((int(row["steps"]) for row in curve if row["test_accuracy"] >= accuracy), None)


BatchSteps = Mapping[str, Mapping[int, float]]
"""Seconds of a step of one worker, by model and batch size."""


def load_batch_steps(path: Path = BATCH_STEPS) -> BatchSteps:
    """Read the recorded steps of several batch sizes."""
    recorded = read_json(path)["step_seconds"]
    return {
        model: {int(size): seconds for size, seconds in steps.items()} for model, steps in recorded.items()
    }


def batch_trace(trace: Trace, batch_size: int, recorded: Mapping[int, float]) -> Trace:
    """Return `trace` with another batch, its step as many times as long as a recorded step of the model was.

    `recorded` are seconds by batch size; between them they lie on a line. Codecs stay what they are.
    """
    batches = sorted(recorded)
    seconds = [recorded[size] for size in batches]
    ratio = np.interp(batch_size, batches, seconds) / np.interp(trace.batch_size, batches, seconds)
    scaled = trace.scaled_to(trace.step_seconds * float(ratio), codecs=False)
    return replace(scaled, batch_size=batch_size)


def target_rows(
    traces: Sequence[Trace],
    config: SpeedupConfig,
    machine: Machine,
    curves: Curves,
    batch_steps: BatchSteps,
) -> Iterator[Row]:
    """Yield a row a model, link, number of workers and method of the study, by that of its methods that takes least.

    Models without recorded steps of other batch sizes are left out, and methods without a curve.
    """
    for trace in (each for each in traces if each.model in batch_steps):
        for workers in curves.workers():
            share = max(1, curves.global_batch_size // workers)
            smaller = batch_trace(trace, share, batch_steps[trace.model])
            for name, methods in STUDY_METHODS.items():
                found = [_rows_of(smaller, method, workers, config, machine, curves) for method in methods]
                for link in zip(*(rows for rows in found if rows), strict=True):
                    best: Row = min(link, key=_cost_order)
                    yield {**best, "study_method": name}


def _cost_order(row: Row) -> tuple[bool, float, float]:
    """Order by whose the curve is, its own model's first, then by the time to the target, then by the step."""
    seconds = row["seconds_to_target"]
    borrowed = row["curve_model"] != row["model"]
    return borrowed, (math.inf if seconds is None else seconds), row["step_seconds"]


def _rows_of(
    trace: Trace, method: str, workers: int, config: SpeedupConfig, machine: Machine, curves: Curves
) -> list[Row]:
    """Return a row a link; none where the method has no curve, no codec, or cannot have so many workers."""
    curve = curves.of(trace.model, method, workers)
    links = config.links_mbit_per_second
    if not curve or not links:
        return []
    try:
        seconds = simulated_steps(trace, method, workers, [1e6 * link for link in links], machine)
        pattern = strategy_of(dict(trace.codecs[method].entry), f"methods.{method}").pattern(
            trace.tensors, workers
        )
    except UserError:
        return []
    steps = steps_to(curve, config.target_accuracy)
    sent = pattern.sent_bytes(workers)
    return [
        {
            "model": trace.model,
            "method": method,
            "workers": workers,
            "batch_size_per_worker": trace.batch_size,
            "link": f"{link:g}mbit",
            "link_mbit_per_second": link,
            "latency_seconds": LATENCY_SECONDS,
            "target_accuracy": config.target_accuracy,
            "source": "simulated",
            "steps_source": "measured",
            "step_source": "simulated",
            "curve_model": curve[0]["model"],
            "curve_commit": curve[0]["commit"],
            "best_accuracy": max(row["test_accuracy"] for row in curve),
            "steps_to_target": steps,
            "local_step_seconds": trace.step_seconds,
            "step_seconds": float(step),
            "sent_bytes_per_step": sent,
            **costs(steps, float(step), sent, workers, config),
        }
        for link, step in zip(links, seconds, strict=True)
    ]


def costs(
    steps: int | None, step_seconds: float, sent_bytes: float, workers: int, config: SpeedupConfig
) -> dict[str, Any]:
    """Return what so many steps of all workers cost; None where the target was not reached."""
    if steps is None:
        return dict.fromkeys(("seconds_to_target", "gigabytes_to_target", "price_to_target"))
    seconds = steps * step_seconds
    gigabytes = steps * sent_bytes * workers / 1e9
    hours = workers * seconds / SECONDS_PER_HOUR
    price = hours * config.price_per_worker_hour + gigabytes * config.price_per_gigabyte
    return {"seconds_to_target": seconds, "gigabytes_to_target": gigabytes, "price_to_target": price}
