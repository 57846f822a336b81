"""GQ beside plain sums: the speed-ups of the sweep, with the intervals of their medians."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.intervals import median_interval
from pipelines.results import Row

REFERENCE, QUANTIZED = "sdp", "gq4_bucketed"
WORKERS = 2
"""More of them share cores in the sweep: the scheduler decides there, not the link."""
LINK_NAMES = {"100mbit": "100 Mbit/s", "1gbit": "1 Gbit/s", "unshaped": "an unshaped link"}
ACCURATE = {"gq8_bucketed": "GQ with 8 bits", "gq4_bucketed": "GQ with 4 bits"}


@dataclass(frozen=True)
class Gain:
    """How many times faster than plain sums a method's step is in one cell of the sweep."""

    model: str
    link: str
    ratio: float
    """Median of the ratios round by round."""
    low: float | None
    """95 % interval of the median; None: too few rounds."""
    high: float | None


def in_sweep(rows: Sequence[Row]) -> list[Row]:
    """Return the rows of two workers, each on a core of its own."""
    return [row for row in rows if row["workers"] == WORKERS and not row["oversubscribed"]]


def gains(rows: Sequence[Row], method: str = QUANTIZED) -> list[Gain]:
    """Return the gain of `method` for every model and link of the sweep that has it and plain sums."""
    cells = {(row["model"], row["link"], row["method"]): row for row in in_sweep(rows)}
    return [
        _gain(cells[model, link, REFERENCE], row)
        for (model, link, name), row in cells.items()
        if name == method and (model, link, REFERENCE) in cells
    ]


def _gain(plain: Row, row: Row) -> Gain:
    """Compare the rounds that both methods had in turn."""
    shared = min(len(each["step_seconds_by_round"]) for each in (plain, row))
    slow, fast = (np.array(each["step_seconds_by_round"][:shared]) for each in (plain, row))
    ratios = slow / fast
    low, high = median_interval(ratios.tolist()) or (None, None)
    return Gain(row["model"], row["link"], float(np.median(ratios)), low, high)
