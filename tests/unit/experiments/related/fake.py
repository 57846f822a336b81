"""A tiny system of every kind of variant, and its command line, which horovodrun starts as well."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor, nn
from torch.nn import functional

from pipelines.command_line import own_program
from pipelines.config import load_section
from pipelines.data import AugmentConfig, PrepareConfig
from pipelines.entry import run_stage
from pipelines.evaluation import EvaluateConfig
from pipelines.experiments.related.config import RelatedConfig, RelatedSetConfig
from pipelines.experiments.related.job import RelatedJob
from pipelines.experiments.related.runs.run import run
from pipelines.experiments.related.system import Comparison, Context, Role, System, Variant
from pipelines.results import Row
from pipelines.search import Proposals, Search, SearchConfig
from pipelines.tables import Column, count
from pipelines.training import Objective
from tests.configs import make_densenet, make_recipe
from tests.imports import ROOT

MODEL = "compact3"
DIVERGING = 1e20  # the first step leaves weights whose squares are infinite in float32
PARAMS = ROOT / "params.yaml"
SET = RelatedSetConfig(
    source=None,
    train_limit=120,
    test_limit=40,
    image_size=None,
    epochs=1,
    tuning_epochs=None,
    augment=AugmentConfig(crop_padding=0, flip=False, cutout=0),
)
CONFIG = RelatedConfig(
    seeds=(1, 2, 3),
    learning_rates=(0.05,),
    reference="sdp",
    compressed="gq4_bucketed",
    worker_seeds=(2,),
    digits=SET,
    fashion_mnist=SET,
    cifar10=SET,
    photographs=SET,
    systems={"fake": {}},
    codecs={"none": {}},
)


SEARCH = SearchConfig(
    population=4,
    evaluations=2,
    seconds=None,
    epochs=1,
    train_images=60,
    rates=(0.05,),
    most_multiply_adds=20_000,
)


def propose(generator: np.random.Generator) -> Proposals:
    """Propose a network that is too large, then small ones that the seed decides."""
    yield ["chain_c3m64s1_f99"]
    yield [f"chain_c3m{generator.integers(2, 20)}s2"]


def grow(_: nn.Module, context: Context) -> nn.Module:
    """Go on from the source, which it may change."""
    assert context.source is not None
    return context.source


def halved(_: Context) -> Objective:
    """Return half the cross-entropy."""

    def objective(logits: Tensor, labels: Tensor, images: Tensor) -> Tensor:
        assert len(images) == len(labels)
        return functional.cross_entropy(logits, labels) / 2

    return objective


class Fake(System):
    """A variant for each hook of the interface."""

    source = "Nobody 2026"
    claim = "A grown network is better."
    columns = (Column("num_classes", "classes", count),)

    def variants(self) -> Sequence[Variant]:
        """Return one that is plain, one that grows out of it, one that diverges and one that comes after that."""
        return [
            Variant(
                name="plain", role=Role.BASELINE, what="a network", model=MODEL, transform="unsharp_mask"
            ),
            Variant(
                name="grown",
                role=Role.SYSTEM,
                what="the same, further",
                model=MODEL,
                transform="unsharp_mask",
                after="plain",
                change=grow,
                objective=halved,
                finish=nn.Sequential,
                epochs=2.0,
                rates=(0.01, 0.02),
            ),
            Variant(
                name="searched",
                role=Role.SYSTEM,
                what="found",
                model=MODEL,
                search=Search(propose=propose, config=SEARCH),
            ),
            Variant(name="wild", role=Role.PEER, what="too fast", model=MODEL, rates=(DIVERGING,)),
            Variant(name="orphan", role=Role.PEER, what="after it", model=MODEL, after="wild", change=grow),
        ]

    def comparisons(self) -> Sequence[Comparison]:
        """Return that the grown one is no worse."""
        return [Comparison(first="grown", second="plain", margin=0.5)]

    def extra(self, variant: Variant, trained: nn.Module, network: nn.Module, context: Context) -> Row:
        """Count something."""
        assert not trained.training
        assert not network.training
        return {"num_classes": context.data.num_classes}


def make_job(folder: Path) -> RelatedJob:
    """Return the fake system on the data in `folder`/data."""
    evaluate = load_section(EvaluateConfig, "evaluate", PARAMS)
    return RelatedJob(
        data="digits",
        system=Fake("fake", Fake.Options()),
        shared=CONFIG,
        config=SET,
        prepare=load_section(PrepareConfig, "prepare", PARAMS),
        evaluate=dataclasses.replace(evaluate, bootstrap_samples=20, latency_repeats=1),
        params=PARAMS,
        recipe=make_recipe(warmup_epochs=0.0),
        densenet=make_densenet(growth_rate=4),
        data_folder=folder / "data",
        checkpoints=folder / "checkpoints",
        result_file=folder / "results" / "runs" / "fake-digits.json",
        kept_file=folder / "kept.pt",
    )


if __name__ == "__main__":
    run_stage(lambda: print(len(run(make_job(Path(sys.argv[1])), own_program()))))
