"""The table of the trainings on a slow link, for their own page, the report and the docs."""

from collections.abc import Sequence

from pipelines.results import Row
from pipelines.tables import Column, Spread, count, seconds

RULE = (
    "Two workers train each model to the end of its schedule, one on each of two emulated nodes, over a link that the "
    "kernel slows down. The accuracy to reach is what the reference ends with, seed by seed, less a margin. Seconds "
    "are those of the training steps, exchange included, until the end of the first epoch that reaches it; MB are what "
    "a worker has sent by then. Times faster: the geometric mean over the seeds of the reference's seconds over the "
    "method's, with its 95 % t interval. Where a seed has not reached the accuracy there is no time."
)
COLUMNS = (
    Column("model", "model"),
    Column("method", "method"),
    Column("accuracy", "test accuracy at the end", str, max),
    Column("difference", "over the reference, points (95 % interval)"),
    Column("reached", "seeds that reached it"),
    Column("seconds_to_accuracy_mean", "seconds to it", seconds, min),
    Column("faster", "times faster (95 % interval)"),
    Column("megabytes_to_accuracy_mean", "MB to it", count, min),
    Column("train_seconds_mean", "whole training", seconds, min),
)


def shown_rows(rows: Sequence[Row]) -> list[Row]:
    """Return the rows of time_to_accuracy.json with the composed cells of the table `COLUMNS`."""
    shown = []
    for row in rows:
        spread = Spread(row["test_accuracy_mean"], row["test_accuracy_std"], row["num_seeds"])
        cells: Row = {"accuracy": spread, "reached": f"{row['num_reached']} of {row['num_seeds']}"}
        cells["faster"] = _bounded(row, "speed_up", "", "×", signed=False)
        cells["difference"] = _bounded(row, "difference", "_points", "", signed=True)
        shown.append(row | cells)
    return shown


def _bounded(row: Row, key: str, unit: str, mark: str, *, signed: bool) -> str | None:
    """Return a value and, where it has them, its bounds; None for no value."""
    value, low, high = (row[f"{key}{end}{unit}"] for end in ("", "_low", "_high"))
    if value is None:
        return None
    sign = "+" if signed else ""
    numbers = [
        f"{one:{sign}.2f}".replace("-", "\N{MINUS SIGN}") for one in (value, low, high) if one is not None
    ]
    return f"{numbers[0]}{mark}" + (f" ({numbers[1]} to {numbers[2]})" if len(numbers) > 1 else "")
