"""The committed grid of predicted steps, which the page shows: `python -m benchmarks.explorer_grid` writes it."""

import functools
from pathlib import Path
from typing import Any

from pipelines.results import read_json

GRID = Path(__file__).parent / "data" / "explorer.json"
"""As `pipelines.speedup.grid.grid` returns it."""


@functools.cache
def read_grid() -> dict[str, Any]:
    """Return the grid."""
    document: dict[str, Any] = read_json(GRID)
    return document
