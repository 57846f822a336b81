"""The interface of a system: what a paper proposes, its variants, and what decides its claim.

A system is one module in `pipelines.experiments.related.systems` with a class registered in `SYSTEMS` and a frozen
dataclass `Options` for its parameters. Whatever trains, measures and tests it knows this interface only.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from pipelines.data import AugmentConfig, PrepareConfig, PreparedData
from pipelines.experiments.related.config import DATA_SETS
from pipelines.registry import Registry
from pipelines.results import Row
from pipelines.search import Search
from pipelines.tables import Column
from pipelines.training import Judge, Objective

MOST_FACTOR = 100.0
"""Of the epochs of a data set, where a system's options have `Variant.epochs`."""


class Role(StrEnum):
    """What a variant is there for."""

    BASELINE = "baseline"
    """What the paper starts from."""
    SYSTEM = "system"
    """What the paper proposes."""
    ABLATION = "ablation"
    """The system without a part of it, or with another value."""
    PEER = "peer"
    """Another way to the same end."""


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a hook of a variant may use, beside the network."""

    data: PreparedData
    """The images as the variant sees them, after its transform and its `data`. Choose nothing on the test part."""
    seed: int
    """Seed of the run."""
    source: nn.Module | None
    """The network that the variant named by `after` has become with this seed, in evaluation mode, as a copy of its
    own; None for a variant that comes after none."""
    prepared: PreparedData | None = None
    """The images as they were prepared, before the variant's transform and `data`."""
    data_set: str = ""
    """Key of the data set in the section `related`."""

    @property
    def start(self) -> nn.Module:
        """The source of a variant that comes `after` one, which therefore has it."""
        assert self.source is not None
        return self.source


Make = Callable[[Context], nn.Module]
Build = Callable[[nn.Module, Context], nn.Module]
Images = Callable[[PreparedData, PrepareConfig], PreparedData]
Finish = Callable[[nn.Module], nn.Module]


