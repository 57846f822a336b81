"""Results: how they are written and read, where they lie, and how two sets of them compare."""

from pipelines.results.files import (
    EXPERIMENTS,
    Row,
    read_csv,
    read_json,
    write_csv,
    write_json,
    write_metrics,
)
from pipelines.results.reference import REFERENCE, own_or_reference

__all__ = [
    "EXPERIMENTS",
    "REFERENCE",
    "Row",
    "own_or_reference",
    "read_csv",
    "read_json",
    "write_csv",
    "write_json",
    "write_metrics",
]
