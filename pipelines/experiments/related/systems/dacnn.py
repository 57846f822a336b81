"""DACNN: one convolution kernel, used by all layers of a network."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from torch import nn

from pipelines.config import different, number, whole
from pipelines.config.validate import MOST_WIDTH
from pipelines.data import ordered_batches
from pipelines.experiments.related.gradients import ready_position
from pipelines.experiments.related.system import SYSTEMS, Comparison, Context, Role, System, Variant
from pipelines.models import spec_of
from pipelines.models.dacnn import MOST_DEPTH, build_anchored
from pipelines.results import Row
from pipelines.tables import Column, percent

MEASURED_IMAGES = 8


@dataclass(frozen=True, kw_only=True)
class DacnnOptions:
    """Parameters of DACNN; `related.systems.dacnn`."""

    depth: int
    """Convolutions (the paper: 13)."""
    other_depths: tuple[int, ...]
    """Further depths of the shared kernel, at nearly the same number of parameters."""
    width: int
    """Channels (the paper: 128); DACNN-mix has this, twice and four times as many."""
    margin: float
    """Test accuracy that sharing may lose and still keep "a high accuracy"; 0.02: two points."""

    def __post_init__(self) -> None:
        whole(self, "depth", "other_depths", least=6, most=MOST_DEPTH)
        different(self, "other_depths")
        whole(self, "width", most=MOST_WIDTH)
        number(self, "margin", least=0.0, below=1.0)


@SYSTEMS.register("dacnn")
class Dacnn(System):
    """A network whose layers share a kernel, against the same with a kernel a layer."""

    Options = DacnnOptions
    options: DacnnOptions
    source: ClassVar[str] = (
        "Huang, Dwivedi and Roig, Deep Anchored Convolutional Neural Networks, 2019, arXiv:1904.09764"
    )
    claim: ClassVar[str] = (
        "One kernel shared by all layers divides the parameters by the depth and keeps a high accuracy; a kernel a "
        "width (mix) and a 1 x 1 convolution after each use (regulators) recover more."
    )

    columns: ClassVar[Sequence[Column]] = (
        Column("gradients_ready_position", "gradients ready, of the backward pass", percent, min),
    )

    def variants(self) -> Sequence[Variant]:
        """Return the network without sharing, with it, the mix, the regulators, and further depths."""
        depth, width = self.options.depth, self.options.width
        one, mixed = (
            partial(narrowed, widths=(width,)),
            partial(narrowed, widths=(width, 2 * width, 4 * width)),
        )
        table = [
            ("plain", Role.BASELINE, "a kernel a layer", "plain", depth, partial(one, shared=False)),
            ("shared", Role.SYSTEM, "one kernel", "", depth, one),
            ("mix", Role.SYSTEM, "one kernel a width", "mix", depth, mixed),
            ("regulated", Role.SYSTEM, "one kernel, regulators", "reg", depth, partial(one, regulated=True)),
            *(
                (f"shared{other}", Role.ABLATION, "one kernel", "", other, one)
                for other in self.options.other_depths
            ),
        ]
        return [
            Variant(
                name=name,
                role=role,
                what=f"{what}; {number} convolutions",
                model=f"dacnn{kind}{number}",
                change=change,
            )
            for name, role, what, kind, number, change in table
        ]

    def extra(self, variant: Variant, trained: nn.Module, network: nn.Module, context: Context) -> Row:  # noqa: ARG002
        """Return when the gradients are ready: the shared kernel's only when the backward pass ends."""
        images, labels = next(iter(ordered_batches(context.data.train, context.data, MEASURED_IMAGES)))
        return {"gradients_ready_position": ready_position(trained, images, labels)}

    def comparisons(self) -> Sequence[Comparison]:
        """Return that sharing loses no more than the margin, and that mix and regulators recover some."""
        return [
            Comparison(first="shared", second="plain", margin=self.options.margin),
            Comparison(first="mix", second="shared"),
            Comparison(first="regulated", second="shared"),
        ]


def narrowed(
    model: nn.Module, _: Context, *, widths: tuple[int, ...], regulated: bool = False, shared: bool = True
) -> nn.Module:
    """Return the network that `model` is, with other numbers of channels; see `build_anchored`."""
    return build_anchored(spec_of(model), widths, regulated=regulated, shared=shared)
