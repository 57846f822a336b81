"""Result files: lists of flat JSON rows, and a file a run for `dvc metrics`."""

import csv
import itertools
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.config.show import one_line
from pipelines.errors import UserError

Row = dict[str, Any]

EXPERIMENTS = ("sweep", "convergence", "time_to_accuracy", "study", "related")
"""Each is a folder of experiments/, a command `make NAME`, and a folder in each of `FOLDERS`."""
FOLDERS = ("results", "data", "checkpoints")


def making_command(path: Path) -> str:
    """Return the command that makes the file, by its place: `make sweep` for results/sweep/x.json."""
    for folder, name in reversed(list(itertools.pairwise(path.parts))):
        if folder in FOLDERS:
            return f"make {name}" if name in EXPERIMENTS else "make repro"
    return "make repro"


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
        raise _unreadable(path, error) from None
    except ValueError as error:  # JSON, and the UTF-8 below it
        command = making_command(path)
        raise UserError(
            f"{path}: is no valid JSON ({one_line(error)}); remove it and run `{command}`"
        ) from None


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
        raise _unreadable(path, error) from None
    except (ValueError, csv.Error) as error:
        command = making_command(path)
        raise UserError(
            f"{path}: is no valid CSV ({one_line(error)}); remove it and run `{command}`"
        ) from None


def _unreadable(path: Path, error: OSError) -> UserError:
    return UserError(f"{path}: cannot be read ({error.strerror}); run `{making_command(path)}` first")


def write_metrics(folder: Path, rows: Sequence[Row], keys: Sequence[str], values: Sequence[str]) -> None:
    """Write the fields `values` of each row to `folder`/KEYS.json, and nothing else: a line of `dvc metrics show` each.

    The fields `keys` name a row; a file of a row that is no more is removed.
    """
    for old in folder.glob("*.json"):
        old.unlink()
    for row in rows:
        name = "-".join(str(row[key]) for key in keys)
        write_json(folder / f"{name}.json", {value: row[value] for value in values if value in row})