@dataclass(frozen=True, kw_only=True)
class Published:
    """An accuracy from the literature, for orientation: other recipes, other data, more epochs."""

    accuracy_percent: float
    source: str


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One network, and how it comes about. Only `name`, `role`, `what` and `model` are needed."""

    name: str
    """Name in tables and files: letters, digits, _ and -."""
    role: Role
    what: str
    """What it is, in words for the table."""
    model: str
    """A registered model, built for the data with the run's seed; with `make` no more than a name in the tables. Of a
    variant with a `search`: one like those that it may find, for checks of memory before anything runs."""
    setting: str = ""
    """Of a system whose variants are made for several settings, a kind of noise, say: which one, at the end of `name`.
    Each has a panel of the picture."""
    make: Make | None = None
    """Makes the network, of the source where it has one, if it is no registered model; draws as in `change`."""
    transform: str | None = None
    """A registered input transform that all images go through."""
    images: Images | None = None
    """Makes what the variant is trained and measured on, of the data set's images and the section `prepare`: another
    set in the same shape, say. The result depends on the arguments and the data at hand alone. None: the data set."""
    augment: Mapping[str, AugmentConfig] = field(default_factory=dict)
    """Random changes to the training images by data set, instead of those of the section."""
    frozen: Mapping[str, float | None] = field(default_factory=dict)
    """As recipe.frozen, of the network that `change` returns."""
    data: Callable[[PreparedData, int], PreparedData] | None = None
    """Before all else: returns the data that the variant is trained and tested on, made of those after the transform,
    with the run's seed: wrong training labels, degraded images. Test labels stay."""
    after: str | None = None
    """A variant that stands before this one in the list and is trained first, seed by seed: what it became is the
    `source` of this one's context."""
    change: Build | None = None
    """Before training: returns the network to train, made of a fresh `model` or of the source. Random draws come from
    torch's global state, which is seeded with the run's seed. The result depends on the arguments alone: Horovod's
    workers and a resumed run call it again."""
    objective: Callable[[Context], Objective] | None = None
    """Makes what the steps minimise; None: the mean cross-entropy."""
    finish: Finish | None = None
    """After training: returns the network to use, which computes the same but for rounding (a contraction, say)."""
    epochs: float = 1.0
    """Epochs in units of those of the data set, rounded; at least one."""
    rates: tuple[float, ...] = ()
    """Initial rates that are tried instead of the section's: for a network that is trained already, say."""
    search: Search | None = None
    """Finds the model, seed by seed, before anything is trained: a variant without transform and without `after`."""
    on_workers: bool = True
    """Whether two Horovod workers train it, too, where it is the system or its baseline."""
    published: dict[str, Published] = field(default_factory=dict)
    """Published accuracies by data set."""

    @property
    def trains_on_workers(self) -> bool:
        """Whether two Horovod workers train it, too."""
        return self.on_workers and self.role in (Role.BASELINE, Role.SYSTEM)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A part of a claim: the first variant has more of `key` than the second, or at most `margin` less."""

    first: str
    second: str | None
    """None: more than 0, where the number is itself a difference."""
    key: str = "test_accuracy"
    """A field of the rows, one number a seed."""
    margin: float = 0.0
    """In units of the field: 0.01 of an accuracy is one point. 0: more."""
    second_key: str | None = None
    """The field of the second one where it is another."""
    data: Sequence[str] = ()
    """Data sets that the claim is about; empty: all."""
    counted: bool = True
    """Whether the claim depends on it; otherwise it is shown for orientation."""


@dataclass(frozen=True, kw_only=True)
class NoOptions:
    """The parameters of a system that has none."""


class System(ABC):
    """A system of the literature.

    Args:
        name: as registered.
        options: its parameters, an instance of `Options`.
    """

    Options: ClassVar[type] = NoOptions
    """Frozen dataclass of the parameters (keys of its entry in the section `related.systems`)."""
    source: ClassVar[str]
    """Authors, title, where it stands."""
    claim: ClassVar[str]
    """What the paper says, in one sentence."""
    from_abstract: ClassVar[bool] = False
    """Whether the text could not be had, so that it is built after the description in the abstract."""
    columns: ClassVar[Sequence[Column]] = ()
    """Columns of its table for what `extra` adds to the rows; means over the seeds."""
    data_sets: ClassVar[Sequence[str]] = DATA_SETS
    """What it is trained on: keys of the section `related`."""
    score: ClassVar[str] = "test_accuracy"
    """The field of the rows that a variant is judged by, with an interval of its mean over the seeds. Of a system whose
    networks are no classifiers `extra` measures it."""
    picture: ClassVar[str | None] = None
    """What the system's own picture of a data set shows, in a few words; None: it has none."""

    def __init__(self, name: str, options: Any) -> None:
        self.name, self.options = name, options

    @abstractmethod
    def variants(self) -> Sequence[Variant]:
        """Return the variants in the order of the table; depends on the options alone."""

    @abstractmethod
    def comparisons(self) -> Sequence[Comparison]:
        """Return what decides the claim: it holds where all of them hold, and does not where one does not."""

    def extra(self, variant: Variant, trained: nn.Module, network: nn.Module, context: Context) -> Row:  # noqa: ARG002
        """Measure what this system alone is about: flat numbers that are added to a run's row.

        `trained` is the network as it was trained, `network` what `finish` made of it; both are in evaluation mode
        and may be changed. The key `curve` may hold flat rows, which become rows of the experiment `curve`.
        """
        return {}

    def judge(self, data: PreparedData) -> Judge | None:  # noqa: ARG002
        """Return what epochs are judged by where the networks are no classifiers; None: they are."""
        return None

    def keep(self, variant: Variant, network: nn.Module, path: Path) -> None:  # noqa: B027
        """Write to `path` what is to stay of the networks of the first seed, called for each variant in order."""

    def draw(self, rows: Sequence[Row], path: Path) -> None:
        """Write the picture that `picture` tells of to `path`, an SVG file; `rows` are those of a data set's runs."""
        raise NotImplementedError

    def variant(self, name: str) -> Variant:
        """Return the variant called `name`; KeyError where there is none."""
        return {one.name: one for one in self.variants()}[name]


SYSTEMS: Registry[type[System]] = Registry("system", "related.systems")
