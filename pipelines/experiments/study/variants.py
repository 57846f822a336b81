"""The changes of a DenseNet that the ablation trains, one at a time."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.models import DenseNetConfig

REFERENCE = "reference"
NAMES = (
    *(
        REFERENCE,
        "discard_layer_25",
        "discard_group_25",
        "discard_layer_50",
        "half_growth",
        "narrow_bottleneck",
    ),
    *("half_initial", "both", "no_compression", "no_bottleneck", "plain", "other_memory"),
)
"""Of all variants, as the parameter `ablated_variants` takes them."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A change of the ablated model."""

    changed: str
    """What differs from the reference, in words for the table."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the section densenet."""


def variants_of(densenet: DenseNetConfig) -> dict[str, Variant]:
    """Return the variants by name: stochastic feature reuse, scale reduction, the parts of DenseNet-BC.

    The first is the reference, `densenet` with full reuse. Where its first convolution would follow a changed
    growth rate or bottleneck, a variant keeps the reference's. Without a bottleneck a variant keeps the number
    of its layers, not the nominal depth, which would double it.
    """
    growth, width = max(1, densenet.growth_rate // 2), max(1, densenet.bottleneck_width // 2)
    initial = densenet.stem_width
    half, stem = max(1, initial // 2), {"initial_width": initial}
    recompute = not densenet.memory_efficient
    by_layer, by_group = {"discard_granularity": "layer"}, {"discard_granularity": "channel_group"}
    quarter, narrow = {"discard_rate": 0.25}, {"bottleneck_width": width}
    wide, direct = {"compression": 1.0}, {"bottleneck": False, **stem}
    table: list[tuple[str, str, Mapping[str, Any]]] = [
        (REFERENCE, "nothing: full reuse", {}),
        ("discard_layer_25", "discard_rate 0.25 by layer", {**quarter, **by_layer}),
        ("discard_group_25", "discard_rate 0.25 by channel group", {**quarter, **by_group}),
        ("discard_layer_50", "discard_rate 0.5 by layer", {"discard_rate": 0.5, **by_layer}),
        ("half_growth", f"growth_rate {growth}", {"growth_rate": growth, **stem}),
        ("narrow_bottleneck", f"bottleneck_width {width}", narrow),
        ("half_initial", f"initial_width {half}", {"initial_width": half}),
        ("both", f"discard_rate 0.25 by layer, bottleneck_width {width}", {**quarter, **by_layer, **narrow}),
        ("no_compression", "compression 1", wide),
        ("no_bottleneck", "bottleneck false", direct),
        ("plain", "bottleneck false, compression 1", {**direct, **wide}),
        ("other_memory", f"memory_efficient {str(recompute).lower()}", {"memory_efficient": recompute}),
    ]
    return {name: Variant(changed=changed, changes=changes) for name, changed, changes in table}
