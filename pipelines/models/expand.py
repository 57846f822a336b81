"""Linear over-parameterisation, ExpandNets (Guo, Alvarez and Salzmann 2020, arXiv:1811.10495, section 3).

While it is trained each linear layer is a product of several with nothing in between, with more channels inside; it is
contracted to one layer afterwards, exactly. For a layer from m to n channels and the rate r:

    cl: 1x1 (m to rm), k x k (rm to rn), 1x1 (rn to n)
    ck: a k x k kernel with k > 3 as a chain of (k - 1) / 2 kernels of 3x3: m to rm to rn ... rn to n
    fc: a linear layer as three matrices: m to rm, rm to rn, rn to n

The factors are multiplied before the layer is applied, not after each other to the images: by associativity outputs
and gradients are the same (all padding is that of the whole layer, as in the authors' code, and none of the inner
factors has a bias), and the work of a step hardly depends on the number of pixels. So any layer that has a weight can
be expanded, a DenseNet's own included.
"""

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipelines.errors import UserError
from pipelines.models.base import VARIANTS, add_variant, remove_variants, spec_of
from pipelines.models.densenet import ReusedConv

KINDS = ("cl", "ck", "fc")
_SMALLEST_CHAINED = 5  # a 3x3 kernel is no chain of 3x3 kernels
MOST_RATE = 64


class _Expanded(nn.Module):
    """A layer whose weight is the product of `factors`; mixed into the class of the layer.

    A factor is [groups, outputs, inputs, height, width], the first is applied first.
    """

    factors: nn.ParameterList
    weight_shape: torch.Size

    @property
    def weight(self) -> Tensor:
        """The contracted weight, in the shape that the layer has had."""
        return compose(list(self.factors)).reshape(self.weight_shape)


class ExpandedConv2d(_Expanded, nn.Conv2d):  # type: ignore[override]
    """A convolution with a weight in factors."""


class ExpandedLinear(_Expanded, nn.Linear):  # type: ignore[override]
    """A linear layer with a weight in factors."""


class ExpandedReusedConv(_Expanded, ReusedConv):  # type: ignore[misc]
    """A DenseNet's convolution of earlier maps with a weight in factors."""


_EXPANDED_CLASSES: dict[type[nn.Module], type[_Expanded]] = {
    nn.Conv2d: ExpandedConv2d,
    nn.Linear: ExpandedLinear,
    ReusedConv: ExpandedReusedConv,
}
_COMPACT_CLASSES = {expanded: compact for compact, expanded in _EXPANDED_CLASSES.items()}


def compose(factors: list[Tensor]) -> Tensor:
    """Return the one kernel [g, n, m, h, w] that does what `factors` do one after the other.

    Each factor is [g, outputs, inputs, h, w]; a side of the result is the sum of theirs less one for each but one.
    """
    # From the end: the number of outputs is the smallest number of channels as a rule.
    product = factors[-1]
    for factor in reversed(factors[:-1]):
        product = _after(product, factor)
    return product


def _after(second: Tensor, first: Tensor) -> Tensor:
    """Return the kernel of `first` followed by `second`."""
    if first.shape[-2:] == (1, 1):
        return torch.einsum("gnphw,gpm->gnmhw", second, first[..., 0, 0])
    if second.shape[-2:] == (1, 1):
        return torch.einsum("gnp,gpmhw->gnmhw", second[..., 0, 0], first)
    # Layers correlate; the correlation of two correlations is the convolution of their kernels.
    height, width = second.shape[-2:]
    kernels = [
        functional.conv2d(one.transpose(0, 1), two.flip(2, 3), padding=(height - 1, width - 1))
        for one, two in zip(first, second, strict=True)
    ]
    return torch.stack(kernels).transpose(1, 2)


def expand(model: nn.Module, kind: str, rate: int) -> nn.Module:
    """Return a copy of `model` (from `build_model`) with its layers expanded by `kind` at the whole number `rate`.

    `kind` is one of KINDS or several joined by +, as in `ck+fc`; where both are named, ck takes the kernels that it
    fits and cl the others. The factors are a function of the specification's seed, scaled so that the contracted weight
    has the root mean square of the layer's own: an expanded network starts as a compact one does, with other numbers.
    Biases and everything but convolutions and linear layers stay. The specification's name gets the variants.
    Raises UserError on an unknown kind, a rate out of range, and where the model has no layer for a kind.
    """
    expanded = copy.deepcopy(model)
    for one in _kinds_of(kind):
        _expand_in_place(expanded, one, rate)
        add_variant(expanded, one, rate)
    return expanded


