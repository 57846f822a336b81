"""EBCLE: the entropy of the images bounds the number of layers that are of use; broader ones make up for the rest."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import numpy as np
from torch import nn

from pipelines.config import number, whole
from pipelines.data import PreparedData, ordered_batches
from pipelines.evaluation.entropy import bounded_depth, difference_entropy, intensity_entropy
from pipelines.evaluation.layers import layer_outputs, probe_accuracy, useful_depth
from pipelines.experiments.related.system import SYSTEMS, Comparison, Context, Role, System, Variant
from pipelines.models import build_from_spec, spec_of
from pipelines.models.broad import broaden
from pipelines.models.plain import MOST_DEPTH, NUM_STAGES
from pipelines.results import Row
from pipelines.tables import Column, count, decimal
from pipelines.training.config import MOST_RATE

BATCH_SIZE = 256
PROBE_TOLERANCE = 0.01  # a layer whose probe gains no more than a point to the best one adds nothing


@dataclass(frozen=True, kw_only=True)
class EbcleOptions:
    """Parameters of EBCLE; `related.systems.ebcle`."""

    depth: int
    """Convolutions of the deep plain network that the bounded one is compared with."""
    layers_per_bit: float
    """The one constant of the bound: useful layers per bit of entropy, fixed on the digits."""
    margin: float
    """Test accuracy that the bounded network may lose and still keep it; 0.01: one point."""

    def __post_init__(self) -> None:
        whole(self, "depth", least=2 * NUM_STAGES, most=MOST_DEPTH)
        number(self, "layers_per_bit", above=0.0, most=MOST_RATE)
        number(self, "margin", least=0.0, below=1.0)


@SYSTEMS.register("ebcle")
class Ebcle(System):
    """A deep plain network against one of the depth that the entropy bounds, with as many parameters."""

    Options = EbcleOptions
    options: EbcleOptions
    source: ClassVar[str] = (
        "Gowdra, Sinha, MacDonell and Yan, Mitigating severe over-parameterization in deep convolutional neural "
        "networks through forced feature abstraction and compression with an entropy-based heuristic, 2021, "
        "arXiv:2106.14190"
    )
    claim: ClassVar[str] = (
        "The entropy of the input data bounds the useful number of convolutional layers: a network of that depth, "
        "broadened to as many parameters, keeps the accuracy of a deeper one and trains faster."
    )
    from_abstract: ClassVar[bool] = True
    columns: ClassVar[Sequence[Column]] = (
        Column("intensity_entropy_bits", "entropy in bits", decimal),
        Column("difference_entropy_bits", "of differences", decimal),
        Column("num_layers", "layers", count),
        Column("useful_layers", "useful by probes", count),
        Column("late_relative_change", "change by the last third", decimal),
    )

    def variants(self) -> Sequence[Variant]:
        """Return the deep network, the bounded one, it without broadening, and one of half its depth."""
        deep, constant = f"plain{self.options.depth}", self.options.layers_per_bit
        table = [
            ("bounded", Role.SYSTEM, "the bounded depth, as many parameters", 1.0, True),
            ("bounded_narrow", Role.ABLATION, "the bounded depth, not broadened", 1.0, False),
            ("half", Role.ABLATION, "half the bounded depth, as many parameters", 0.5, True),
        ]
        return [
            Variant(name="deep", role=Role.BASELINE, what=f"{self.options.depth} convolutions", model=deep),
            *(
                Variant(
                    name=name,
                    role=role,
                    what=what,
                    model=deep,
                    change=partial(at_bound, constant=constant * part, broad=broad),
                )
                for name, role, what, part, broad in table
            ),
        ]

    def comparisons(self) -> Sequence[Comparison]:
        """Return that the bounded network keeps the accuracy and that the deep one takes longer to train."""
        return [
            Comparison(first="bounded", second="deep", margin=self.options.margin),
            Comparison(first="deep", second="bounded", key="train_seconds"),
            Comparison(first="bounded", second="half", counted=False),
            Comparison(first="bounded", second="bounded_narrow", counted=False),
        ]

    def extra(self, variant: Variant, trained: nn.Module, network: nn.Module, context: Context) -> Row:  # noqa: ARG002
        """Measure the images' entropy, the layers, and how many of them probes on the validation part call useful."""
        data = context.data
        train, validation = (
            layer_outputs(network, (images for images, _ in ordered_batches(split, data, BATCH_SIZE)))
            for split in (data.train, data.validation)
        )
        labels = data.train.labels.numpy(), data.validation.labels.numpy()
        accuracies = tuple(
            probe_accuracy(one, labels[0], other, labels[1])
            for one, other in zip(train.features, validation.features, strict=True)
        )
        changes = [change for change in validation.relative_changes if change is not None]
        late = changes[-max(1, len(changes) // 3) :]
        return {
            "intensity_entropy_bits": float(np.mean(intensity_entropy(data.train.images))),
            "difference_entropy_bits": float(np.mean(difference_entropy(data.train.images))),
            "num_layers": len(accuracies),
            "useful_layers": useful_depth(accuracies, PROBE_TOLERANCE),
            "late_relative_change": float(np.mean(late)) if late else None,
        }


def depth_for(data: PreparedData, constant: float, most: int) -> int:
    """Return the depth that the entropy of the training images bounds, within what plain networks of `most` have."""
    bits = float(np.mean(intensity_entropy(data.train.images)))
    return min(max(bounded_depth(bits, constant), NUM_STAGES), most)


def at_bound(model: nn.Module, context: Context, *, constant: float, broad: bool) -> nn.Module:
    """Return a plain network of the bounded depth, with the parameters of `model` or with its width."""
    deep = len(list(model.get_submodule("layers").children()))
    depth = depth_for(context.data, constant, deep)
    if broad:
        return broaden(model, depth)
    return build_from_spec(replace(spec_of(model), name=f"plain{depth}"))
