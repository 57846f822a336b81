"""Result files: lists of flat JSON rows, and their nested summaries for `dvc metrics`."""

import csv
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.errors import UserError

Row = dict[str, Any]


def write_json(path: Path, document: Any) -> None:
    """Write `document` as indented JSON; the file is either the old one or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(document, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def read_json(path: Path) -> Any:
    """Read a JSON result file; a missing or broken one raises UserError naming the way out."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); run `make repro` first") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: is no valid JSON ({error}); remove it and run `make repro`") from None


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write flat rows with equal keys as CSV; the header comes from the first row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def read_csv(path: Path) -> list[Row]:
    """Read what `write_csv` wrote, every value as text; a missing file raises UserError naming the way out."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); run `make repro` first") from None


def nested(rows: Sequence[Row], keys: Sequence[str], values: Sequence[str]) -> dict[str, Any]:
    """Nest rows by the fields `keys`, keeping the fields `values`: the form that `dvc metrics` compares."""
    tree: dict[str, Any] = {}
    for row in rows:
        branch = tree
        for key in keys:
            branch = branch.setdefault(str(row[key]), {})
        branch.update({value: row[value] for value in values})
    return tree
