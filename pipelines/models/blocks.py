"""Depth rules: how many layers each dense block of a DenseNet of nominal depth L has."""

from pipelines.errors import UserError
from pipelines.models.config import DenseNetConfig

NUM_BLOCKS = 3  # Huang et al. 2017, section 3: three dense blocks for 32x32 images

# 50 and 200 are no 6n + 4, so equal blocks are impossible; the layers that remain go to the later blocks.
NOMINAL_BC_BLOCKS = {50: (7, 8, 8), 200: (32, 33, 33)}


def counted_depth(layers: tuple[int, ...], *, bottleneck: bool) -> int:
    """Return the depth by the paper's count: convolutions of the layers, stem, transitions and classifier."""
    return sum(layers) * (2 if bottleneck else 1) + len(layers) + 1


def block_layers(depth: int, config: DenseNetConfig) -> tuple[int, ...]:
    """Return the layers per dense block for `depth`; a depth that fits no rule raises UserError.

    An entry of `densenet.blocks` comes first, then the tuples of `NOMINAL_BC_BLOCKS`, then three equal blocks.
    """
    if str(depth) in config.blocks:
        return _checked_override(depth, config)
    if config.bottleneck and depth in NOMINAL_BC_BLOCKS:
        return NOMINAL_BC_BLOCKS[depth]
    unit = 2 * NUM_BLOCKS if config.bottleneck else NUM_BLOCKS
    num_layers, rest = divmod(depth - NUM_BLOCKS - 1, unit)
    if num_layers < 1 or rest:
        raise UserError(_no_rule(depth, unit, config.bottleneck))
    return (num_layers,) * NUM_BLOCKS


def _checked_override(depth: int, config: DenseNetConfig) -> tuple[int, ...]:
    """Return the explicit block tuple of `depth`, which must count up to that depth."""
    layers = config.blocks[str(depth)]
    counted = counted_depth(layers, bottleneck=config.bottleneck)
    if counted != depth:
        raise UserError(
            f"densenet.blocks.{depth}: {list(layers)} makes a network of depth {counted}; "
            f"allowed: blocks that add up to depth {depth}"
        )
    return layers


def _no_rule(depth: int, unit: int, bottleneck: bool) -> str:
    offset = NUM_BLOCKS + 1
    below = offset + max(1, (depth - offset) // unit) * unit
    special = f", {' and '.join(map(str, NOMINAL_BC_BLOCKS))}" if bottleneck else ""
    return (
        f"train.depths: {depth} fits no block rule; allowed: {unit}n + {offset} "
        f"(near it {below} and {below + unit}){special}, or any depth with its layers in densenet.blocks"
    )
