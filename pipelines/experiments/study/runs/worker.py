"""One training run of the study, in a process of the pool."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import torch
from torch import nn

from pipelines.data import PreparedData, load_prepared
from pipelines.experiments.study.job import Training
from pipelines.models import build_model_for, spec_of
from pipelines.provenance import provenance
from pipelines.results import Row, read_json, write_json
from pipelines.tracking import NullTracker
from pipelines.training import (
    DivergedError,
    RecipeConfig,
    load_checkpoint,
    resolve_runtime,
    train,
)
from pipelines.training.checkpoint import LAST, PREVIOUS
from pipelines.training.job import sizes_of, summarise_run

RECORD = "run.json"


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A finished run."""

    summary: Row
    """As the stage train writes it, with num_train_images, schedule, threads, diverged and reason; a run that
    diverged has null in place of what it did not reach."""
    history: list[Row]
    """A row an epoch; of a run that diverged, the last one has null for its loss."""
    folder: Path
    """Where best.pt lies, unless the run diverged."""


def train_run(training: Training) -> Trained:
    """Train, or return the record of the same run that an interrupted stage has left.

    A run is the same where model, recipe and data are. Raises UserError where it cannot be trained at all; a
    loss that is no longer finite is a result.
    """
    data = _load(training.data_folder)
    model = make_model(training, data)
    folder = training.checkpoints / run_key(model, training.recipe, data)
    if (folder / RECORD).exists():
        return Trained(folder=folder, **read_json(folder / RECORD))
    trained = _train(training, model, data, folder)
    write_json(folder / RECORD, {"summary": trained.summary, "history": trained.history})
    for name in (LAST, PREVIOUS):
        (folder / name).unlink(missing_ok=True)
    return trained


def _train(training: Training, model: nn.Module, data: PreparedData, folder: Path) -> Trained:
    recipe, sizes = training.recipe, sizes_of(model)
    facts: Row = {"schedule": recipe.schedule, "num_train_images": len(data.train)}
    try:
        result = train(model, data, recipe, folder=folder, tracker=NullTracker(), description=training.model)
    except DivergedError as error:
        history = _finished_epochs(folder)
        summary: Row = {
            "model": training.model,
            "data": data.name,
            "seed": recipe.seed,
            "epochs": recipe.epochs,
            "batch_size": recipe.batch_size,
            "learning_rate": recipe.learning_rate,
            **sizes,
            "train_seconds": None,
            "data_checksum": data.checksum,
            **provenance(resolve_runtime(recipe, model).device),
        }
        facts |= {"diverged": True, "reason": str(error)}
        history.append({"epoch": len(history) + 1})
    else:
        summary, history = summarise_run(training.model, data, recipe, sizes, result), [*result.history]
        facts |= {"diverged": False, "reason": None}
    facts["threads"] = torch.get_num_threads()
    return Trained(summary=_finite(summary | facts), history=[_finite(row) for row in history], folder=folder)


def make_model(training: Training, data: PreparedData) -> nn.Module:
    """Build the run's model with its initial weights, on the CPU."""
    return build_model_for(data, training.model, training.densenet, training.recipe.seed)


def run_key(model: nn.Module, recipe: RecipeConfig, data: PreparedData) -> str:
    """Return a digest of everything that determines the run, as the name of its folder."""
    content = [asdict(spec_of(model)), asdict(recipe), data.checksum]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:24]


@cache
def _load(folder: Path) -> PreparedData:
    return load_prepared(folder)


def _finished_epochs(folder: Path) -> list[Row]:
    last = folder / LAST
    return [*load_checkpoint(last).history] if last.exists() else []


def _finite(row: Row) -> Row:
    """Return the row with None for what is no finite number: JSON knows no other."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in row.items()
    }
