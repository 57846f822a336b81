"""ExpandNets: a compact network trained with more layers than it is used with."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipelines.config import choice, number, whole
from pipelines.experiments.related.gradients import least_agreement
from pipelines.experiments.related.system import (
    SYSTEMS,
    Comparison,
    Context,
    Published,
    Role,
    System,
    Variant,
)
from pipelines.models.compact import KERNELS
from pipelines.models.expand import MOST_RATE, contract
from pipelines.results import Row
from pipelines.tables import Column, decimal
from pipelines.training import Objective

PAPER = "Guo et al. 2020, 7 x 7 small network, 5 seeds"
PUBLISHED_PERCENT = {"compact": 78.63, "ck_fc": 80.31}  # on CIFAR-10


@dataclass(frozen=True, kw_only=True)
class ExpandNetsOptions:
    """Parameters of ExpandNets; `related.systems.expandnets`."""

    rate: int
    """Channels inside an expanded layer, in units of those outside (the paper: 4)."""
    kernel: int
    """Side of the compact network's kernels in pixels; above 3, for chains of 3x3."""
    teacher: str
    """Registered model that the compact network is distilled from."""
    temperature: float
    """Of the softened probabilities in distillation (Hinton et al. 2015)."""
    teacher_weight: float
    """Part of the teacher in the objective of distillation; the labels have the rest."""

    def __post_init__(self) -> None:
        whole(self, "rate", most=MOST_RATE)
        choice("kernel", self.kernel, [side for side in KERNELS if side > 3])
        number(self, "temperature", above=0.0, most=100.0)
        number(self, "teacher_weight", least=0.0, most=1.0)


@SYSTEMS.register("expandnets")
class ExpandNets(System):
    """The compact network expanded by chains of 1x1 and k x k (CL), of 3x3 (CK), and of linear layers (FC)."""

    Options = ExpandNetsOptions
    options: ExpandNetsOptions
    source: ClassVar[str] = "Guo, Alvarez and Salzmann, ExpandNets, NeurIPS 2020, arXiv:1811.10495"
    claim: ClassVar[str] = (
        "A compact network whose layers are expanded into linear ones for training and contracted exactly afterwards "
        "is more accurate than one trained compact, and than one that is distilled."
    )

    columns: ClassVar[Sequence[Column]] = (
        Column("least_gradient_cosine", "least cosine of two batches' gradients", decimal, max),
    )

    def variants(self) -> Sequence[Variant]:
        """Return the compact network, its expansions, and distillation with its teacher."""
        compact, rate, teacher = f"compact{self.options.kernel}", self.options.rate, self.options.teacher
        expanded = [
            (
                "ck_fc",
                Role.SYSTEM,
                "kernels as chains of 3 x 3, linear layers as three",
                f"ck{rate}-fc{rate}",
            ),
            ("cl_fc", Role.SYSTEM, "1 x 1 around each kernel, linear layers as three", f"cl{rate}-fc{rate}"),
            ("fc", Role.ABLATION, "linear layers alone", f"fc{rate}"),
        ]
        distilled = partial(
            distillation, temperature=self.options.temperature, weight=self.options.teacher_weight
        )
        return [
            Variant(
                name="compact",
                role=Role.BASELINE,
                what="the compact network",
                model=compact,
                published=_published("compact"),
            ),
            *(
                Variant(
                    name=name,
                    role=role,
                    what=what,
                    model=f"{compact}-{layers}",
                    finish=contract,
                    published=_published(name),
                )
                for name, role, what, layers in expanded
            ),
            Variant(name="teacher", role=Role.PEER, what="the teacher of the distillation", model=teacher),
            Variant(
                name="distilled",
                role=Role.PEER,
                what=f"the compact network, distilled from {teacher}",
                model=compact,
                after="teacher",
                objective=distilled,
            ),
        ]

    def extra(self, variant: Variant, trained: nn.Module, network: nn.Module, context: Context) -> Row:  # noqa: ARG002
        """Return the gradient confusion of the trained network, by which the paper explains what it gains."""
        return {"least_gradient_cosine": least_agreement(trained, context.data, context.seed)}

    def comparisons(self) -> Sequence[Comparison]:
        """Return that the expanded network beats the compact and the distilled one."""
        return [
            Comparison(first="ck_fc", second="compact"),
            Comparison(first="ck_fc", second="distilled"),
            Comparison(first="cl_fc", second="compact", counted=False),
            Comparison(first="fc", second="compact", counted=False),
        ]


def _published(variant: str) -> dict[str, Published]:
    found = PUBLISHED_PERCENT.get(variant)
    return {} if found is None else {"cifar10": Published(accuracy_percent=found, source=PAPER)}


def distillation(context: Context, *, temperature: float, weight: float) -> Objective:
    """Return the objective of knowledge distillation from the context's source (Hinton et al. 2015, arXiv:1503.02531).

    weight T^2 KL(teacher || student), both softened by the temperature T, plus (1 - weight) cross-entropy; means over
    the batch.
    """
    teacher = context.start
    teacher.requires_grad_(requires_grad=False)

    def objective(logits: Tensor, labels: Tensor, images: Tensor) -> Tensor:
        teacher.to(images.device)
        with torch.no_grad():
            wanted = functional.softmax(teacher(images).float() / temperature, 1)
        student = functional.log_softmax(logits / temperature, 1)
        soft = functional.kl_div(student, wanted, reduction="batchmean") * temperature**2
        return weight * soft + (1 - weight) * functional.cross_entropy(logits, labels)

    return objective
