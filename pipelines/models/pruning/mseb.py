"""Modified squeeze-and-excitation blocks that score channels, after the abstract of arXiv:2010.01251.

A block takes average and maximum of each channel over all pixels through one hidden layer to a score between 0 and 1,
and multiplies the channel by it (squeeze-and-excitation, Hu et al. 2018, has the average alone). Blocks are trained
with the network; the mean score over the training images is the importance of a channel.
"""

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from pipelines.models.base import VARIANTS, add_variant, remove_variants
from pipelines.models.pruning.groups import channel_groups
from pipelines.models.pruning.scores import Scores

VARIANT = "mseb"


class Mseb(nn.Module):
    """Scores float [b, c] in 0..1 of maps [b, c, h, w]; `reduction` is channels per hidden unit."""

    def __init__(self, num_channels: int, reduction: int) -> None:
        super().__init__()
        num_hidden = max(1, num_channels // reduction)
        self.hidden = nn.Linear(2 * num_channels, num_hidden)
        self.scores = nn.Linear(num_hidden, num_channels)

    def forward(self, maps: Tensor) -> Tensor:
        """Return the scores; see the class."""
        pooled = torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], 1)
        return torch.sigmoid(self.scores(self.hidden(pooled).relu()))


class ScoredNorm(nn.Module):
    """A batch normalisation whose outputs are multiplied by their scores."""

    def __init__(self, norm: nn.Module, block: Mseb) -> None:
        super().__init__()
        self.norm = norm
        self.block = block

    def forward(self, maps: Tensor) -> Tensor:
        """Return normalised and scored maps [b, c, h, w]."""
        normalised = self.norm(maps)
        return normalised * self.block(normalised)[:, :, None, None]  # type: ignore[no-any-return]


@VARIANTS.register(VARIANT)
def add_mseb(model: nn.Module, reduction: int) -> nn.Module:
    """Return a copy of `model` with a block behind the batch normalisation of every layer that can be pruned.

    Blocks are initialised from the global random state. UserError where the model cannot be pruned.
    """
    scored = copy.deepcopy(model)
    for name in [name for group in channel_groups(model) for name in group.norms]:
        norm = scored.get_submodule(name)
        block = Mseb(int(norm.num_features), reduction)  # type: ignore[arg-type]
        scored.set_submodule(name, ScoredNorm(norm, block))
    add_variant(scored, VARIANT, reduction)
    return scored


def mseb_scores(model: nn.Module, batches: Iterable[Tensor]) -> Scores:
    """Return the mean score of each channel over the images of `batches`, float32 on the CPU.

    `model` has blocks (variant `mseb`); batches are float [b, c, h, w] as it takes them. The model is in evaluation
    mode meanwhile and as it was afterwards. Where several layers write a group their scores are averaged.
    """
    norms = [name for group in channel_groups(model) for name in group.norms]
    sums = {name: torch.zeros(()) for name in norms}
    num_images = 0

    def adder(name: str) -> object:
        def add(_module: nn.Module, _inputs: object, scores: Tensor) -> None:
            sums[name] = sums[name] + scores.float().sum(0).cpu()

        return model.get_submodule(f"{name}.block").register_forward_hook(add)

    handles = [adder(name) for name in norms]
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            for images in batches:
                model(images)
                num_images += len(images)
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()  # type: ignore[attr-defined]
    means = {name: total.clone() / num_images for name, total in sums.items()}
    return {
        group.name: torch.stack([means[name] for name in group.norms]).mean(0)
        for group in channel_groups(model)
    }


def remove_mseb(model: nn.Module, scores: Scores) -> nn.Module:
    """Return a copy of `model` without blocks; each channel is multiplied by its mean score, once for all.

    The factor goes into weight and bias of the batch normalisation. Ready for `prune` and fine-tuning.
    """
    plain = copy.deepcopy(model)
    with torch.no_grad():
        for group in channel_groups(model):
            for name in group.norms:
                norm = plain.get_submodule(f"{name}.norm")
                for parameter in ("weight", "bias"):
                    norm.get_parameter(parameter).mul_(scores[group.name].to(norm.get_parameter(parameter)))
                plain.set_submodule(name, norm)
    remove_variants(plain, {VARIANT})
    return plain
