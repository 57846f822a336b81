"""Reading the feature maps of earlier layers: scale, shift, ReLU, convolution, and what a step discards.

Every layer of a dense block reads the concatenation of all earlier outputs through a batch normalisation of
its own. The statistics of a feature map are the same for all its readers, so each map is normalised once,
where it is produced, and a reader only applies its own scale and shift: equal to the published network, at a
fraction of its memory traffic.

Stochastic feature reuse (Wang et al. 2018, after the study's second improvement): in a training step a layer
reads a random part of the maps. The others are neither gathered nor convolved: the weights are indexed.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Kept:
    """The feature maps that a layer reads in one step.

    `index` int64 [n] holds their channels in ascending order; `factor` is what their convolution is
    multiplied by, so that its expectation over the draws is that of full reuse.
    """

    index: Tensor
    factor: float


class ReusedConv(nn.Module):
    """Scale, shift, ReLU and convolution of normalised feature maps (1x1: bottleneck or transition).

    Input [batch, num_inputs, height, width], output [batch, num_outputs, height, width].
    """

    def __init__(self, num_inputs: int, num_outputs: int, kernel_size: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(num_inputs))
        self.shift = nn.Parameter(torch.zeros(num_inputs))
        self.weight = nn.Parameter(torch.empty(num_outputs, num_inputs, kernel_size, kernel_size))
        self.padding = kernel_size // 2
        nn.init.kaiming_normal_(self.weight)

    def forward(self, features: Tensor, kept: Kept | None = None) -> Tensor:
        """Return the convolution; with `kept`, of those feature maps alone, multiplied by its factor."""
        if kept is None:
            active = scale_shift_relu(features, self.scale, self.shift)
            return functional.conv2d(active, self.weight, padding=self.padding)
        index = kept.index
        active = scale_shift_relu(features.index_select(1, index), self.scale[index], self.shift[index])
        weight = self.weight.index_select(1, index) * kept.factor
        return functional.conv2d(active, weight, padding=self.padding)


class ScaleShiftRelu(nn.Module):
    """The last batch normalisation's scale and shift with its ReLU, on normalised feature maps."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(num_channels))
        self.shift = nn.Parameter(torch.zeros(num_channels))

    def forward(self, features: Tensor) -> Tensor:
        """Return relu(scale * features + shift), channel by channel."""
        return scale_shift_relu(features, self.scale, self.shift)


def scale_shift_relu(features: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Return relu(scale * features + shift) for features [batch, channels, height, width]."""
    return torch.addcmul(shift[:, None, None], features, scale[:, None, None]).relu_()


class DiscardDraws:
    """Draws which feature maps each layer reads, once a mini-batch, from a generator of its own.

    The maps of a block are cut into groups of `group_size` channels (the block's input too; its last group
    may be smaller). A layer that could read n groups reads max(1, round((1 - rate) * n)) of them, all subsets
    being equally likely, so every map is read with probability m/n and n/m is the factor.
    """

    def __init__(self, rate: float, group_size: int, seed: int) -> None:
        self.rate = rate
        self.group_size = group_size
        self.generator = torch.Generator().manual_seed(seed)

    def draw(self, input_width: int, growth_rate: int, num_layers: int) -> list[Kept]:
        """Return what each layer of a block reads in this step; advances the generator, on the CPU."""
        groups = self._groups(input_width)
        reads: list[Kept] = []
        for _ in range(num_layers):
            num_kept = max(1, round((1.0 - self.rate) * len(groups)))
            order = torch.randperm(len(groups), generator=self.generator)[:num_kept].sort().values.tolist()
            channels = [channel for group in order for channel in groups[group]]
            reads.append(Kept(torch.tensor(channels), len(groups) / num_kept))
            groups += self._groups(growth_rate, groups[-1].stop)
        return reads

    def _groups(self, width: int, start: int = 0) -> list[range]:
        """Cut `width` channels from `start` on into groups."""
        stop = start + width
        return [range(low, min(low + self.group_size, stop)) for low in range(start, stop, self.group_size)]
