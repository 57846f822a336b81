"""What the makers of tables share: committed rows and how numbers are shown."""

import functools
import json
from typing import Any

from pipelines.tables import markdown_line
from tools.project_imports import ROOT

Rows = list[dict[str, Any]]
ENDS = {"difference": ("", "_low", "_high"), "difference_": ("points", "low_points", "high_points")}
"""How a row names a difference and its interval, by what the names begin with."""


@functools.cache
def rows_of(name: str) -> Rows:
    """Return the rows of a file of reference/."""
    rows: Rows = json.loads((ROOT / "reference" / name).read_text())
    return rows


def commits(rows: Rows) -> str:
    """Return the commits that made `rows`, shortened."""
    return ", ".join(dict.fromkeys(row["commit"][:7] for row in rows))


def signed(value: float) -> str:
    """Return points with their sign and two digits."""
    return f"{value:+.2f}".replace("-", "−")


def interval(row: dict[str, Any], key: str, factor: float = 1) -> str:
    """Return a difference with its interval, as points: `factor` times the row's fields."""
    value, low, high = (factor * row[f"{key}{end}"] for end in ENDS[key])
    return f"{signed(value)} ({signed(low)} to {signed(high)})"


def table(headings: list[str], lines: list[list[str]]) -> str:
    """Return a Markdown table of formatted cells."""
    return "\n".join(markdown_line(line) for line in (headings, ["---"] * len(headings), *lines))
