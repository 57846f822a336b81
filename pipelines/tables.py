"""Tables for readers: how the values of result rows are shown, in a page, in Markdown or on a terminal."""

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


@dataclass(frozen=True, order=True)
class Spread:
    """A share over seeds; the mean alone orders."""

    mean: float
    deviation: float | None = field(compare=False)
    num_seeds: int = field(compare=False)

    def __str__(self) -> str:
        deviation = "" if self.deviation is None else f" ± {100 * self.deviation:.2f}"
        return f"{100 * self.mean:.2f}{deviation} % (n = {self.num_seeds})"


def mebibytes(value: int) -> str:
    """Return bytes as MiB."""
    return f"{value / 2**20:.1f} MiB"


def markdown(table: Table) -> str:
    """Return the table in Markdown, the best of each column in bold, numbers to the right."""
    ruler = ["---:" if right else "---" for right in _numeric_columns(table)]
    rows = [[f"**{cell.text}**" if cell.best else cell.text for cell in row] for row in table.rows]
    return "\n".join(markdown_line(line) for line in (table.headings, ruler, *rows))


def markdown_line(cells: Sequence[str]) -> str:
    """Return one line of a Markdown table; a bar in a cell is escaped."""
    return "| " + " | ".join(text.replace("|", "\\|") for text in cells) + " |"


def plain(table: Table) -> str:
    """Return the table in columns for a terminal, numbers to the right, the best of each column with a star."""
    lines = [table.headings]
    lines += [[f"*{cell.text}" if cell.best else cell.text for cell in row] for row in table.rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    aligned = list(zip(widths, _numeric_columns(table), strict=True))
    return "\n".join(
        "  ".join(
            text.rjust(width) if right else text.ljust(width)
            for text, (width, right) in zip(line, aligned, strict=True)
        ).rstrip()
        for line in lines
    )


def _numeric_columns(table: Table) -> list[bool]:
    return [any(row[index].numeric for row in table.rows) for index in range(len(table.headings))]
