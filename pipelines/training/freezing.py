"""Frozen layers: which parameters of a network are not trained, until when, and what that means for its modules."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import nn

from pipelines.config.show import show
from pipelines.errors import UserError
from pipelines.models.classifier import classifier_of
from pipelines.training.config import RecipeConfig

ALL = "all"
"""The entry of `recipe.frozen` that stands for every layer but the classifier."""


@dataclass(frozen=True)
class Freezing:
    """Which parameters of a network are frozen when. Nothing of it is a state: an epoch's number says all."""

    releases: Mapping[str, int | None]
    """Of each parameter that is frozen at first, by its name, the epoch (from 0) that trains it first; None: none."""

    def frozen_in(self, epoch: int) -> frozenset[str]:
        """Return the names of the parameters that are not trained in an epoch, from 0."""
        return frozenset(
            name for name, release in self.releases.items() if release is None or epoch < release
        )

    def apply(self, model: nn.Module, epoch: int) -> None:
        """Let those parameters of `model` have gradients that are trained in an epoch, in place."""
        frozen = self.frozen_in(epoch)
        for name in self.releases:
            model.get_parameter(name).requires_grad_(name not in frozen)

    def is_applied(self, model: nn.Module, epoch: int) -> bool:
        """Tell whether `model` has what `apply` would give it."""
        frozen = self.frozen_in(epoch)
        return all(model.get_parameter(name).requires_grad == (name not in frozen) for name in self.releases)

    @property
    def release_epochs(self) -> list[int]:
        """The epochs, from 0 and ascending, before which layers are released."""
        return sorted({release for release in self.releases.values() if release is not None})


def plan_freezing(model: nn.Module, recipe: RecipeConfig) -> Freezing:
    """Return what of `model` the recipe freezes, and until when.

    A part of the epochs is rounded to whole ones, halves up, and is at least one; where that makes all of them, the
    layer is never released. UserError where an entry names no
    layer of the model, or nothing is left to train in the first epoch.
    """
    names = [name for name, _ in model.named_parameters()]
    for entry in recipe.frozen:
        if entry != ALL and not any(covers(entry, name) for name in names):
            raise UserError(
                f"recipe.frozen: {show(entry)} is no layer of this model; its layers: {', '.join(_layers(model))}, "
                f"or {ALL}"
            )
    classifier = classifier_of(model)
    releases: dict[str, int | None] = {}
    for name in names:
        entries = [entry for entry in recipe.frozen if covers(entry, name)]
        if ALL in recipe.frozen and not covers(classifier, name):
            entries.append(ALL)
        if entries:
            # What is called by its name is meant more than what is one of all.
            part = recipe.frozen[max(entries, key=lambda entry: (entry != ALL, len(entry)))]
            release = recipe.epochs if part is None else max(1, int(part * recipe.epochs + 0.5))
            releases[name] = release if release < recipe.epochs else None
    if len(releases) == len(names):
        raise UserError(
            f"recipe.frozen: {show(list(recipe.frozen))} leaves nothing to train; leave a layer out of it"
        )
    return Freezing(releases)


def training_mode(model: nn.Module) -> None:
    """Put `model` into training mode, but modules all of whose parameters are frozen into evaluation mode, in place.

    So batch norms of frozen layers use and keep the statistics that they have, and their dropout does nothing, that of
    modules without parameters inside them included.
    """
    model.train()
    for module in model.modules():
        trained = [parameter.requires_grad for parameter in module.parameters()]
        if trained and not any(trained):
            module.eval()


def covers(layer: str, name: str) -> bool:
    """Tell whether the parameter `name` belongs to `layer`, or to a layer inside it."""
    return name == layer or name.startswith(f"{layer}.")


def _layers(model: nn.Module) -> Iterator[str]:
    """Yield the names of the layers that a user may mean: the model's children, of mere containers what is in them."""
    for name, child in model.named_children():
        inside = [
            f"{name}.{each}" for each, one in child.named_children() if any(True for _ in one.parameters())
        ]
        if isinstance(child, (nn.ModuleList, nn.Sequential)) and inside:
            yield from inside
        elif any(True for _ in child.parameters()):
            yield name
