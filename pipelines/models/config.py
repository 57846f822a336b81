"""Parameters of the DenseNet family, scale reduction and stochastic feature reuse included."""

import re
from dataclasses import dataclass

from pipelines.config import choice, number, require, whole
from pipelines.config.validate import MOST_WIDTH

GRANULARITIES = ("layer", "channel_group")
MOST_DEPTH = 9_999
DEPTH_PATTERN = r"[1-9][0-9]{0,3}"
MOST_BLOCKS = 8  # each halves the image
PLAIN_INITIAL_WIDTH = 16  # Huang et al. 2017, section 4.1


@dataclass(frozen=True, kw_only=True)
class DenseNetConfig:
    """Section `densenet`: everything about a DenseNet but its depth.

    The network is that of Huang et al. 2017 (arXiv:1608.06993) for small images; `bottleneck` and
    `compression` below 1 make it DenseNet-BC. The `discard_*` keys are the study's second improvement.
    """

    growth_rate: int
    """Feature maps that each layer adds (k in the paper)."""
    bottleneck: bool
    """Whether a 1x1 convolution precedes each 3x3 convolution (the B of BC)."""
    bottleneck_width: int
    """Outputs of that 1x1 convolution in units of the growth rate (4 in the paper)."""
    compression: float
    """Part of the feature maps that a transition keeps (0.5 in DenseNet-BC, 1 in plain DenseNet)."""
    initial_width: int | None
    """Outputs of the first convolution; null: as in the paper, 2 x growth rate with bottleneck, else 16."""
    blocks: dict[str, tuple[int, ...]]
    """Layers of each dense block by depth, for depths that fit no block rule, e.g. {60: [9, 9, 10]}."""
    dropout: float
    """Probability of zero after each convolution but the first (the paper: 0.2 without augmentation)."""
    discard_rate: float
    """Part of the earlier feature maps that a layer does not read in a training step; 0: reads all."""
    discard_granularity: str
    """Unit of the draw: `layer`, what one layer added, or `channel_group`, `discard_group_size` of them."""
    discard_group_size: int
    """Feature maps in a group of granularity `channel_group`."""
    memory_efficient: bool
    """Recompute normalised activations in the backward pass instead of keeping them; same gradients."""

    def __post_init__(self) -> None:
        whole(self, "growth_rate", "bottleneck_width", "discard_group_size", most=MOST_WIDTH)
        whole(self, "initial_width", most=MOST_WIDTH, null=True)
        number(self, "compression", above=0.0, most=1.0)
        number(self, "dropout", "discard_rate", least=0.0, below=1.0)
        for depth, layers in self.blocks.items():
            key = f"blocks.{depth}"
            is_depth = re.fullmatch(DEPTH_PATTERN, depth) is not None
            require(is_depth, key, list(layers), f"a depth as key, a whole number of 1 to {MOST_DEPTH}")
            fits = 0 < len(layers) <= MOST_BLOCKS and all(1 <= count <= MOST_DEPTH for count in layers)
            allowed = f"1 to {MOST_BLOCKS} blocks of 1 to {MOST_DEPTH} layers"
            require(fits, key, list(layers), allowed)
        choice("discard_granularity", self.discard_granularity, GRANULARITIES)

    @property
    def stem_width(self) -> int:
        """Outputs of the first convolution: `initial_width`, or the paper's rule where that is null."""
        if self.initial_width is not None:
            return self.initial_width
        return 2 * self.growth_rate if self.bottleneck else PLAIN_INITIAL_WIDTH
