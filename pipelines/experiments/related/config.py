"""Parameters of the further systems: section `related` of params.yaml."""

from dataclasses import dataclass

from pipelines.config import different, number, require, whole
from pipelines.config.validate import MOST_EPOCHS, MOST_SEED
from pipelines.data.config import AugmentConfig, check_limits
from pipelines.training.config import MOST_RATE

LEAST_SEEDS = 3
"""Fewer make no interval that decides anything."""


@dataclass(frozen=True, kw_only=True)
class RelatedSetConfig:
    """What every system is trained on, of one data set; the sections prepare and recipe give the rest."""

    source: str | None
    """Registered data set that takes the place of this one, a variation of it, say: digits_rotated; null: itself."""
    train_limit: int | None
    """As prepare.train_limit, which it replaces."""
    test_limit: int | None
    """As prepare.test_limit, which it replaces."""
    image_size: int | None
    """As prepare.image_size, which it replaces."""
    epochs: int
    """Passes over the training part; a variant may ask for a multiple of it."""
    tuning_epochs: int | None
    """Epochs of a tried rate, a shortened whole schedule; null: `epochs`, and the first seed is not trained again."""
    augment: AugmentConfig
    """As recipe.augment, which it replaces."""

    def __post_init__(self) -> None:
        check_limits(self)
        whole(self, "epochs", most=MOST_EPOCHS)
        whole(self, "tuning_epochs", most=self.epochs, null=True)


@dataclass(frozen=True, kw_only=True)
class RelatedConfig:
    """Section `related`: what all systems share, the data sets, and an entry a system."""

    seeds: tuple[int, ...]
    """Seeds of every variant; the first is that of the tuning."""
    learning_rates: tuple[float, ...]
    """Initial rates that every variant is tried at; the validation part decides."""
    reference: str
    """Key of the section `methods` whose bytes a step are shown first: plain sums."""
    compressed: str
    """Key of the section `methods` that the bytes are compared with, and that two workers train by: 4-bit GQ."""
    worker_seeds: tuple[int, ...]
    """Those of the seeds that two Horovod workers train, too; each costs seconds for its start."""
    digits: RelatedSetConfig
    """The set that is installed with scikit-learn: needs no network."""
    fashion_mnist: RelatedSetConfig
    """Needs the data or a network."""
    cifar10: RelatedSetConfig
    """Needs the data or a network."""
    photographs: RelatedSetConfig
    """Patches of the photographs that are installed with scikit-learn, for the codecs: need no network."""
    systems: dict[str, object]
    """The parameters of each system that is run, by its registered name; see `systems/NAME.py`."""
    codecs: dict[str, object]
    """The same of systems that compress images instead of classifying them."""

    def __post_init__(self) -> None:
        different(self, "seeds", least=LEAST_SEEDS)
        whole(self, "seeds", least=0, most=MOST_SEED)
        different(self, "learning_rates", least=1)
        number(self, "learning_rates", above=0.0, most=MOST_RATE)
        different(self, "worker_seeds", least=1)
        trained = set(self.worker_seeds) <= set(self.seeds)
        allowed = f"some of the seeds: {', '.join(map(str, self.seeds))}"
        require(trained, "worker_seeds", list(self.worker_seeds), allowed)
        require(bool(self.systems), "systems", self.systems, "at least one system")
        require(bool(self.codecs), "codecs", self.codecs, "at least one system")
        different_methods = self.reference != self.compressed
        require(different_methods, "compressed", self.compressed, "another method than the reference")


DATA_SETS = ("digits", "fashion_mnist", "cifar10")
"""The keys of `RelatedConfig` that are data sets of images to classify."""
CODEC_SETS = ("photographs", "cifar10")
"""Those whose images are compressed."""
ALL_SETS = tuple(dict.fromkeys((*DATA_SETS, *CODEC_SETS)))
