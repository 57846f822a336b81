"""LDCE: wrong labels are found by the confidence that label distributions give them, and left out or replaced."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipelines.config import number, require, whole
from pipelines.data import PreparedData
from pipelines.data.config import NOISE_KINDS, LabelNoiseConfig
from pipelines.data.label_noise import is_wrong, with_label_noise
from pipelines.evaluation.label_confidence import Enhancement, Mask, precision_recall
from pipelines.experiments.related.label_judges import JUDGES, Judgement, folds_of, judge_labels
from pipelines.experiments.related.system import (
    MOST_FACTOR,
    SYSTEMS,
    Comparison,
    Context,
    Published,
    Role,
    System,
    Variant,
)
from pipelines.models.members import Members, build_members
from pipelines.results import Row
from pipelines.tables import Column, percent
from pipelines.training import Objective, predict_logits
from pipelines.training.robust import (
    CoTeaching,
    OutOfFold,
    WeightedTargets,
    estimate_transitions,
    forward_corrected,
    generalised_cross_entropy,
)

BATCH_SIZE = 256
MOST_FOLDS = 10
MOST_NEIGHBOURS = 1000
MOST_ROUNDS = 1000
CO_TEACHING = "Han et al. 2018, arXiv:1804.06872, table 3 (CIFAR-10, 9-layer CNN, 200 epochs)"
PUBLISHED_PERCENT = {"symmetric20": 82.32, "symmetric50": 74.02, "pair45": 72.62}
PEERS = ("confident", "coteaching", "gce", "forward")


@dataclass(frozen=True, kw_only=True)
class LdceOptions:
    """Parameters of LDCE and its peers; `related.systems.ldce`."""

    model: str
    """Model that is trained; its last layer is linear."""
    noises: dict[str, tuple[int, ...]]
    """Percents of wrong training labels by kind, as in `prepare.label_noise`: symmetric, pair."""
    folds: int
    """Of the cross-validation whose predictions LDCE and confident learning judge the labels by."""
    neighbours: int
    """Of each image in LDCE's graph."""
    alpha: float
    """Weight of the neighbours in LDCE's label enhancement."""
    rounds: int
    """Rounds of the label enhancement."""
    q: float
    """Exponent of the generalised cross-entropy (the paper: 0.7)."""
    gradual_epochs: float
    """Epochs until Co-teaching leaves out as many images as labels are wrong (the paper: 10 of 200)."""
    epochs: float
    """Epochs of every variant, in units of those of the data set: noise needs time to be learnt."""

    def __post_init__(self) -> None:
        known = bool(self.noises) and set(self.noises) <= set(NOISE_KINDS) and all(self.noises.values())
        require(known, "noises", self.noises, f"percents by kind, of {', '.join(NOISE_KINDS)}")
        self.named_noises()  # each percent is checked like that of prepare.label_noise
        whole(self, "folds", least=2, most=MOST_FOLDS)
        whole(self, "neighbours", most=MOST_NEIGHBOURS)
        whole(self, "rounds", most=MOST_ROUNDS)
        number(self, "alpha", least=0.0, below=1.0)
        number(self, "q", above=0.0, most=1.0)
        number(self, "gradual_epochs", "epochs", above=0.0, most=MOST_FACTOR)

    def named_noises(self) -> dict[str, LabelNoiseConfig]:
        """Return every noise by the name that stands at the end of its variants' names: symmetric20."""
        return {
            f"{kind}{percent}": LabelNoiseConfig(kind=kind, percent=percent)
            for kind, percents in self.noises.items()
            for percent in percents
        }

    @property
    def enhancement(self) -> Enhancement:
        """How LDCE makes label distributions of predictions."""
        return Enhancement(neighbours=self.neighbours, alpha=self.alpha, rounds=self.rounds)


