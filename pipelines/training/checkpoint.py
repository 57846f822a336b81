"""Checkpoints: everything that prediction and an exact resume need."""

import sys
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipelines import checkpoints
from pipelines.checkpoints import CheckpointError
from pipelines.models import DenseNetConfig, ModelSpec, build_from_spec

LAST, PREVIOUS, BEST = "last.pt", "previous.pt", "best.pt"
EpochRow = dict[str, int | float]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A model after `epoch` epochs, with what it was trained on and how."""

    spec: ModelSpec
    recipe: dict[str, Any]
    """The section `recipe`, as plain values (`RecipeConfig.identity`)."""
    data_name: str
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    """Per channel, of pixels in 0..1: normalisation of the images."""
    std: tuple[float, ...]
    data_checksum: str
    transform: str | None
    """The input transform that images go through before the normalisation."""
    epoch: int
    """Finished epochs."""
    best_epoch: int
    """The epoch (from 1) with the best validation accuracy so far, of equals the one with the lowest loss."""
    finished: bool
    """Whether the run is complete, its results handed over; such a checkpoint is not resumed."""
    history: list[EpochRow]
    model_state: dict[str, Tensor]
    optimizer_state: dict[str, Any] | None
    """None in `best.pt`, which is not resumed from."""
    generator_states: dict[str, Tensor]
    """States of the model's own random generators by module name."""


def save_checkpoint(checkpoint: Checkpoint, path: Path, predecessor: Path | None = None) -> None:
    """Write `checkpoint` to `path` and keep the old file as `predecessor`; see `pipelines.checkpoints.save`."""
    content = {field.name: getattr(checkpoint, field.name) for field in fields(checkpoint)}
    checkpoints.save(content | {"spec": asdict(checkpoint.spec)}, path, predecessor=predecessor)


def mark_finished(folder: Path) -> None:
    """Mark the run in `folder` as complete: the next `train` there starts anew instead of resuming."""
    last = load_checkpoint(folder / LAST)
    save_checkpoint(replace(last, finished=True), folder / LAST)
    (folder / PREVIOUS).unlink(missing_ok=True)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint onto the CPU, executing nothing in it; a missing or damaged file raises CheckpointError."""
    content = checkpoints.load(path)
    try:
        spec = dict(content["spec"])
        if spec["densenet"] is not None:
            spec["densenet"] = DenseNetConfig(**spec["densenet"])
        return Checkpoint(**{**content, "spec": ModelSpec(**spec)})
    except (LookupError, TypeError, ValueError):
        raise CheckpointError(
            path, "is of another version of this suite; remove it and train again"
        ) from None


def load_resumable(folder: Path) -> Checkpoint | None:
    """Return the newest whole checkpoint of the run in `folder`, None where there is nothing to go on from.

    Damaged files are named on stderr, removed and passed over. A damaged best.pt is written anew where the last epoch
    is the best one; otherwise the run has to start anew, or its result would be lost at the end.
    """
    what = f"the training in {folder}"
    last = checkpoints.load_newest(load_checkpoint, [folder / LAST, folder / PREVIOUS], what)
    if last is None or last.finished:
        return None
    best = checkpoints.load_newest(load_checkpoint, [folder / BEST], f"the best epoch of {what}")
    # A later epoch's is one that the interrupted run wrote last; this one will write the very same again.
    if best is not None and (best.epoch == last.best_epoch or best.epoch > last.epoch):
        return last
    if last.epoch == last.best_epoch:
        save_checkpoint(replace(last, optimizer_state=None), folder / BEST)
        return last
    print(f"warning: {what} starts anew: its best epoch is lost", file=sys.stderr, flush=True)
    return None


def rebuild_model(checkpoint: Checkpoint) -> nn.Module:
    """Return the checkpoint's model on the CPU, in evaluation mode, its generators' states restored."""
    model = build_from_spec(checkpoint.spec)
    model.load_state_dict(checkpoint.model_state)
    restore_generators(model, checkpoint.generator_states)
    return model.eval()


def generators_of(model: nn.Module) -> dict[str, torch.Generator]:
    """Return the random generators that modules of `model` own (attribute `generator`), by module name."""
    found = {name: getattr(module, "generator", None) for name, module in model.named_modules()}
    return {name: owned for name, owned in found.items() if isinstance(owned, torch.Generator)}


def restore_generators(model: nn.Module, states: dict[str, Tensor]) -> None:
    """Set the generators of `model` to `states` (from a checkpoint), in place."""
    for name, generator in generators_of(model).items():
        generator.set_state(states[name])
