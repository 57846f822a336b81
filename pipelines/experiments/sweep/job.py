"""One cell block of the sweep: all methods of a model on one link."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pipelines.experiments.sweep.config import SweepConfig
from pipelines.models.config import DenseNetConfig
from pipelines.training.config import RecipeConfig

Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class SweepJob:
    """The parameters and files of the measurements of one model on one link."""

    model: str
    link: str
    sweep: SweepConfig
    recipe: RecipeConfig
    densenet: DenseNetConfig
    params: Path
    data_folder: Path

    @property
    def name(self) -> str:
        """Name of the job, as in its files: MODEL-LINK."""
        return f"{self.model}-{self.link}"

    @property
    def result_file(self) -> Path:
        """JSON file of the job's rows."""
        return Path("results/sweep") / f"{self.name}.json"

    def part_file(self, workers: int) -> Path:
        """JSON file in which the run with `workers` workers leaves its rows."""
        return Path("checkpoints/sweep") / f"{self.name}-{workers}.json"

    def shuffled(self, items: Sequence[Item], workers: int, turn: int) -> list[Item]:
        """Return `items` in an order of their own for each model, link, number of workers and turn.

        The same in every process: text seeds do not depend on Python's hash seed.
        """
        return random.Random(f"{self.name} {workers} {turn}").sample(items, len(items))
