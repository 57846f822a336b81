"""The registries of models and of their variants, and what a model is built from.

A model's name is that of a registered model, then any number of variants, as in `resnet18-cl4-fc4`: each changes what
the one before has made. A name says all about the structure, so a checkpoint of any variant is rebuilt from its
specification.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import nn

from pipelines.config.show import show
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
        """The number at the end of the model's name, `densenet100` and `densenet100-cl4`: 100."""
        return int(re.findall(r"\d+$", base_of(self.name))[0])


ModelFactory = Callable[[ModelSpec], nn.Module]
Variant = Callable[[nn.Module, int], nn.Module]
"""A change of a model by a number: it may mutate the model and returns the changed one, its specification included."""

# A name that ends in `<depth>` stands for a family: any number in its place is looked up there. One that ends in
# `_<layers>` stands for all networks that the rest of a name writes out, `chain_c3m16s1_p2s2max`.
MODELS: Registry[ModelFactory] = Registry("model", "baseline.models")
FAMILY_SUFFIX = "<depth>"
WRITTEN_MARK = "_"
WRITTEN_SUFFIX = f"{WRITTEN_MARK}<layers>"
DENSENETS = f"densenet{FAMILY_SUFFIX}"
VARIANTS: Registry[Variant] = Registry("variant of a model", "baseline.models")
VARIANT_MARK = "-"


def base_of(name: str) -> str:
    """Return the registered part of a model's name, `resnet18-cl4`: resnet18."""
    return name.partition(VARIANT_MARK)[0]


def variants_of(name: str) -> list[tuple[str, int]]:
    """Return the variants in a model's name with their numbers, `resnet18-cl4`: [("cl", 4)].

    Raises UserError for an unknown one and for one without a number.
    """
    found = []
    for part in name.split(VARIANT_MARK)[1:]:
        parts = re.fullmatch(r"([a-z]+)([1-9][0-9]{0,3})", part)
        if parts is None:
            raise UserError(
                f"baseline.models: {show(name)}: {show(part)} is no variant with a number from 1 to 9999, such as "
                f"cl4; known variants: {', '.join(VARIANTS)}"
            )
        VARIANTS[parts[1]]  # an unknown one ends here
        found.append((parts[1], int(parts[2])))
    return found


def registered_name(name: str) -> str:
    """Return the entry of MODELS that model `name` is built by: its base or the family of that."""
    base = base_of(name)
    by_depth = re.sub(r"[1-9][0-9]{0,3}\Z", FAMILY_SUFFIX, base)
    written = base.partition(WRITTEN_MARK)[0] + WRITTEN_SUFFIX
    return next((one for one in (base, by_depth, written) if one in MODELS), base)


def is_densenet(name: str) -> bool:
    """Whether the section `densenet` concerns model `name`."""
    return registered_name(name) == DENSENETS


def find_factory(name: str) -> ModelFactory:
    """Return the factory of model `name`, itself or by its family; an unknown name or variant raises UserError."""
    if registered_name(name) not in MODELS:
        return MODELS[name]  # which names the known ones
    variants = variants_of(name)
    factory = MODELS[registered_name(name)]

    def build(spec: ModelSpec) -> nn.Module:
        base = replace(spec, name=base_of(spec.name))
        model = factory(base)
        model.spec = base  # type: ignore[assignment]
        for variant, number in variants:
            model = VARIANTS[variant](model, number)
        return model

    return build


def add_variant(model: nn.Module, variant: str, number: int) -> None:
    """Note in the specification of `model`, in place, that it has been changed by `variant`."""
    spec = spec_of(model)
    name = f"{spec.name}{VARIANT_MARK}{variant}{number}"
    model.spec = replace(spec, name=name)  # type: ignore[assignment]


def remove_variants(model: nn.Module, names: set[str]) -> None:
    """Note in the specification of `model`, in place, that variants called `names` have been undone."""
    spec = spec_of(model)
    kept = [f"{variant}{number}" for variant, number in variants_of(spec.name) if variant not in names]
    model.spec = replace(spec, name=VARIANT_MARK.join([base_of(spec.name), *kept]))  # type: ignore[assignment]


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
        densenet=densenet if is_densenet(name) else None,
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
    assert spec_of(model) == spec, f"{spec_of(model).name} was built for {spec.name}"
    return model


def spec_of(model: nn.Module) -> ModelSpec:
    """Return the specification that `build_model` attached to `model`; ValueError for any other module."""
    spec = getattr(model, "spec", None)
    if not isinstance(spec, ModelSpec):
        raise ValueError("this module was not made by pipelines.models.build_model: it has no specification")
    return spec
