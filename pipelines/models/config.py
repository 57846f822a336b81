"""Parameters of the DenseNet family, scale reduction and stochastic feature reuse included."""

from dataclasses import dataclass

from pipelines.config import choice, require

GRANULARITIES = ("layer", "channel_group")
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
        for key in ("growth_rate", "bottleneck_width", "discard_group_size"):
            value = getattr(self, key)
            require(value >= 1, key, value, "a whole number of at least 1")
        require(0.0 < self.compression <= 1.0, "compression", self.compression, "more than 0, at most 1")
        width = self.initial_width
        require(width is None or width >= 1, "initial_width", width, "null or a whole number of at least 1")
        for depth, layers in self.blocks.items():
            key = f"blocks.{depth}"
            require(depth.isdecimal(), key, layers, "a depth (whole number) as key")
            require(len(layers) > 0 and min(layers) >= 1, key, list(layers), "at least 1 layer in each block")
        for key in ("dropout", "discard_rate"):
            value = getattr(self, key)
            require(0.0 <= value < 1.0, key, value, "0 or more, less than 1")
        choice("discard_granularity", self.discard_granularity, GRANULARITIES)

    @property
    def stem_width(self) -> int:
        """Outputs of the first convolution: `initial_width`, or the paper's rule where that is null."""
        if self.initial_width is not None:
            return self.initial_width
        return 2 * self.growth_rate if self.bottleneck else PLAIN_INITIAL_WIDTH
