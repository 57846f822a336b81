"""One training run as a stage makes it: from prepared data and parameters to checkpoints and result files."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from pipelines.config import DEFAULT_PATH, load_section
from pipelines.data import PreparedData, load_prepared, ordered_batches
from pipelines.errors import UserError
from pipelines.models import ModelSpec, count_multiply_adds, count_parameters, spec_of
from pipelines.provenance import provenance
from pipelines.results import Row, write_csv, write_json
from pipelines.tracking import Role, Tracker, TrackingConfig, open_run
from pipelines.tracking.vocabulary import trained_model, training_params
from pipelines.training.checkpoint import load_checkpoint, mark_finished, rebuild_model
from pipelines.training.config import RecipeConfig
from pipelines.training.loop import TrainResult, train, unfinished_checkpoint
from pipelines.training.sections import shared_sections
from pipelines.training.start import KEY, start_model

CHECKPOINT_FOLDER = Path("checkpoints/recognition")
RESULT_FOLDER = Path("results/train")
NUM_EXAMPLES = 4  # images logged with the model as its input example


def run_training(stage: str, name: str, params: Path = DEFAULT_PATH) -> Row:
    """Train model `name` by the recipe in `params`; return its summary, a flat row.

    Reads the prepared data; writes CHECKPOINT_FOLDER/<name>/{best,last}.pt, RESULT_FOLDER/curves/<name>.csv (a row per
    epoch) and .json (the summary), and logs a run of `stage` with the best model. An interrupted run goes on
    where it was. Raises UserError on parameters or data that do not allow it.
    """
    shared = shared_sections(params, transfers=True)
    recipe = shared["recipe"]
    tracking = load_section(TrackingConfig, "tracking", params)
    data = load_prepared(shared["data_folder"])
    folder = CHECKPOINT_FOLDER / name
    check_place(recipe, folder)
    model = start_model(data, name, shared["densenet"], recipe)
    spec = spec_of(model)
    sizes = sizes_of(model)
    tags = {"model": name, "data_checksum": data.checksum, "seed": recipe.seed}
    unfinished = unfinished_checkpoint(folder, spec, recipe, data)
    resumes = unfinished is not None
    with open_run(tracking, stage, name, tags, role=Role.MODEL, resumes=resumes) as tracker:
        tracker.log_dataset(data.name, data.checksum, data.sizes, "training")
        tracker.log_params(_params(name, spec, recipe, data))
        result = train(
            model, data, recipe, folder=folder, tracker=tracker, description=name, unfinished=unfinished
        )
        row = summarise_run(name, data, recipe, sizes, result)
        write_csv(RESULT_FOLDER / "curves" / f"{name}.csv", result.history)
        write_json(RESULT_FOLDER / f"{name}.json", row)
        _log_summary(tracker, row, result, data)
    mark_finished(folder)
    return row


def check_place(recipe: RecipeConfig, folder: Path) -> None:
    """Raise UserError where the training in `folder` would write over the checkpoint that it starts from."""
    start = recipe.start_from
    if start is not None and Path(start.path).resolve().is_relative_to(folder.resolve()):
        raise UserError(
            f"{KEY}.path: {start.path} is what the training of {folder.name} itself writes; copy it to another folder"
        )


def sizes_of(model: nn.Module) -> dict[str, int]:
    """Return num_parameters and num_multiply_adds of a model of `build_model`."""
    spec = spec_of(model)
    shape = (spec.num_channels, spec.image_size, spec.image_size)
    return {
        "num_parameters": count_parameters(model),
        "num_multiply_adds": count_multiply_adds(model, shape),
    }


def summarise_run(
    name: str, data: PreparedData, recipe: RecipeConfig, sizes: dict[str, int], result: TrainResult
) -> Row:
    """Return the flat summary of a run: what it was, what it gave, where it ran."""
    num_images = len(data.train) // recipe.batch_size * recipe.batch_size * recipe.epochs
    best, last = result.best_row, result.history[-1]
    return {
        "model": name,
        "data": data.name,
        "seed": recipe.seed,
        "epochs": recipe.epochs,
        "batch_size": recipe.batch_size,
        "learning_rate": recipe.learning_rate,
        **sizes,
        "best_epoch": result.best_epoch,
        "best_validation_accuracy": best["validation_accuracy"],
        "best_validation_loss": best["validation_loss"],
        "last_train_loss": last["train_loss"],
        "last_train_accuracy": last["train_accuracy"],
        "last_validation_accuracy": last["validation_accuracy"],
        "train_seconds": result.train_seconds,
        "images_per_second": num_images / result.train_seconds,
        "precision": result.precision,
        "data_checksum": data.checksum,
        **provenance(result.device),
    }


def _params(name: str, spec: ModelSpec, recipe: RecipeConfig, data: PreparedData) -> dict[str, Any]:
    """Return what the tracker shows of a run from its start: columns, and the sections of params.yaml behind it."""
    columns = training_params({"model": name, "data": data.name, **asdict(recipe)})
    sections: dict[str, Any] = {"recipe": asdict(recipe)}
    sections |= {"densenet": asdict(spec.densenet)} if spec.densenet else {}
    return columns | sections


def _log_summary(tracker: Tracker, row: Row, result: TrainResult, data: PreparedData) -> None:
    """Log the run's numbers, and the best epoch's model with a few normalised validation images as example."""
    tracker.log_history(result.history)
    tracker.log_metrics(trained_model(row).metrics)
    images, _ = next(iter(ordered_batches(data.validation, data, min(NUM_EXAMPLES, len(data.validation)))))
    best = rebuild_model(load_checkpoint(result.best_checkpoint))
    tracker.log_model(row["model"], best, images.numpy(), result.best_epoch)
