"""Cells of the sweep, and of measurements like it: a measured step of one model, method, link and number of workers."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.cluster.spec import UNSHAPED, parse_rate
from pipelines.results import Row

UNSHAPED_BITS = 20.5e9
"""Bits a second of raw TCP between two nodes whose link is not shaped (docs/emulated_cluster.md, "The link")."""
SWEEP_CORES = 2
"""Cores of the machine whose rows do not say so: all that were made before rows had the field `cores`."""
LATENCY_SECONDS = 25e-6
"""One way between two nodes: half the round trip of `ping` over a bridge of this kind; far below every other cost."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What was measured, and what a prediction is given."""

    model: str
    method: str
    link: str
    workers: int
    batch_size: int
    """Samples per worker and step."""
    crowding: float
    """Threads of all workers over the machine's cores, at least 1: so much longer a core's work takes."""
    oversubscribed: bool
    """Whether computing fills the cores, so that the scheduler decides on the step."""
    bandwidth: float
    """Bits a second."""
    cycle_seconds: float
    """Period of Horovod's negotiation in that run."""
    alone_seconds: float
    """Step of one worker without exchange, timed in the same rounds: an input, as a user's `--step-ms` is."""
    measured_seconds: float

    @property
    def traced(self) -> tuple[str, int]:
        """Model and batch size of the trace that belongs to the cell."""
        return self.model, self.batch_size


def sweep_cells(rows: Sequence[Row], *, light: bool = False) -> list[Cell]:
    """Return the cells of several workers; `rows` as in sweep.json.

    `light`: computing is so short that more threads than cores do not make the scheduler decide.
    """
    return [
        Cell(
            model=row["model"],
            method=row["method"],
            link=row["link"],
            workers=row["workers"],
            batch_size=row["batch_size_per_worker"],
            crowding=max(1.0, row["workers"] * row["threads_per_worker"] / row.get("cores", SWEEP_CORES)),
            oversubscribed=row["oversubscribed"] and not light,
            bandwidth=UNSHAPED_BITS if row["link"] == UNSHAPED else parse_rate(row["link"]),
            cycle_seconds=row["cycle_milliseconds"] / 1e3,
            alone_seconds=row["one_worker_step_seconds_median"],
            measured_seconds=row["step_seconds_median"],
        )
        for row in rows
        if row["workers"] > 1
    ]
