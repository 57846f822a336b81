"""Where and how a recipe computes: device, precision, memory format, compilation."""

from collections.abc import Callable
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
    execution: str

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

    def forward_of(self, model: nn.Module) -> Callable[[Tensor], Tensor]:
        """Return what runs the forward pass: `model`, or a compiled form that shares its parameters.

        With CUDA graphs the logits and gradients of a step lie where the next one writes its own.
        """
        if self.execution == "eager":
            return model
        if self.execution == "compiled":
            return torch.compile(model)
        replayed = torch.compile(model, mode="reduce-overhead")

        def forward(images: Tensor) -> Tensor:
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
            return replayed(images)  # type: ignore[no-any-return]

        return forward


def resolve_runtime(recipe: RecipeConfig, model: nn.Module) -> Runtime:
    """Decide every `auto` for this machine and `model`; UserError on what the machine or the model cannot do.

    On a CPU channels_last speeds depthwise convolutions up and slows the other models down, compiling costs more
    than it gains, and bfloat16, which pays on some processors and image sizes, would make results depend on the
    processor. On CUDA compiled bfloat16 in channels_last is usual.
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
        execution=_execution_of(recipe, model, on_cuda),
    )


def _has_depthwise_convolutions(model: nn.Module) -> bool:
    return any(isinstance(module, nn.Conv2d) and module.groups > 1 for module in model.modules())


def _execution_of(recipe: RecipeConfig, model: nn.Module, on_cuda: bool) -> str:
    """Decide how the forward pass runs; a model that changes every step would be compiled at every step."""
    changing = bool(getattr(model, "changes_every_step", False))
    if recipe.execution == "auto":
        return "compiled" if on_cuda and not changing else "eager"
    if recipe.execution != "eager" and changing:
        raise UserError(
            f"recipe.execution: '{recipe.execution}' is not possible with densenet.discard_rate above 0, "
            "which changes the network every step; allowed: eager, auto"
        )
    if recipe.execution == "cuda_graphs" and not on_cuda:
        raise UserError(
            "recipe.execution: 'cuda_graphs' needs recipe.device cuda; allowed here: compiled, eager, auto"
        )
    return recipe.execution
