"""Checkpoints: everything that prediction and an exact resume need, written atomically."""

import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from pipelines.errors import UserError
from pipelines.models import DenseNetConfig, ModelSpec, build_from_spec

EpochRow = dict[str, int | float]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A model after `epoch` epochs, with what it was trained on and how."""

    spec: ModelSpec
    recipe: dict[str, Any]
    """The section `recipe`, as plain values."""
    data_name: str
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    """Per channel, of pixels in 0..1: normalisation of the images."""
    std: tuple[float, ...]
    data_checksum: str
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


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write `checkpoint` to `path`: at any moment the file is the old one or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    content = {field.name: getattr(checkpoint, field.name) for field in fields(checkpoint)}
    torch.save(content | {"spec": asdict(checkpoint.spec)}, temporary)
    os.replace(temporary, path)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint onto the CPU, executing nothing in it; a missing or damaged file raises UserError."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        spec = content.pop("spec")
        if spec["densenet"] is not None:
            spec["densenet"] = DenseNetConfig(**spec["densenet"])
        return Checkpoint(spec=ModelSpec(**spec), **content)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); train the model first") from None
    except (RuntimeError, UnpicklingError, EOFError, KeyError, TypeError, AttributeError):
        raise UserError(
            f"{path}: is no checkpoint of this version or is damaged; remove it and train again"
        ) from None


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