@SYSTEMS.register("ldce")
class Ldce(System):
    """LDCE against training on all labels and against other ways to bear wrong ones, by kind and rate of the noise."""

    Options = LdceOptions
    options: LdceOptions
    source: ClassVar[str] = (
        "Liu, Xu, Zhang and Geng, Label Distribution for Learning with Noisy Labels, IJCAI 2020"
    )
    claim: ClassVar[str] = (
        "The confidence of each observed label, estimated from a label distribution, separates clean from noisy labels "
        "and makes training on them more accurate than the state of the art does."
    )
    from_abstract: ClassVar[bool] = True
    columns: ClassVar[Sequence[Column]] = (
        Column("noise_precision", "precision of the noise found", percent),
        Column("noise_recall", "recall", percent),
    )

    def variants(self) -> Sequence[Variant]:
        """Return for every noise plain training, the folds that judge the labels, LDCE in two forms, and the peers."""
        return [
            one for name, noise in self.options.named_noises().items() for one in self._variants(name, noise)
        ]

    def _variants(self, name: str, noise: LabelNoiseConfig) -> list[Variant]:
        """Return the variants for one noise."""
        options = self.options
        folds, plain = f"folds_{name}", f"plain_{name}"
        co_teaching = CoTeaching(noise_rate=noise.percent / 100, gradual_epochs=options.gradual_epochs)
        published = PUBLISHED_PERCENT.get(name)
        judged: dict[str, dict[str, Any]] = {
            judge: {"after": folds, "objective": partial(judged_labels, judge=judge, options=options)}
            for judge in JUDGES
        }
        table: list[tuple[str, Role, str, dict[str, Any]]] = [
            ("plain", Role.BASELINE, "cross-entropy on all labels", {}),
            (
                "folds",
                Role.ABLATION,
                f"{options.folds} networks together, each without a fold",
                {
                    "change": partial(several, count=options.folds, vote=True),
                    "objective": partial(cross_validation, folds=options.folds),
                },
            ),
            ("ldce", Role.SYSTEM, "LDCE, a distribution for each label called wrong", judged["ldce"]),
            ("ldce_dropped", Role.SYSTEM, "LDCE without the labels called wrong", judged["ldce_dropped"]),
            ("confident", Role.PEER, "confident learning", judged["confident"]),
            (
                "coteaching",
                Role.PEER,
                "Co-teaching, the rate of the noise being known",
                {
                    "change": partial(several, count=2, vote=False),
                    "objective": partial(always, objective=co_teaching),
                    "finish": first_member,
                    "published": {}
                    if published is None
                    else {"cifar10": Published(accuracy_percent=published, source=CO_TEACHING)},
                },
            ),
            (
                "gce",
                Role.PEER,
                "generalised cross-entropy",
                {"objective": partial(always, objective=partial(generalised, q=options.q))},
            ),
            ("forward", Role.PEER, "forward correction", {"after": plain, "objective": corrected}),
        ]
        return [
            Variant(
                name=f"{stem}_{name}",
                setting=name,
                role=role,
                what=f"{what}; {noise.percent} % {noise.kind} noise",
                model=options.model,
                data=partial(noisy, noise=noise),
                epochs=options.epochs,
                # One noise is enough for what they are trained for: the gradients of each variant under GQ.
                on_workers=name == next(iter(options.named_noises())),
                **more,
            )
            for stem, role, what, more in table
        ]

    def comparisons(self) -> Sequence[Comparison]:
        """Return that LDCE beats plain training and every peer at each noise; what it finds is for orientation."""
        pairs: list[Comparison] = []
        for name in self.options.named_noises():
            ldce = f"ldce_{name}"
            pairs += [Comparison(first=ldce, second=f"{other}_{name}") for other in ("plain", *PEERS)]
            pairs.append(Comparison(first=ldce, second=f"ldce_dropped_{name}", counted=False))
            pairs += [
                Comparison(first=ldce, second=f"confident_{name}", key=key, counted=False)
                for key in ("noise_precision", "noise_recall")
            ]
        return pairs

    def extra(self, variant: Variant, trained: nn.Module, network: nn.Module, context: Context) -> Row:  # noqa: ARG002
        """Return precision and recall of the labels called wrong, of the variants that call any so.

        Those of Co-teaching are the share of images, as large as the rate of the noise, with the largest losses.
        """
        stem, _, name = variant.name.rpartition("_")
        if stem in JUDGES:
            found = _judge(context, stem, self.options).wrong
        elif stem == "coteaching":
            rate = self.options.named_noises()[name].percent / 100
            found = largest_losses(network, context.data, rate)
        else:
            return {}
        precision, recall = precision_recall(found, is_wrong(context.data.train).numpy())
        return {"noise_precision": precision, "noise_recall": recall}


def noisy(data: PreparedData, seed: int, *, noise: LabelNoiseConfig) -> PreparedData:
    """Return `data` with wrong training labels, others for every seed."""
    return with_label_noise(data, noise, seed)


def several(model: nn.Module, _: Context, *, count: int, vote: bool) -> nn.Module:
    """Return `count` networks like `model`, itself the first; see `Members`."""
    return build_members(model, count, vote=vote)


def first_member(network: nn.Module) -> nn.Module:
    """Return the network that a `Members` without vote answers by."""
    return network.get_submodule("members.0")


def always(_: Context, *, objective: Objective) -> Objective:
    """Return `objective`, which depends on nothing of the run."""
    return objective


def generalised(logits: Tensor, labels: Tensor, _: Tensor, *, q: float) -> Tensor:
    """Return the generalised cross-entropy."""
    return generalised_cross_entropy(logits, labels, q)


def corrected(context: Context) -> Objective:
    """Return the forward-corrected cross-entropy, its transitions estimated by the source on the noisy labels."""
    probabilities = _logits(context.start, context.data).softmax(1)
    transitions = estimate_transitions(probabilities)
    return lambda logits, labels, _: forward_corrected(logits, labels, transitions.to(logits.device))


def cross_validation(context: Context, *, folds: int) -> Objective:
    """Return the objective by which each of several networks learns from all images but those of its fold."""
    return OutOfFold(folds=torch.from_numpy(folds_of(context.data, context.seed, folds)))


def judged_labels(context: Context, *, judge: str, options: LdceOptions) -> Objective:
    """Return the cross-entropy with the targets and weights of a judgement."""
    judgement = _judge(context, judge, options)
    targets, weights = (torch.from_numpy(one).float() for one in (judgement.targets, judgement.weights))
    return WeightedTargets(targets=targets, weights=weights)


def _judge(context: Context, judge: str, options: LdceOptions) -> Judgement:
    assert isinstance(context.source, Members)
    return judge_labels(context.source, context.data, context.seed, judge, options.folds, options.enhancement)


def largest_losses(network: nn.Module, data: PreparedData, share: float) -> Mask:
    """Return which training labels are among the `share` with the largest cross-entropy, bool [n]."""
    losses = functional.cross_entropy(_logits(network, data), data.train.labels, reduction="none")
    found = np.zeros(len(losses), dtype=np.bool_)
    found[losses.argsort(descending=True, stable=True)[: round(share * len(losses))].numpy()] = True
    return found


def _logits(network: nn.Module, data: PreparedData) -> Tensor:
    return predict_logits(network, data.train, data, batch_size=BATCH_SIZE)
