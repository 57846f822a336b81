"""One cell block of the sweep: all methods of a model on one link."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pipelines.config import load_section
from pipelines.experiments.sweep.config import MoreWorkersConfig, SweepConfig
from pipelines.training.sections import TrainingJob, shared_sections

CONFIGS: dict[str, type[SweepConfig]] = {"sweep": SweepConfig, "more_workers": MoreWorkersConfig}
"""By section of the parameter file."""
RESULTS = Path("results/sweep")
CELLS = RESULTS / "cells"
Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class SweepJob(TrainingJob):
    """The parameters and files of the measurements of one model on one link."""

    params: Path
    """The parameter file, which the section `methods` is read from."""
    model: str
    link: str
    sweep: SweepConfig
    section: str = "sweep"
    """Key of the section that `sweep` comes from; files of the job lie in folders of this name."""

    @property
    def name(self) -> str:
        """Name of the job, as in its files: MODEL-LINK."""
        return f"{self.model}-{self.link}"

    @property
    def result_file(self) -> Path:
        """JSON file of the job's rows."""
        return Path("results") / self.section / "cells" / f"{self.name}.json"

    def part_file(self, workers: int) -> Path:
        """JSON file in which the run with `workers` workers leaves its rows."""
        return Path("checkpoints") / self.section / f"{self.name}-{workers}.json"

    def shuffled(self, items: Sequence[Item], workers: int, turn: int) -> list[Item]:
        """Return `items` in an order of their own for each model, link, number of workers and turn.

        The same in every process: text seeds do not depend on Python's hash seed.
        """
        return random.Random(f"{self.name} {workers} {turn}").sample(items, len(items))


def load_job(model: str, link: str, params: Path, section: str = "sweep") -> SweepJob:
    """Read the measurements of `model` on `link` from a section of `params`; UserError on every value not allowed."""
    sweep = load_section(CONFIGS[section], section, params)
    shared = shared_sections(params)
    return SweepJob(model=model, link=link, sweep=sweep, section=section, params=params, **shared)
