"""Cells of the sweep: a measured step of one model, method, link and number of workers."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.cluster.spec import UNSHAPED, parse_rate
from pipelines.results import Row

UNSHAPED_BITS = 20.5e9
"""Bits a second of raw TCP between two nodes whose link is not shaped (docs/emulated_cluster.md, "The link")."""
LATENCY_SECONDS = 25e-6
"""One way between two nodes: half the round trip of `ping` over a bridge of this kind; far below every other cost."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What was measured, and what a prediction is given."""

    model: str
    method: str
    link: str
    workers: int
    oversubscribed: bool
    bandwidth: float
    """Bits a second."""
    cycle_seconds: float
    """Period of Horovod's negotiation in that run."""
    alone_seconds: float
    """Step of one worker without exchange, timed in the same rounds: an input, as a user's `--step-ms` is."""
    measured_seconds: float


def sweep_cells(
    rows: Sequence[Row], cycle_milliseconds: float, oversubscribed_cycle_milliseconds: float
) -> list[Cell]:
    """Return the cells of several workers; `rows` as in sweep.json, made with these periods of Horovod."""
    periods = {False: cycle_milliseconds / 1e3, True: oversubscribed_cycle_milliseconds / 1e3}
    return [
        Cell(
            model=row["model"],
            method=row["method"],
            link=row["link"],
            workers=row["workers"],
            oversubscribed=row["oversubscribed"],
            bandwidth=UNSHAPED_BITS if row["link"] == UNSHAPED else parse_rate(row["link"]),
            cycle_seconds=periods[row["oversubscribed"]],
            alone_seconds=row["one_worker_step_seconds_median"],
            measured_seconds=row["step_seconds_median"],
        )
        for row in rows
        if row["workers"] > 1
    ]
