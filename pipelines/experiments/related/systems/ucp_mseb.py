"""UCP with MSEB: channels scored by blocks that are trained with the network, pruned uniformly, trained anew."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from torch import nn

from pipelines.config import different, number, require, whole
from pipelines.data import ordered_batches
from pipelines.experiments.related.system import SYSTEMS, Build, Comparison, Context, Role, System, Variant
from pipelines.models.pruning import magnitude_scores, mseb_scores, prune, random_scores, remove_mseb
from pipelines.models.pruning.prune import MOST_PERCENT
from pipelines.models.pruning.scores import Scores
from pipelines.training.config import MOST_RATE

BATCH_SIZE = 256
MOST_REDUCTION = 512
Score = Callable[[Context], Scores]


@dataclass(frozen=True, kw_only=True)
class UcpMsebOptions:
    """Parameters of UCP with MSEB; `related.systems.ucp_mseb`."""

    model: str
    """Model that is pruned: a VGG, ResNet or DenseNet-BC, perhaps a narrower one, vgg19_bn-pruned75."""
    percent: int
    """Channels of every group that are removed."""
    other_percents: tuple[int, ...]
    """Further rates, scored by the blocks and trained anew."""
    reduction: int
    """Channels per hidden unit of a block (squeeze-and-excitation: 16)."""
    fine_tuning_rates: tuple[float, ...]
    """Initial learning rates that are tried where weights are kept."""
    margin: float
    """Test accuracy that pruning may lose and still "keep" it; 0.01: one point."""

    def __post_init__(self) -> None:
        whole(self, "percent", "other_percents", most=MOST_PERCENT)
        different(self, "other_percents")
        fits = self.percent not in self.other_percents
        require(
            fits, "other_percents", list(self.other_percents), f"other rates than percent, {self.percent}"
        )
        whole(self, "reduction", most=MOST_REDUCTION)
        number(self, "fine_tuning_rates", above=0.0, most=MOST_RATE)
        different(self, "fine_tuning_rates", least=1)
        number(self, "margin", least=0.0, below=1.0)


@SYSTEMS.register("ucp_mseb")
class UcpMseb(System):
    """Uniform pruning by MSEB's scores, against the whole network, other scores, fine-tuning and a small network."""

    Options = UcpMsebOptions
    options: UcpMsebOptions
    source: ClassVar[str] = (
        "Chang, Lu, Xue, Wei and Wei, UCP: Uniform Channel Pruning for Deep Convolutional Neural Networks "
        "Compression and Acceleration, 2020, arXiv:2010.01251"
    )
    claim: ClassVar[str] = (
        "Pruning the least important channels uniformly, by the scores of modified squeeze-and-excitation blocks, and "
        "training the rest from scratch keeps or improves the accuracy."
    )
    from_abstract: ClassVar[bool] = True

    def variants(self) -> Sequence[Variant]:
        """Return the whole network, the scored one, and what pruning by each score leaves, trained in both ways."""
        model, percent = self.options.model, self.options.percent
        blocks = f"{model}-mseb{self.options.reduction}"
        by_blocks = "by MSEB's scores"
        table: list[tuple[str, Role, str, str, Build]] = [
            ("ucp", Role.SYSTEM, by_blocks, "scored", _anew(blocks_scores, percent)),
            ("ucp_tuned", Role.ABLATION, by_blocks, "scored", partial(fine_tuned_by_blocks, percent=percent)),
            ("magnitude", Role.PEER, "by the L1 norm of the weights", "whole", _anew(weight_scores, percent)),
            ("magnitude_tuned", Role.PEER, "by the L1 norm", "whole", _tuned(weight_scores, percent)),
            ("random_tuned", Role.PEER, "random channels", "whole", _tuned(chance_scores, percent)),
            *(
                (f"ucp{rate}", Role.ABLATION, f"{rate} % {by_blocks}", "scored", _anew(blocks_scores, rate))
                for rate in self.options.other_percents
            ),
        ]
        return [
            Variant(name="whole", role=Role.BASELINE, what="the whole network", model=model),
            Variant(
                name="scored", role=Role.ABLATION, what="the whole network with scoring blocks", model=blocks
            ),
            Variant(
                name="by_hand",
                role=Role.PEER,
                what="the same small network, made by hand",
                model=f"{model}-pruned{percent}",
            ),
            *(self._pruned(*row) for row in table),
        ]

    def _pruned(self, name: str, role: Role, what: str, after: str, change: Build) -> Variant:
        """Return a variant that keeps weights, and so tries the rates of fine-tuning, or starts from scratch."""
        tuned = name.endswith("_tuned")
        return Variant(
            name=name,
            role=role,
            what=f"{what}, {'fine-tuned' if tuned else 'from scratch'}",
            model=self.options.model,
            after=after,
            change=change,
            rates=self.options.fine_tuning_rates if tuned else (),
        )

    def comparisons(self) -> Sequence[Comparison]:
        """Return that the pruned network keeps the accuracy; what the scores are good for is for orientation."""
        others = ("by_hand", "magnitude", "ucp_tuned")
        return [
            Comparison(first="ucp", second="whole", margin=self.options.margin),
            *(Comparison(first="ucp", second=other, counted=False) for other in others),
            Comparison(first="ucp_tuned", second="magnitude_tuned", counted=False),
            Comparison(first="ucp_tuned", second="random_tuned", counted=False),
        ]


def blocks_scores(context: Context) -> Scores:
    """Return the scores of the source's blocks, averaged over the training images."""
    source = context.start
    device = next(source.parameters()).device
    batches = ordered_batches(context.data.train, context.data, BATCH_SIZE, device)
    return mseb_scores(source, (images for images, _ in batches))


def weight_scores(context: Context) -> Scores:
    """Return the magnitudes of the source's weights."""
    return magnitude_scores(context.start)


def chance_scores(context: Context) -> Scores:
    """Return scores that depend on the seed alone."""
    return random_scores(context.start, context.seed)


def from_scratch(model: nn.Module, context: Context, *, score: Score, percent: int) -> nn.Module:
    """Return the fresh `model` without the least important channels; the others start where they would have."""
    return prune(model, percent, score(context))


def fine_tuned(_: nn.Module, context: Context, *, score: Score, percent: int) -> nn.Module:
    """Return the source without its least important channels."""
    return prune(context.start, percent, score(context))


def fine_tuned_by_blocks(_: nn.Module, context: Context, *, percent: int) -> nn.Module:
    """Return the source without its least important channels and without blocks, whose mean scores stay."""
    scores = blocks_scores(context)
    return prune(remove_mseb(context.start, scores), percent, scores)


def _anew(score: Score, percent: int) -> Build:
    return partial(from_scratch, score=score, percent=percent)


def _tuned(score: Score, percent: int) -> Build:
    return partial(fine_tuned, score=score, percent=percent)
