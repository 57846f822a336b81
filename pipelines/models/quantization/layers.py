"""Layers with quantized weights and inputs, and the function that gives a model such layers."""

import copy
from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional

from pipelines.errors import UserError
from pipelines.models.base import DENSENETS, VARIANTS, add_variant, registered_name, spec_of
from pipelines.models.densenet import DenseBlock, ReusedConv
from pipelines.models.features import Features
from pipelines.models.quantization.activations import BasisActivations, LsqActivations
from pipelines.models.quantization.basis import MOST_BITS
from pipelines.models.quantization.weights import BasisWeights, DirectWeights, LsqWeights, WeightSource
from pipelines.models.reuse import Kept

METHODS = ("dq", "lqnets", "lsq")
# Every convolution of these but the first reads what a ReLU gave.
MODELS_WITH_RELU = (
    *("vgg16_bn", "vgg19_bn", "resnet18", "resnet50"),
    *(DENSENETS, "dacnn<depth>", "dacnnmix<depth>", "plain<depth>"),
)
_WEIGHTS: dict[str, Callable[[Tensor, int], WeightSource]] = {
    "dq": DirectWeights,
    "lqnets": BasisWeights,
    "lsq": LsqWeights,
}
_ACTIVATIONS: dict[str, Callable[[int], nn.Module]] = {
    "dq": lambda bits: BasisActivations(bits, fair=True),
    "lqnets": lambda bits: BasisActivations(bits, fair=False),
    "lsq": LsqActivations,
}


class QuantizedLayer(nn.Module):
    """Mixed into the class of a layer: its weight comes from `weight_source`, its input through `quantize_input`."""

    weight_source: WeightSource | None
    quantize_input: nn.Module | None

    @property
    def weight(self) -> Tensor:
        """The weight that the layer applies."""
        if self.weight_source is not None:
            return self.weight_source()  # type: ignore[no-any-return]
        weight = self._parameters["weight"]
        assert weight is not None
        return weight


class QuantizedConv2d(QuantizedLayer, nn.Conv2d):  # type: ignore[override]
    """A convolution with quantized weights, inputs or both."""

    def forward(self, maps: Tensor) -> Tensor:
        """Return the convolution [b, out, h, w] of the quantized maps."""
        return super().forward(maps if self.quantize_input is None else self.quantize_input(maps))


class QuantizedReusedConv(QuantizedLayer, ReusedConv):  # type: ignore[misc]
    """A DenseNet's convolution of earlier maps with quantized weights, inputs or both."""

    def forward(self, features: Features, kept: Kept | None = None) -> Tensor:
        """See ReusedConv; quantized inputs are those after scale, shift and ReLU."""
        if self.quantize_input is None:
            return super().forward(features, kept)
        maps = self.quantize_input(features.activate(self.scale, self.shift))
        weight = self.weight
        return functional.conv2d(maps, weight, padding=weight.shape[-1] // 2)


_CLASSES: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv2d: QuantizedConv2d,
    ReusedConv: QuantizedReusedConv,
}


def quantized_layers(model: nn.Module) -> dict[str, QuantizedLayer]:
    """Return the quantized layers of `model` by their names."""
    return {name: module for name, module in model.named_modules() if isinstance(module, QuantizedLayer)}


def quantize(
    model: nn.Module, method: str, *, weight_bits: int | None, activation_bits: int | None
) -> nn.Module:
    """Return a copy of `model` with quantized convolutions, all but the first.

    Args:
        model: from `build_model`, new or trained: quantized weights start at the fit of its weights, quantizers of
            activations at the first batch in training mode.
        method: one of METHODS.
        weight_bits, activation_bits: 1 to 4; None: float32.

    Training it is ordinary training. Its specification gets the variants, `dq2` for both at 2 bits, `dqw2` and `dqa2`
    for one. Raises UserError on other numbers, and on a model whose activations may be negative or that discards maps.
    """
    if method not in METHODS:
        raise UserError(f"quantization: {method!r} is no known method; known: {', '.join(METHODS)}")
    quantized = copy.deepcopy(model)
    if activation_bits is not None:
        _check_activations(quantized)
        for module in quantized.modules():
            if isinstance(module, DenseBlock):
                # Its maps are activated tile by tile, out of a quantizer's reach.
                module.memory_efficient = False
    for bits in (weight_bits, activation_bits):
        if bits is not None and not 1 <= bits <= MOST_BITS:
            raise UserError(f"quantization: {bits} bits are not allowed; allowed: 1 to {MOST_BITS}")
    for module in _convolutions(quantized)[1:]:
        layer = _become_quantized(module)
        if weight_bits is not None:
            layer.weight_source = _WEIGHTS[method](layer.weight.detach(), weight_bits)
            layer._parameters.pop("weight", None)
        if activation_bits is not None:
            layer.quantize_input = _ACTIVATIONS[method](activation_bits)
    if weight_bits is not None and weight_bits == activation_bits:
        add_variant(quantized, method, weight_bits)
    else:
        for letter, bits in (("w", weight_bits), ("a", activation_bits)):
            if bits is not None:
                add_variant(quantized, f"{method}{letter}", bits)
    return quantized


def _convolutions(model: nn.Module) -> list[nn.Module]:
    """Return the convolutions in the order in which they are registered; UserError where another variant has some."""
    kinds = (nn.Conv2d, ReusedConv)
    found: list[nn.Module] = [module for module in model.modules() if isinstance(module, kinds)]
    for module in found:
        if type(module) not in (*_CLASSES, *_CLASSES.values()):
            raise UserError(
                f"baseline.models: {spec_of(model).name} cannot be quantized: it has expanded layers; contract it first"
            )
    return found


def _become_quantized(module: nn.Module) -> QuantizedLayer:
    """Give `module`, in place, the class of a quantized layer that quantizes nothing yet."""
    if type(module) in _CLASSES:
        module.__class__ = _CLASSES[type(module)]
        module.weight_source = None  # type: ignore[assignment]
        module.quantize_input = None  # type: ignore[assignment]
    assert isinstance(module, QuantizedLayer)
    return module


def _check_activations(model: nn.Module) -> None:
    spec = spec_of(model)
    if registered_name(spec.name) not in MODELS_WITH_RELU:
        allowed = ", ".join(MODELS_WITH_RELU)
        raise UserError(
            f"baseline.models: {spec.name} has negative activations, which cannot be quantized; allowed: {allowed}"
        )
    if spec.densenet is not None and spec.densenet.discard_rate > 0:
        raise UserError(
            f"densenet.discard_rate: {spec.densenet.discard_rate} is not allowed with quantized activations; allowed: 0"
        )


def _register(method: str) -> None:
    @VARIANTS.register(method)
    def both(model: nn.Module, bits: int) -> nn.Module:
        """Return `model` with weights and activations of `bits`."""
        return quantize(model, method, weight_bits=bits, activation_bits=bits)

    @VARIANTS.register(f"{method}w")
    def weights(model: nn.Module, bits: int) -> nn.Module:
        """Return `model` with weights of `bits`."""
        return quantize(model, method, weight_bits=bits, activation_bits=None)

    @VARIANTS.register(f"{method}a")
    def activations(model: nn.Module, bits: int) -> nn.Module:
        """Return `model` with activations of `bits`."""
        return quantize(model, method, weight_bits=None, activation_bits=bits)


for _method in METHODS:
    _register(_method)
