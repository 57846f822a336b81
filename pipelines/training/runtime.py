"""Where and how a recipe computes: device, precision, memory format, compilation."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipelines.errors import UserError
from pipelines.training.config import RecipeConfig


@dataclass(frozen=True)
class Runtime:
    """The recipe's options with every `auto` decided for a device and a model."""

    device: torch.device
    precision: str
    channels_last: bool
    compiled: bool

    def autocast(self) -> torch.autocast:
        """Return the context in which a forward pass computes in the precision of the recipe."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bfloat16")

    def place(self, model: nn.Module) -> nn.Module:
        """Move `model` to the device and the memory format, in place, and return it."""
        model.to(self.device)
        if self.channels_last:
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return model

    def images(self, images: Tensor) -> Tensor:
        """Return `images` [b, c, h, w] in the memory format of the recipe."""
        return images.contiguous(memory_format=torch.channels_last) if self.channels_last else images

    def forward_of(self, model: nn.Module) -> nn.Module:
        """Return what runs the forward pass: `model`, or a compiled wrapper that shares its parameters."""
        return torch.compile(model) if self.compiled else model  # type: ignore[return-value]


def resolve_runtime(recipe: RecipeConfig, model: nn.Module) -> Runtime:
    """Decide every `auto` for this machine and `model`; UserError on what the machine or the model cannot do.

    Measured on 2 cores (AVX-512, AMX), batches of 64 digits of 8x8 pixels: bfloat16 pays for no model, its
    conversions cost more than its products save. channels_last takes EfficientNet-B0 from 447 to 300 ms a
    step, by its depthwise convolutions, and slows the others down (VGG-16-BN: from 240 to 336 ms).
    """
    if recipe.device == "cuda" and not torch.cuda.is_available():
        raise UserError("recipe.device: 'cuda' is not available on this machine; allowed here: cpu, auto")
    name = recipe.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    on_cuda = name == "cuda"
    precision = recipe.precision
    if precision == "auto":
        precision = "bfloat16" if on_cuda else "float32"
    return Runtime(
        device=torch.device(name),
        precision=precision,
        channels_last=recipe.memory_format == "channels_last"
        or (recipe.memory_format == "auto" and (on_cuda or _has_depthwise_convolutions(model))),
        compiled=_compiles(recipe, model, on_cuda),
    )


def _has_depthwise_convolutions(model: nn.Module) -> bool:
    return any(isinstance(module, nn.Conv2d) and module.groups > 1 for module in model.modules())


def _compiles(recipe: RecipeConfig, model: nn.Module, on_cuda: bool) -> bool:
    """Decide whether the forward pass is compiled; a model that changes every step would be, at every step."""
    changing = bool(getattr(model, "changes_every_step", False))
    if recipe.execution == "compiled" and changing:
        raise UserError(
            "recipe.execution: 'compiled' is not possible with densenet.discard_rate above 0, "
            "which changes the network every step; allowed: eager, auto"
        )
    return recipe.execution == "compiled" or (recipe.execution == "auto" and on_cuda and not changing)
