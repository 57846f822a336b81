"""One distributed run: a model, a method and everything else that determines it."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipelines.errors import UserError
from pipelines.models.config import DenseNetConfig
from pipelines.parallel.config import DistributedConfig
from pipelines.tracking import TrackingConfig
from pipelines.training.config import RecipeConfig

CHECKPOINT_FORMAT = 2
"""Raised when a worker saves other things than before: a run of the older form starts anew."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """The parameters and files of one distributed run."""

    model: str
    method: str
    distributed: DistributedConfig
    recipe: RecipeConfig
    densenet: DenseNetConfig
    tracking: TrackingConfig
    params: Path
    data_folder: Path

    @property
    def name(self) -> str:
        """Name of the run, as in its files: MODEL-METHOD."""
        return f"{self.model}-{self.method}"

    @property
    def checkpoint_folder(self) -> Path:
        """Folder of the rank checkpoints during the run and of the final weights after it."""
        return Path("checkpoints/distributed") / self.name

    @property
    def result_file(self) -> Path:
        """JSON file of the run's row."""
        return Path("results/distributed") / f"{self.name}.json"

    @property
    def history_file(self) -> Path:
        """CSV file with a row per epoch, for the loss curves."""
        return Path("results/distributed") / f"{self.name}.csv"

    def learning_rate_scale(self, num_workers: int) -> float:
        """Factor for the recipe's learning rate: linear in the global batch (Goyal 2017, section 2.1)."""
        return num_workers * self.distributed.batch_size / self.recipe.batch_size

    def check_batch_size(self, num_samples: int, num_workers: int) -> None:
        """Raise UserError unless `num_samples` training samples fill at least one step of all workers."""
        size = self.distributed.batch_size
        if size * num_workers > num_samples:
            raise UserError(
                f"{self.params}: distributed.batch_size: {size} is not allowed; allowed: at most "
                f"{num_samples // num_workers} ({num_samples} training samples over {num_workers} workers)"
            )

    def fingerprint(self, method_entry: dict[str, Any], data_checksum: str, num_workers: int) -> str:
        """Return a digest of all that a resumed run must share with the interrupted one."""
        facts = {
            "format": CHECKPOINT_FORMAT,
            "model": self.model,
            "method": method_entry,
            "distributed": asdict(self.distributed),
            "recipe": asdict(self.recipe),
            "densenet": asdict(self.densenet),
            "data": data_checksum,
            "workers": num_workers,
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
