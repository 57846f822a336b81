"""Which earlier feature maps a layer reads in a step: stochastic feature reuse.

In a training step each layer reads a random part of the earlier maps (Wang et al. 2018, after the study's second
improvement). The others are neither gathered nor convolved: the weights are indexed.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Kept:
    """The feature maps that a layer reads in one step.

    `runs` are ranges of neighbouring channels, ascending and apart; `factor` is what their convolution is
    multiplied by, so that its expectation over the draws is that of full reuse.
    """

    runs: tuple[range, ...]
    factor: float

    @property
    def channels(self) -> list[int]:
        """All channels of the runs, ascending."""
        return [channel for run in self.runs for channel in run]


class DiscardDraws:
    """Draws which feature maps each layer reads, once a mini-batch, from a generator of its own.

    The maps of a block are cut into groups of `group_size` channels (the block's input too; its last group
    may be smaller). A layer that could read n groups reads m = max(1, round((1 - rate) * n)) of them, all
    subsets being equally likely, so every map is read with probability m/n and the factor is n/m.
    """

    def __init__(self, rate: float, group_size: int, seed: int) -> None:
        self.rate = rate
        self.group_size = group_size
        self.generator = torch.Generator().manual_seed(seed)

    def draw(self, input_width: int, growth_rate: int, num_layers: int) -> list[Kept]:
        """Return what each layer of a block reads in this step; advances the generator, on the CPU."""
        input_groups = self._cut(0, input_width)
        added_per_layer = len(self._cut(0, growth_rate))
        groups = input_groups
        for index in range(num_layers - 1):
            groups = groups + self._cut(input_width + index * growth_rate, growth_rate)
        # One call for all layers: row l orders the groups that layer l could read.
        scores = torch.rand(num_layers, len(groups), generator=self.generator).tolist()
        reads = []
        for index, row in enumerate(scores):
            num_groups = len(input_groups) + index * added_per_layer
            num_kept = max(1, round((1.0 - self.rate) * num_groups))
            order = sorted(range(num_groups), key=row.__getitem__)[:num_kept]
            runs = _merge(groups[group] for group in sorted(order))
            reads.append(Kept(runs, num_groups / num_kept))
        return reads

    def _cut(self, start: int, width: int) -> list[range]:
        """Cut `width` channels from `start` on into groups."""
        stop = start + width
        return [range(low, min(low + self.group_size, stop)) for low in range(start, stop, self.group_size)]


def _merge(groups: Iterable[range]) -> tuple[range, ...]:
    """Join ascending ranges where one begins at the end of the other."""
    runs: list[range] = []
    for group in groups:
        if runs and runs[-1].stop == group.start:
            runs[-1] = range(runs[-1].start, group.stop)
        else:
            runs.append(group)
    return tuple(runs)
