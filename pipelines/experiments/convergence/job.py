"""One convergence run: a method at a number of workers, with one or more seeds."""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pipelines.config import load_section
from pipelines.config.show import show
from pipelines.data.config import PrepareConfig
from pipelines.errors import UserError
from pipelines.experiments.convergence.config import PARITY_WORKERS, ConvergenceConfig, ParitySet
from pipelines.models import find_factory
from pipelines.training.config import RecipeConfig
from pipelines.training.sections import TrainingJob, linear_rate, shared_sections

RESULTS = Path("results/convergence")
CURVES = RESULTS / "runs"
OTHER_MODELS = RESULTS / "models"
"""Curves of other models than the section's: what a target accuracy costs follows from them."""
PARITY = RESULTS / "parity"
PARTS = Path("checkpoints/convergence")


@dataclass(frozen=True, kw_only=True)
class ConvergenceJob(TrainingJob):
    """The parameters and files of the runs of one method at one number of workers."""

    name: str
    """Name of the job in progress bars and of its folder of finished seeds."""
    params: Path
    """The parameter file, which the section `methods` is read from."""
    model: str
    method: str
    workers: int
    seeds: tuple[int, ...]
    global_batch_size: int
    epochs: int
    scores_every_epoch: bool
    """Whether each epoch makes a row, for a curve; otherwise the last one does."""
    result_file: Path
    link: str | None = None
    """Rate of the links between emulated nodes that the workers run on, one on each; None: all on localhost."""
    cycle_milliseconds: float | None = None
    """Period of Horovod's negotiation; None: Horovod's own."""
    rate_key: str = "recipe.learning_rate"
    """The key to change where a training diverges."""
    parts: Path = PARTS
    """Where the folders of finished seeds lie."""

    @property
    def part_folder(self) -> Path:
        """Where finished seeds wait for the others."""
        return self.parts / self.name

    def recipe_of(self, seed: int) -> RecipeConfig:
        """Return the recipe of one run, the rate linear in the global batch."""
        return replace(
            self.recipe.over(self.epochs),
            seed=seed,
            batch_size=self.global_batch_size // self.workers,
            learning_rate=linear_rate(self.recipe, self.global_batch_size),
        )

    def digest(self, method_entry: dict[str, Any], data_checksum: str) -> str:
        """Return the SHA-256 of all that the rows of a seed depend on beside the code."""
        values = {
            key: str(value) if isinstance(value, Path) else value for key, value in asdict(self).items()
        }
        # More seeds, or other files, leave the rows of a seed what they are.
        for key in ("seeds", "params", "data_folder", "result_file", "rate_key", "parts"):
            del values[key]
        text = json.dumps([values, method_entry, data_checksum], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def curve_job(method: str, workers: int, params: Path, model: str | None = None) -> ConvergenceJob:
    """Return the job of a curve: one seed, on the data that `prepare` writes, of `model` or that of the section.

    Raises UserError for an unknown model and for workers that do not share a batch equally.
    """
    config = load_section(ConvergenceConfig, "convergence", params)
    name, folder = f"{method}-{workers}", CURVES
    if model is not None:
        find_factory(model)  # also: an unknown name would be one of a file
        name, folder = f"{model}-{name}", OTHER_MODELS
    size = config.global_batch_size
    if not 2 <= workers <= size or size % workers:
        raise UserError(
            f"--workers: {show(workers)} is not allowed; allowed: 2 or more that divide "
            f"convergence.global_batch_size, {size}"
        )
    return ConvergenceJob(
        name=name,
        model=model or config.model,
        method=method,
        workers=workers,
        seeds=(1,),
        global_batch_size=config.global_batch_size,
        epochs=config.epochs,
        scores_every_epoch=True,
        result_file=folder / f"{name}.json",
        params=params,
        **shared_sections(params),
    )


def parity_job(method: str, data: str, params: Path) -> ConvergenceJob:
    """Return the job of the accuracy test for a method on the data set `data`, a key of the sets."""
    trained = parity_set(load_section(ConvergenceConfig, "convergence", params), data)
    shared = shared_sections(params, data_folder(data))
    shared["recipe"] = replace(shared["recipe"], augment=trained.augment)
    return ConvergenceJob(
        name=f"parity-{data}-{method}",
        model=trained.model,
        method=method,
        workers=PARITY_WORKERS,
        seeds=tuple(range(trained.first_seed, trained.first_seed + trained.seeds)),
        global_batch_size=trained.global_batch_size,
        epochs=trained.epochs,
        scores_every_epoch=False,
        result_file=PARITY / data / f"{method}.json",
        params=params,
        **shared,
    )


def data_folder(data: str) -> Path:
    """Return the folder of the prepared images of a set of the accuracy test."""
    return Path("data/convergence") / data


def prepare_config(config: ConvergenceConfig, prepare: PrepareConfig, data: str) -> PrepareConfig:
    """Return the section `prepare` with the name and the limits of a set of the accuracy test."""
    return prepare.for_set(data, parity_set(config, data))


def parity_set(config: ConvergenceConfig, data: str) -> ParitySet:
    """Return what is trained on the data set `data`; UserError unless it is a key of the sets."""
    if data not in config.parity.sets:
        known = ", ".join(config.parity.sets)
        raise UserError(f"convergence.parity.sets: {data!r} is no key of it; keys: {known}")
    return config.parity.sets[data]
