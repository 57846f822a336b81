"""Groups of channels that are removed together, for each architecture that can be pruned."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import nn

from pipelines.errors import UserError
from pipelines.models.base import DENSENETS, registered_name, spec_of, variants_of
from pipelines.models.densenet import DenseNet

VARIANTS_BEFORE = ("mseb", "pruned")
"""Variants that leave the layers of a model as ordinary ones."""


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that several layers write, summed or alone, and others read; modules by their names in the model."""

    name: str
    writers: tuple[str, ...]
    """Convolutions whose outputs the channels are."""
    norms: tuple[str, ...]
    """The batch normalisation of each writer, in the same order."""
    readers: tuple[str, ...]
    """Convolutions and linear layers whose inputs the channels are."""


def channel_groups(model: nn.Module) -> list[ChannelGroup]:
    """Return the groups of `model` (from `build_model`) that uniform pruning trims.

    VGG: the outputs of each convolution. ResNets of basic blocks: the inside of each block, and per stage what its
    blocks add up. ResNets of bottlenecks: both sides of the 3x3 convolution of each block. DenseNet-BC: the outputs of
    each 1x1 convolution. Raises UserError for another model and for one whose layers other variants have changed.
    """
    name = spec_of(model).name
    find = _FINDERS.get(registered_name(name))
    if find is None:
        known = ", ".join(_FINDERS)
        raise UserError(f"baseline.models: {name} cannot be pruned; allowed: {known}")
    for variant, _ in variants_of(name):
        if variant not in VARIANTS_BEFORE:
            allowed = ", ".join(VARIANTS_BEFORE)
            raise UserError(
                f"baseline.models: {name} cannot be pruned any more; allowed: {allowed} before {variant}"
            )
    return list(find(model))


def _vgg_groups(model: nn.Module) -> Iterator[ChannelGroup]:
    features = model.get_submodule("features")
    places = [index for index, module in enumerate(features.children()) if isinstance(module, nn.Conv2d)]
    names = [f"features.{index}" for index in places]
    readers = [*names[1:], "classifier"]
    for index, name, reader in zip(places, names, readers, strict=True):
        yield ChannelGroup(name, (name,), (f"features.{index + 1}",), (reader,))


def _resnet_groups(model: nn.Module) -> Iterator[ChannelGroup]:
    stages = ["layer1", "layer2", "layer3", "layer4"]
    blocks = {
        stage: [f"{stage}.{name}" for name, _ in model.get_submodule(stage).named_children()]
        for stage in stages
    }
    if hasattr(model.get_submodule("layer1.0"), "conv3"):
        for block in [block for stage in stages for block in blocks[stage]]:
            yield ChannelGroup(f"{block}.conv1", (f"{block}.conv1",), (f"{block}.bn1",), (f"{block}.conv2",))
            yield ChannelGroup(f"{block}.conv2", (f"{block}.conv2",), (f"{block}.bn2",), (f"{block}.conv3",))
        return
    for stage, following in zip(stages, [*stages[1:], None], strict=True):
        for block in blocks[stage]:
            yield ChannelGroup(f"{block}.conv1", (f"{block}.conv1",), (f"{block}.bn1",), (f"{block}.conv2",))
        first = f"{stage}.0.downsample"
        entry = ("conv1", "bn1") if stage == "layer1" else (f"{first}.0", f"{first}.1")
        inner = blocks[stage] if stage == "layer1" else blocks[stage][1:]
        after = ("fc",) if following is None else (f"{following}.0.conv1", f"{following}.0.downsample.0")
        yield ChannelGroup(
            stage,
            (entry[0], *(f"{block}.conv2" for block in blocks[stage])),
            (entry[1], *(f"{block}.bn2" for block in blocks[stage])),
            (*(f"{block}.conv1" for block in inner), *after),
        )


def _densenet_groups(model: nn.Module) -> Iterator[ChannelGroup]:
    assert isinstance(model, DenseNet)
    config = spec_of(model).densenet
    if config is None or not config.bottleneck:
        raise UserError(
            "densenet.bottleneck: False is not allowed for a model that is pruned, as only the outputs of the 1x1 "
            "convolutions are trimmed; allowed: True"
        )
    for index, block in enumerate(model.blocks):
        for number, _ in block.layers.named_children():  # type: ignore[union-attr]
            layer = f"blocks.{index}.layers.{number}"
            yield ChannelGroup(layer, (f"{layer}.reuse",), (f"{layer}.bottleneck",), (f"{layer}.conv",))


_FINDERS: dict[str, Callable[[nn.Module], Iterator[ChannelGroup]]] = {
    "vgg16_bn": _vgg_groups,
    "vgg19_bn": _vgg_groups,
    "resnet18": _resnet_groups,
    "resnet50": _resnet_groups,
    DENSENETS: _densenet_groups,
}
