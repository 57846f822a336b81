"""Results: how they are written and read, where they lie, and how two sets of them compare."""

from pipelines.results.files import EXPERIMENTS, Row, nested, read_csv, read_json, write_csv, write_json
from pipelines.results.reference import REFERENCE, own_or_reference

__all__ = [
    "EXPERIMENTS",
    "REFERENCE",
    "Row",
    "nested",
    "own_or_reference",
    "read_csv",
    "read_json",
    "write_csv",
    "write_json",
]
