"""One distributed run: a model, a method and everything else that determines it."""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from pipelines.config import load_section
from pipelines.data import PreparedData, load_prepared
from pipelines.errors import UserError
from pipelines.parallel.config import DistributedConfig
from pipelines.tracking import TrackingConfig
from pipelines.training import Judge, Objective, start_model
from pipelines.training.config import RecipeConfig
from pipelines.training.sections import TrainingJob, linear_rate, shared_sections

CHECKPOINT_FORMAT = 3
"""Raised when a worker saves other things than before: a run of the older form starts anew."""


@dataclass(frozen=True, kw_only=True)
class Job(TrainingJob):
    """The parameters and files of one distributed run."""

    params: Path
    """The parameter file, which the section `methods` is read from."""
    model: str
    method: str
    distributed: DistributedConfig
    tracking: TrackingConfig

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
        return Path("results/distributed/curves") / f"{self.name}.csv"

    @property
    def trace_file(self) -> Path:
        """JSON file with what the parts of a step and the method's codec cost, for the simulator."""
        return Path("results/traces") / f"{self.name}.json"

    @property
    def chrome_file(self) -> Path:
        """The same in Chrome's trace event format, for ui.perfetto.dev."""
        return Path("results/traces") / f"{self.name}.perfetto.json"

    def recipe_for(self, num_workers: int) -> RecipeConfig:
        """Return the recipe of the run: its epochs and batch size a worker, the rate linear in the global batch."""
        size = self.distributed.batch_size
        return replace(
            self.recipe.over(self.distributed.epochs),
            batch_size=size,
            learning_rate=linear_rate(self.recipe, num_workers * size),
        )

    @property
    def records_trace(self) -> bool:
        """Whether rank 0 writes `trace_file` and `chrome_file`."""
        return True

    def load_data(self) -> PreparedData:
        """Return the data that the workers train on."""
        return load_prepared(self.data_folder)

    def build_model(self, data: PreparedData) -> nn.Module:
        """Return the model with its initial weights, on the CPU, the same on every worker."""
        return start_model(data, self.model, self.densenet, self.recipe)

    def objective(self, data: PreparedData) -> Objective | None:  # noqa: ARG002 - for jobs that have one
        """Return what the steps minimise; None: the mean cross-entropy."""
        return None

    def judge(self, data: PreparedData) -> Judge | None:  # noqa: ARG002 - for networks that are no classifiers
        """Return what epochs are judged by; None: cross-entropy and accuracy."""
        return None

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
            "distributed": {k: v for k, v in asdict(self.distributed).items() if not k.endswith("_seconds")},
            "recipe": self.recipe.identity(),
            "densenet": asdict(self.densenet),
            "data": data_checksum,
            "workers": num_workers,
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def load_job(model: str, method: str, params: Path) -> Job:
    """Read the run of `model` by `method` from `params`; UserError in one line on every value that is not allowed."""
    return Job(
        model=model,
        method=method,
        distributed=load_section(DistributedConfig, "distributed", params),
        tracking=load_section(TrackingConfig, "tracking", params),
        params=params,
        **shared_sections(params, transfers=True),
    )
