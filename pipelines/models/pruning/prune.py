"""Removing the least important channels of every group, at one rate."""

import copy

import torch
from torch import Tensor, nn

from pipelines.errors import UserError
from pipelines.models.base import DENSENETS, VARIANTS, add_variant, registered_name, spec_of
from pipelines.models.pruning.groups import ChannelGroup, channel_groups
from pipelines.models.pruning.scores import Scores

VARIANT = "pruned"
MOST_PERCENT = 95
_NORM_TENSORS = ("weight", "bias", "running_mean", "running_var")


def num_kept(num_channels: int, percent: int) -> int:
    """Return how many of a group's channels remain at the rate `percent`, at least one."""
    return max(1, round(num_channels * (100 - percent) / 100))


def prune(model: nn.Module, percent: int, scores: Scores) -> nn.Module:
    """Return a copy of `model` without the `percent` least important channels of each of its groups.

    What remains keeps its weights, its order and its statistics; of equal scores the first are kept. The copy computes
    what `model` does with the removed channels at zero. Its specification ends in `pruned<percent>`. Raises UserError
    on a model that cannot be pruned and a rate out of range.
    """
    _check(percent)
    pruned = copy.deepcopy(model)
    for group in channel_groups(model):
        importance = scores[group.name]
        order = torch.sort(importance, descending=True, stable=True).indices
        _keep(pruned, group, order[: num_kept(len(importance), percent)].sort().values)
    add_variant(pruned, VARIANT, percent)
    return pruned


@VARIANTS.register(VARIANT)
def narrow(model: nn.Module, percent: int) -> nn.Module:
    """Return the network that uniform pruning leaves of `model`, new: the same network made narrower by hand.

    The first channels of each group are kept; weights are scaled to the standard deviation that the initialisation
    gives to the narrower layers.
    """
    counts = {group.name: _size_of(model, group) for group in channel_groups(model)}
    narrower = prune(model, percent, {name: torch.zeros(size) for name, size in counts.items()})
    # Kaiming's standard deviation falls with the root of a layer's outputs in torchvision's models, of its inputs in
    # the DenseNets and in linear layers.
    by_inputs = registered_name(spec_of(model).name) == DENSENETS
    with torch.no_grad():
        for name, old in model.named_modules():
            new = narrower.get_submodule(name)
            before, after = _weight_of(old), _weight_of(new)
            if before is None or after is None:
                continue
            side = 1 if by_inputs or before.dim() == 2 else 0
            after.mul_((before.shape[side] / after.shape[side]) ** 0.5)
    return narrower


def _weight_of(module: nn.Module) -> nn.Parameter | None:
    """Return the weight of a convolution or linear layer, None for another module."""
    weight = module._parameters.get("weight")
    return weight if weight is not None and weight.dim() >= 2 else None


def _check(percent: int) -> None:
    if not 1 <= percent <= MOST_PERCENT:
        raise UserError(
            f"baseline.models: pruned{percent} is not allowed; allowed: pruned1 to pruned{MOST_PERCENT}"
        )


def _size_of(model: nn.Module, group: ChannelGroup) -> int:
    return model.get_parameter(f"{group.writers[0]}.weight").shape[0]


def _keep(model: nn.Module, group: ChannelGroup, kept: Tensor) -> None:
    """Keep the channels at the indices `kept` (int64, ascending) of `group`, in place."""
    for name in group.writers:
        module = model.get_submodule(name)
        _select(module, ("weight", "bias"), 0, kept)
        _note(module, "out_channels", len(kept))
    for name in group.norms:
        module = model.get_submodule(name)
        _select(module, _NORM_TENSORS, 0, kept)
        _note(module, "num_features", len(kept))
    for name in group.readers:
        module = model.get_submodule(name)
        _select(module, ("weight",), 1, kept)
        _note(module, "in_features" if isinstance(module, nn.Linear) else "in_channels", len(kept))


def _select(module: nn.Module, names: tuple[str, ...], dim: int, kept: Tensor) -> None:
    """Keep `kept` along `dim` of the tensors of `module` called `names`, where it has them."""
    for name in names:
        tensor = getattr(module, name, None)
        if tensor is None:
            continue
        selected = tensor.detach().index_select(dim, kept)
        setattr(module, name, nn.Parameter(selected) if isinstance(tensor, nn.Parameter) else selected)


def _note(module: nn.Module, attribute: str, number: int) -> None:
    if hasattr(module, attribute):  # a DenseNet's own convolution has no such numbers
        setattr(module, attribute, number)
