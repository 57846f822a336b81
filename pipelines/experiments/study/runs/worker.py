"""One training run of the study, in a process of the pool."""

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import nn

from pipelines.data import PreparedData, load_prepared
from pipelines.experiments.study.job import Training
from pipelines.provenance import provenance
from pipelines.results import Row, read_json, write_json
from pipelines.tracking import NullTracker
from pipelines.training import (
    DivergedError,
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
    data = training.inputs(load_once(training.data_folder))
    model = training.build(data)
    folder = training.checkpoints / training.key(model, data)
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
        result = train(
            model,
            data,
            recipe,
            folder=folder,
            tracker=NullTracker(),
            description=training.model,
            objective=training.objective(data),
            judge=training.judge(data),
        )
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


@cache
def load_once(folder: Path) -> PreparedData:
    """Read prepared data, once a process."""
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
