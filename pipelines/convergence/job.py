"""One convergence run: a method at a number of workers, with one or more seeds."""

from dataclasses import dataclass, replace
from pathlib import Path

from pipelines.convergence.config import ConvergenceConfig
from pipelines.models.config import DenseNetConfig
from pipelines.training.config import RecipeConfig


@dataclass(frozen=True, kw_only=True)
class ConvergenceJob:
    """The parameters and files of the runs of one method at one number of workers."""

    method: str
    workers: int
    seeds: tuple[int, ...]
    convergence: ConvergenceConfig
    recipe: RecipeConfig
    densenet: DenseNetConfig
    params: Path
    data_folder: Path
    result_file: Path

    @property
    def name(self) -> str:
        """Name of the job in progress bars."""
        return f"{self.method}, {self.workers} workers"

    def recipe_of(self, seed: int) -> RecipeConfig:
        """Return the recipe of one run: learning rate linear in the global batch (Goyal 2017, section 2.1)."""
        config = self.convergence
        return replace(
            self.recipe,
            seed=seed,
            epochs=config.epochs,
            batch_size=config.global_batch_size // self.workers,
            learning_rate=self.recipe.learning_rate * config.global_batch_size / self.recipe.batch_size,
            warmup_epochs=self.recipe.warmup_epochs * config.epochs / self.recipe.epochs,
        )
