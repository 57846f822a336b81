"""Tables of the report: which columns of the result rows are shown, and how."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.results import Row

Format = Callable[[Any], str]


def text(value: Any) -> str:
    """Return the value as it is."""
    return str(value)


def count(value: Any) -> str:
    """Return a whole number with thousands separated."""
    return f"{value:,.0f}"


def percent(value: Any) -> str:
    """Return a share as a percentage with two digits."""
    return f"{100 * value:.2f} %"


def decimal(value: Any) -> str:
    """Return a number with four significant digits."""
    return f"{value:.4g}"


def milliseconds(value: Any) -> str:
    """Return seconds as milliseconds."""
    return f"{1000 * value:.1f} ms"


def seconds(value: Any) -> str:
    """Return whole seconds."""
    return f"{value:.1f} s"


def times(value: Any) -> str:
    """Return a ratio."""
    return f"{value:.2f}×"


@dataclass(frozen=True)
class Column:
    """One column: the key in the row, the heading, the format, and which end is best (None: neither)."""

    key: str
    heading: str
    format: Format = text
    best: Callable[[Sequence[Any]], Any] | None = None


@dataclass(frozen=True)
class Cell:
    """A formatted value; `best` marks the best of its column (among the rows of the same group)."""

    text: str
    numeric: bool
    best: bool


@dataclass(frozen=True)
class Table:
    """A table ready for the template."""

    headings: list[str]
    rows: list[list[Cell]]

    @property
    def has_best(self) -> bool:
        """Whether any cell is marked."""
        return any(cell.best for row in self.rows for cell in row)


def make_table(rows: Sequence[Row], columns: Sequence[Column], group: str | None = None) -> Table:
    """Format `rows`; the best value of a column is marked within rows that share the field `group`."""
    return Table(
        headings=[column.heading for column in columns],
        rows=[[_cell(row, column, _peers(row, rows, group)) for column in columns] for row in rows],
    )


def _peers(row: Row, rows: Sequence[Row], group: str | None) -> list[Row]:
    return [other for other in rows if group is None or other[group] == row[group]]


def _cell(row: Row, column: Column, peers: Sequence[Row]) -> Cell:
    value = row.get(column.key)
    if value is None:
        return Cell("–", numeric=False, best=False)
    known = [peer[column.key] for peer in peers if peer.get(column.key) is not None]
    best = column.best is not None and len(known) > 1 and value == column.best(known)
    return Cell(column.format(value), numeric=not isinstance(value, str), best=best)


def markdown(table: Table) -> str:
    """Return the table in Markdown, the best of each column in bold, numbers to the right."""
    numeric = [any(row[index].numeric for row in table.rows) for index in range(len(table.headings))]
    lines = [table.headings, ["---:" if right else "---" for right in numeric]]
    lines += [[f"**{cell.text}**" if cell.best else cell.text for cell in row] for row in table.rows]
    return "\n".join("| " + " | ".join(text.replace("|", "\\|") for text in line) + " |" for line in lines)


@dataclass(frozen=True, order=True)
class Interval:
    """A value with the bounds of its interval; the value alone orders."""

    value: float
    low: float = field(compare=False)
    high: float = field(compare=False)

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


def percent_interval(interval: Interval) -> str:
    """Return shares with their bounds as percentages with two digits."""
    return f"{percent(interval.value)} [{100 * interval.low:.2f}, {100 * interval.high:.2f}]"


def shown_recognition(rows: Sequence[Row]) -> list[Row]:
    """Return evaluated runs with the composed cells of the table `RECOGNITION`."""
    bounded = ("test_accuracy", "auc_macro", "auc_micro")
    return [
        row | {key: Interval(row[key], row[f"{key}_low"], row[f"{key}_high"]) for key in bounded}
        for row in rows
    ]


def shown_pairs(rows: Sequence[Row]) -> list[Row]:
    """Return rows of `pipelines.evaluation.comparison.compare_pairs` with the composed cells of the table `PAIRS`."""
    return [row | {"difference": f"{100 * row['accuracy_difference']:+.3g} points"} for row in rows]


RECOGNITION = (
    Column("model", "model"),
    Column("test_accuracy", "test accuracy", percent_interval, max),
    Column("test_loss", "test loss", decimal, min),
    Column("auc_macro", "AUC macro", str, max),
    Column("auc_micro", "AUC micro", str, max),
    Column("calibration_error", "calibration error", decimal, min),
    Column("num_parameters", "parameters", count, min),
    Column("num_multiply_adds", "multiply-adds", count, min),
    Column("inference_latency_seconds_median", "latency, one image", milliseconds, min),
    Column("epochs", "epochs", count),
    Column("train_seconds", "training", seconds, min),
)

PAIRS = (
    Column("first", "model"),
    Column("second", "other model"),
    Column("difference", "difference"),
    Column("only_first_correct", "only the model correct", count),
    Column("only_second_correct", "only the other correct", count),
    Column("p_value", "p", decimal),
    Column("p_value_holm", "p (Holm)", decimal),
)

DISTRIBUTED = (
    Column("model", "model"),
    Column("method", "method"),
    Column("workers", "workers", count),
    Column("step_seconds_median", "step (median)", milliseconds, min),
    Column("step_seconds_iqr", "step (IQR)", milliseconds),
    Column("compute_seconds_median", "compute", milliseconds),
    Column("encode_seconds_median", "encode", milliseconds),
    Column("communication_seconds_median", "communication", milliseconds),
    Column("decode_seconds_median", "decode", milliseconds),
    Column("wire_bytes_per_step", "bytes a step", count, min),
    Column("compression_ratio", "compression", times, max),
    Column("train_loss", "train loss", decimal),
    Column("test_accuracy", "test accuracy", percent, max),
)

SPEEDUP = (
    Column("model", "model"),
    Column("method", "method"),
    Column("link", "link"),
    Column("step_seconds", "step", milliseconds, min),
    Column("samples_per_second", "samples/s", decimal, max),
    Column("epoch_seconds", "epoch", seconds, min),
    Column("acceleration_ratio", "acceleration over one worker", times, max),
    Column("acceleration_over_reference", "over the reference", times, max),
)