def contract(model: nn.Module) -> nn.Module:
    """Return a copy of `model` with every expanded layer as the one layer that it is; other models are just copied.

    Outputs stay the same but for the rounding of float32; the specification is that of the compact model, so that a
    checkpoint of the copy is one of the compact model.
    """
    contracted = copy.deepcopy(model)
    for module in contracted.modules():
        if isinstance(module, _Expanded):
            weight = nn.Parameter(module.weight.detach().clone())
            del module.factors, module.weight_shape
            _become(module, _COMPACT_CLASSES[type(module)])
            _register_first(module, weight)
    remove_variants(contracted, set(KINDS))
    return contracted


def _kinds_of(kind: str) -> list[str]:
    """Return the kinds in `kind`, in the order in which they are applied."""
    named = kind.split("+")
    if not set(named) <= set(KINDS) or len(set(named)) != len(named):
        raise UserError(
            f"expansion: {kind!r} is not allowed; allowed: {', '.join(KINDS)}, or several joined by +"
        )
    return sorted(named, key=("ck", "cl", "fc").index)


def _expand_in_place(model: nn.Module, kind: str, rate: int) -> None:
    if not 1 <= rate <= MOST_RATE:
        raise UserError(f"expansion: the rate {rate} is not allowed; allowed: 1 to {MOST_RATE}")
    fitting = [
        module for module in model.modules() if type(module) in _EXPANDED_CLASSES and _fits(module, kind)
    ]
    if not fitting:
        raise UserError(f"baseline.models: the model has no layer that {kind}{rate} expands; leave it out")
    generator = torch.Generator().manual_seed(spec_of(model).seed)
    for module in fitting:
        weight = module.get_parameter("weight").detach()
        factors = _draw_factors(weight, kind, rate, int(getattr(module, "groups", 1)), generator)
        _become(module, _EXPANDED_CLASSES[type(module)])
        del module._parameters["weight"]
        module.weight_shape = weight.shape  # type: ignore[assignment]
        module.factors = nn.ParameterList(factors)


def _fits(module: nn.Module, kind: str) -> bool:
    """Whether `kind` is made for this layer; biases stay outside of the factors."""
    if isinstance(module, nn.Linear):
        return kind == "fc"
    if kind == "fc":
        return False
    height, width = module.weight.shape[-2:]  # type: ignore[index]
    return kind == "cl" or (height == width and height % 2 == 1 and int(height) >= _SMALLEST_CHAINED)


def _draw_factors(
    weight: Tensor, kind: str, rate: int, groups: int, generator: torch.Generator
) -> list[Tensor]:
    """Draw the factors of a layer, each with the variance that keeps that of its input; see `expand`."""
    num_outputs, num_inputs = weight.shape[0] // groups, weight.shape[1]
    kernel = tuple(weight.shape[2:]) or (1, 1)
    kernels = [(3, 3)] * ((kernel[0] - 1) // 2) if kind == "ck" else [(1, 1), kernel, (1, 1)]
    inner = [rate * num_inputs, *[rate * num_outputs] * (len(kernels) - 2)]
    widths = [num_inputs, *inner, num_outputs]
    factors = []
    for index, (height, width) in enumerate(kernels):
        shape = (groups, widths[index + 1], widths[index], height, width)
        std = 1 / math.sqrt(widths[index] * height * width)
        factors.append(torch.randn(shape, generator=generator).to(weight) * std)
    # A weight of zeros (a classifier's, sometimes) would stay at zero: its gradient is a product with the others.
    wanted = weight.square().mean().sqrt().clamp(min=1e-3)
    found = compose(factors).square().mean().sqrt()
    scale = (wanted / found) ** (1 / len(factors))
    return [factor * scale for factor in factors]


def _become(module: nn.Module, other: type[nn.Module]) -> None:
    """Give `module` the class `other`, which has the same attributes but for the weight."""
    module.__class__ = other


def _register_first(module: nn.Module, weight: nn.Parameter) -> None:
    """Register `weight` before the other parameters of `module`, where its class has it."""
    others = dict(module._parameters)
    module._parameters.clear()
    scales = {name: others.pop(name) for name in ("scale", "shift") if name in others}
    module._parameters.update(scales | {"weight": weight} | others)


def _register_variant(kind: str) -> None:
    @VARIANTS.register(kind)
    def expanded(model: nn.Module, rate: int) -> nn.Module:
        """Return `model` expanded, see the module."""
        return expand(model, kind, rate)


for _kind in KINDS:
    _register_variant(_kind)
