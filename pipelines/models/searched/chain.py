"""Chains of convolutions, poolings and fully connected layers, written out in the name.

`chain_c3m16s1_p2s2max_f128` is a convolution of 3x3 with 16 maps and stride 1, a 2x2 maximum pooling with stride 2
(`avg`: the average) and a hidden layer of 128 units; the linear layer to the classes comes last and is not written.
Convolutions and poolings stand before fully connected layers. A convolution has a batch normalisation and a ReLU behind
it, a hidden layer a ReLU. DECNN and IPPSO search among these networks (`pipelines.search.layers`).
"""

import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from pipelines.config.show import show
from pipelines.errors import UserError
from pipelines.models.base import MODELS, WRITTEN_MARK, WRITTEN_SUFFIX, ModelSpec, base_of
from pipelines.models.searched.padding import SamePool, same_padding, same_side

FAMILY = "chain"
MOST_LAYERS = 40
MOST_KERNEL = 16
MOST_UNITS = 9_999
KINDS = ("max", "avg")


@dataclass(frozen=True)
class Conv:
    """A convolution of kernel x kernel pixels."""

    kernel: int
    maps: int
    stride: int

    def __str__(self) -> str:
        return f"c{self.kernel}m{self.maps}s{self.stride}"


@dataclass(frozen=True)
class Pool:
    """A pooling; `kind` is max or avg."""

    kernel: int
    stride: int
    kind: str

    def __str__(self) -> str:
        return f"p{self.kernel}s{self.stride}{self.kind}"


@dataclass(frozen=True)
class Full:
    """A hidden, fully connected layer."""

    units: int

    def __str__(self) -> str:
        return f"f{self.units}"


Layer = Conv | Pool | Full

_NUMBER = r"([1-9][0-9]{0,3})"
_CONV = re.compile(f"c{_NUMBER}m{_NUMBER}s{_NUMBER}")
_POOL = re.compile(f"p{_NUMBER}s{_NUMBER}({'|'.join(KINDS)})")
_FULL = re.compile(f"f{_NUMBER}")


def chain_name(layers: Sequence[Layer]) -> str:
    """Return the name of the model with these layers."""
    return WRITTEN_MARK.join([FAMILY, *map(str, layers)])


def chain_layers(name: str) -> tuple[Layer, ...]:
    """Return the layers that a model's name writes out; UserError in one line where it writes none."""
    parts = base_of(name).split(WRITTEN_MARK)[1:]
    layers = tuple(_layer(name, part) for part in parts)
    if not 1 <= len(layers) <= MOST_LAYERS:
        raise _refused(name, f"{len(layers)} layers", f"1 to {MOST_LAYERS} layers")
    flat = [isinstance(layer, Full) for layer in layers]
    if flat != sorted(flat):
        raise _refused(name, "a convolution or pooling behind a fully connected layer", "them before")
    return layers


def _layer(name: str, part: str) -> Layer:
    if found := _CONV.fullmatch(part):
        layer: Layer = Conv(*map(int, found.groups()))
    elif found := _POOL.fullmatch(part):
        layer = Pool(int(found[1]), int(found[2]), found[3])
    elif found := _FULL.fullmatch(part):
        layer = Full(int(found[1]))
    else:
        raise _refused(name, show(part), "layers such as c3m16s1, p2s2max, p2s2avg and f128")
    if not isinstance(layer, Full) and max(layer.kernel, layer.stride) > MOST_KERNEL:
        raise _refused(name, show(part), f"kernels and strides of at most {MOST_KERNEL} pixels")
    return layer


def _refused(name: str, what: str, allowed: str) -> UserError:
    return UserError(f"baseline.models: {show(name)}: {what} is not allowed; allowed: {allowed}")


@MODELS.register(f"{FAMILY}{WRITTEN_SUFFIX}")
def build_chain(spec: ModelSpec) -> nn.Module:
    """Build the chain that stands in the name."""
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    side, width = spec.image_size, spec.num_channels
    layers = chain_layers(spec.name)
    for place, layer in enumerate(layers):
        if isinstance(layer, Full):
            continue
        if isinstance(layer, Conv):
            modules[f"layer{place}"] = _conv(side, width, layer)
            width = layer.maps
        else:
            modules[f"layer{place}"] = SamePool(side, layer.kernel, layer.stride, layer.kind)
        side = same_side(side, layer.stride)
    modules["flatten"] = nn.Flatten()
    width *= side**2
    for place, layer in enumerate(layers):
        if isinstance(layer, Full):
            hidden = nn.Linear(width, layer.units)
            nn.init.kaiming_normal_(hidden.weight, nonlinearity="relu")
            nn.init.zeros_(hidden.bias)
            modules[f"layer{place}"] = nn.Sequential(hidden, nn.ReLU())
            width = layer.units
    classifier = nn.Linear(width, spec.num_classes)
    nn.init.zeros_(classifier.bias)
    modules["classifier"] = classifier
    return nn.Sequential(modules)


def _conv(side: int, width: int, layer: Conv) -> nn.Sequential:
    """Return the convolution with what belongs to it, for maps [b, width, side, side]."""
    before, behind = same_padding(side, layer.kernel, layer.stride)
    conv = nn.Conv2d(width, layer.maps, layer.kernel, layer.stride, bias=False)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    padding = [nn.ZeroPad2d((before, behind, before, behind))] if before or behind else []
    return nn.Sequential(*padding, conv, nn.BatchNorm2d(layer.maps), nn.ReLU())
