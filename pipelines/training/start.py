"""Transfer learning: the weights that a training starts with, where they are those of an earlier one."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from pipelines.checkpoints import CheckpointError
from pipelines.config.show import show
from pipelines.errors import UserError
from pipelines.models import DenseNetConfig, build_model_for, spec_of
from pipelines.models.base import Images
from pipelines.models.classifier import classifier_of
from pipelines.training.checkpoint import Checkpoint, load_checkpoint
from pipelines.training.config import RecipeConfig, StartConfig
from pipelines.training.freezing import covers, plan_freezing

KEY = "recipe.start_from"


def start_model(images: Images, name: str, densenet: DenseNetConfig, recipe: RecipeConfig) -> nn.Module:
    """Build model `name` for `images`, on the CPU, with the weights that the recipe starts from.

    UserError where the checkpoint of `recipe.start_from` is missing, another one or fits another model, and where a
    layer is frozen whose weights would be fresh ones.
    """
    check_start(recipe)
    model = build_model_for(images, name, densenet, recipe.seed)
    if recipe.start_from is not None:
        take_weights(model, load_start(recipe.start_from), recipe)
    return model


def check_start(recipe: RecipeConfig) -> None:
    """Raise UserError where layers are frozen that nothing has trained."""
    if recipe.frozen and recipe.start_from is None:
        raise UserError(
            f"recipe.frozen: {show(list(recipe.frozen))} is not allowed without {KEY}: the layers would keep random "
            "weights; allowed: {}"
        )


def load_start(start: StartConfig) -> Checkpoint:
    """Read the checkpoint; UserError where it cannot be read or its bytes are not those that the recipe names."""
    path = Path(start.path)
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{KEY}.path: {start.path}: cannot be read ({error.strerror})") from None
    if found != start.sha256:
        raise UserError(f"{KEY}.sha256: {show(start.sha256)} is not that of {start.path}, which is {found}")
    try:
        return load_checkpoint(path)
    except CheckpointError as error:
        raise UserError(f"{KEY}.path: {start.path}: {error.reason.partition(';')[0]}") from None


def take_weights(model: nn.Module, checkpoint: Checkpoint, recipe: RecipeConfig) -> int:
    """Copy into `model` what fits of `checkpoint`, in place; return the number of parameters (tensors) taken.

    What fits has the name and the shape of a parameter or a buffer outside the classifier. UserError where the
    images have another number of channels, nothing fits, or a frozen layer gets less than all of its weights.
    """
    source, own = checkpoint.spec, spec_of(model)
    if source.num_channels != own.num_channels:
        raise UserError(
            f"{KEY}: a {source.name} for images of {source.num_channels} channels does not fit these, which have "
            f"{own.num_channels}; start from a network that was trained on such"
        )
    taken = copy_fitting(model, checkpoint.model_state)
    parameters = [name for name, _ in model.named_parameters()]
    if not taken.intersection(parameters):
        raise UserError(
            f"{KEY}: a {source.name} has no weights that fit {own.name}; start from one of its kind"
        )
    missing = [name for name in plan_freezing(model, recipe).releases if name not in taken]
    if missing:
        raise UserError(
            f"recipe.frozen: {missing[0]} of {own.name} has no weights in a {source.name}, where it differs; "
            "leave its layer out"
        )
    return len(taken.intersection(parameters))


@torch.no_grad()
def copy_fitting(model: nn.Module, state: Mapping[str, Tensor]) -> set[str]:
    """Copy the tensors of `state` that fit by name and shape into `model`, in place, but for those of the classifier.

    Returns their names.
    """
    classifier = classifier_of(model)
    targets = {
        name: target
        for name, target in model.state_dict().items()
        if not covers(classifier, name) and name in state and state[name].shape == target.shape
    }
    for name, target in targets.items():
        target.copy_(state[name])
    return set(targets)
