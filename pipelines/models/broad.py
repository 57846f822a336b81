"""Shallower and broader at equal parameters: another depth, and the width that makes up for it.

`densenet100-broad40` is the DenseNet of depth 40 with the growth rate that brings it nearest to the parameters of
densenet100; `plain20-broad8` the plain network of eight convolutions with the width for that.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import nn

from pipelines.config.validate import MOST_WIDTH
from pipelines.errors import UserError
from pipelines.models.base import (
    DENSENETS,
    MODELS,
    VARIANTS,
    add_variant,
    build_from_spec,
    registered_name,
    spec_of,
)
from pipelines.models.plain import PLAIN, PlainNet, check_plain_depth
from pipelines.models.statistics import count_parameters

VARIANT = "broad"


@VARIANTS.register(VARIANT)
def broaden(model: nn.Module, depth: int) -> nn.Module:
    """Return a new network of the family of `model` with `depth` layers and, nearly, the parameters of `model`.

    The width is the whole number, one for the whole network, that brings it nearest. Raises UserError on a family
    without a width and a depth that the family does not have.
    """
    spec = spec_of(model)
    build = _builder_of(model, depth)
    broad = build(_width_for(build, count_parameters(model)))
    broad.spec = spec  # type: ignore[assignment]
    add_variant(broad, VARIANT, depth)
    return broad


def densenet_of_size(model: nn.Module, num_parameters: int) -> nn.Module:
    """Return a new DenseNet of the depth of `model`, a DenseNet, with nearly `num_parameters`.

    The growth rate is the whole number that brings it nearest; it stands in the specification. Its weights are drawn
    from the specification's seed. Raises UserError on another model.
    """
    spec = spec_of(model)
    if spec.densenet is None:
        raise UserError(f"baseline.models: {spec.name} is not allowed here; allowed: {DENSENETS}")
    growth_rate = _width_for(_builder_of(model, spec.depth), num_parameters)
    return build_from_spec(replace(spec, densenet=replace(spec.densenet, growth_rate=growth_rate)))


def _width_for(build: Callable[[int], nn.Module], num_parameters: int) -> int:
    """Return the width at which `build` comes nearest to `num_parameters`."""
    with torch.device("meta"):  # shapes alone
        return _nearest_width(lambda width: count_parameters(build(width)), num_parameters)


def _builder_of(model: nn.Module, depth: int) -> Callable[[int], nn.Module]:
    """Return what builds the network of `depth` from its width."""
    spec = spec_of(model)
    family = registered_name(spec.name)
    if family == PLAIN and spec.name == f"plain{spec.depth}":
        check_plain_depth(depth)
        return lambda width: PlainNet(depth, width, spec)
    if family == DENSENETS and spec.name == f"densenet{spec.depth}":
        config = spec.densenet
        assert config is not None
        name = f"densenet{depth}"
        return lambda width: MODELS[DENSENETS](
            replace(spec, name=name, densenet=replace(config, growth_rate=width))
        )
    raise UserError(
        f"baseline.models: {spec.name} has no width to change; allowed before {VARIANT}: {PLAIN}, {DENSENETS}"
    )


def _nearest_width(count: Callable[[int], int], target: int) -> int:
    """Return the width whose count, which grows with it, is nearest to `target`."""
    low, high = 1, 2
    while high < MOST_WIDTH and count(high) < target:
        low, high = high, min(2 * high, MOST_WIDTH)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) < target else (low, middle)
    return min((low, high), key=lambda width: abs(count(width) - target))
