"""What the page is made from: result files of the pipeline, and of the experiments where they were run."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pipelines.results import Row, own_or_reference, read_csv, read_json


@dataclass(frozen=True)
class Inputs:
    """The folder of results, and its files as they are asked for; a missing file of the pipeline raises UserError."""

    folder: Path

    @cached_property
    def recognition(self) -> list[Row]:
        """A row a model."""
        return self._rows("recognition.json")

    @cached_property
    def pairs(self) -> list[Row]:
        """A row for every two models."""
        return self._rows("recognition_pairs.json")

    @cached_property
    def distributed(self) -> list[Row]:
        """A row a distributed run."""
        return self._rows("distributed.json")

    @cached_property
    def speedup(self) -> list[Row]:
        """A row a model, method and link."""
        return self._rows("speedup.json")

    @cached_property
    def scaling(self) -> list[Row]:
        """Simulated rows by number of workers; none where the stage has written none."""
        return self._optional("scaling.json")

    @cached_property
    def crossover(self) -> list[Row]:
        """Simulated rows: the fastest method by workers and bandwidth; none where the stage has written none."""
        return self._optional("crossover.json")

    @cached_property
    def slow_link(self) -> Row:
        """Rows of cells that were measured on an emulated link, or the reason why there are none."""
        found: Row = read_json(self.folder / "slow_link.json")
        return found

    @cached_property
    def target(self) -> list[Row]:
        """What a target accuracy costs, a row a model, method, number of workers and link."""
        return self._rows("target.json")

    @cached_property
    def prepared(self) -> Row:
        """What the data are."""
        row: Row = read_json(self.folder / "prepare.json")
        return row

    def experiment(self, name: str) -> tuple[list[Row], bool]:
        """Return the rows of an experiment, the user's own or else the authors', and whether they are the authors'.

        No dependency of the DAG, which runs without the experiments. No rows where nobody has any.
        """
        path, committed = own_or_reference(self.folder, name)
        rows: list[Row] = read_json(path) if path.exists() else []
        return rows, committed

    def series(self, folder: str) -> Iterator[tuple[str, list[Row]]]:
        """Yield name and rows of every .csv file in a folder of results: densenet50 before densenet100."""
        for path in sorted((self.folder / folder).glob("*.csv"), key=_by_number):
            yield path.stem, [_numbers(row) for row in read_csv(path)]

    def _rows(self, name: str) -> list[Row]:
        rows: list[Row] = read_json(self.folder / name)
        return rows

    def _optional(self, name: str) -> list[Row]:
        return self._rows(name) if (self.folder / name).exists() else []


def whose(committed: bool, command: str) -> str:
    """Say whose rows they are."""
    return f"the authors' run (yours: {command})" if committed else command


def _by_number(path: Path) -> list[str]:
    return [part.zfill(9) if part.isdecimal() else part for part in re.split(r"(\d+)", path.name)]


def _numbers(row: Row) -> Row:
    return {key: _number(value) for key, value in row.items()}


def _number(value: str) -> float | str | None:
    """Return a cell as a number; a class may have a name, and what is not finite is shown by no plot."""
    try:
        number = float(value)
    except ValueError:
        return value
    return number if abs(number) < float("inf") else None
