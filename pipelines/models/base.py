"""The registry of models and what a model is built from."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from pipelines.errors import UserError
from pipelines.models.config import DenseNetConfig
from pipelines.registry import Registry


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """All that determines a model before training; stored in every checkpoint."""

    name: str
    num_channels: int
    num_classes: int
    image_size: int
    densenet: DenseNetConfig | None
    """The section `densenet` for the models that it concerns, those of a family by depth; else None."""
    seed: int

    @property
    def depth(self) -> int:
        """The number at the end of the name, `densenet100`: 100."""
        return int(re.findall(r"\d+$", self.name)[0])


ModelFactory = Callable[[ModelSpec], nn.Module]

# A name that ends in `<depth>` stands for a family: any number in its place is looked up there.
MODELS: Registry[ModelFactory] = Registry("model", "baseline.models")
FAMILY_SUFFIX = "<depth>"


def find_factory(name: str) -> ModelFactory:
    """Return the factory of model `name`, itself or by its family; an unknown name raises UserError."""
    family = re.sub(r"[1-9][0-9]{0,3}\Z", FAMILY_SUFFIX, name)
    return MODELS[family if name not in MODELS and family in MODELS else name]


def build_model(
    name: str,
    *,
    num_channels: int,
    num_classes: int,
    image_size: int,
    densenet: DenseNetConfig,
    seed: int,
) -> nn.Module:
    """Build a freshly initialised float32 model on the CPU for images [batch, num_channels, size, size].

    The weights are a function of the arguments alone: they are drawn from a generator forked for the purpose,
    so that the global random state is neither read nor changed. Raises UserError on an unknown name, a depth
    that fits no block rule and an image too small for the model.
    """
    spec = ModelSpec(
        name=name,
        num_channels=num_channels,
        num_classes=num_classes,
        image_size=image_size,
        densenet=None if name in MODELS else densenet,
        seed=seed,
    )
    return build_from_spec(spec)


class Images(Protocol):
    """What a model must know of the images that it is for; prepared data are such."""

    @property
    def num_channels(self) -> int:
        """Colour channels."""
        ...

    @property
    def num_classes(self) -> int:
        """Classes to tell apart."""
        ...

    @property
    def image_size(self) -> int:
        """Side of the square images in pixels."""
        ...


def build_model_for(images: Images, name: str, densenet: DenseNetConfig, seed: int) -> nn.Module:
    """Build model `name` for the shape and the classes of `images`; see `build_model`."""
    return build_model(
        name,
        num_channels=images.num_channels,
        num_classes=images.num_classes,
        image_size=images.image_size,
        densenet=densenet,
        seed=seed,
    )


def build_from_spec(spec: ModelSpec) -> nn.Module:
    """Build the model that `spec` describes; see `build_model`."""
    factory = find_factory(spec.name)
    if spec.num_classes < 2:
        raise UserError(f"data: {spec.num_classes} classes are not enough to train on; at least 2 are needed")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.seed)
        model = factory(spec)
    model.spec = spec  # type: ignore[assignment]
    return model


def spec_of(model: nn.Module) -> ModelSpec:
    """Return the specification that `build_model` attached to `model`; ValueError for any other module."""
    spec = getattr(model, "spec", None)
    if not isinstance(spec, ModelSpec):
        raise ValueError("this module was not made by pipelines.models.build_model: it has no specification")
    return spec
