"""Parameters of the recognition study: section `study` of params.yaml, a sub-section a data set."""

from dataclasses import dataclass

from pipelines.config import different, number, require, whole
from pipelines.config.validate import MOST_EPOCHS, MOST_IMAGES, MOST_SEED
from pipelines.data.config import AugmentConfig, check_limits
from pipelines.data.corruptions import CORRUPTIONS
from pipelines.errors import UserError
from pipelines.experiments.study.variants import NAMES
from pipelines.models import MODELS, find_factory, is_densenet
from pipelines.training.config import MOST_RATE


@dataclass(frozen=True, kw_only=True)
class StudyDataConfig:
    """What is trained on one data set; the sections prepare, recipe and densenet give the rest."""

    source: str | None
    """Registered data set that the images are of; null: the one that the key names."""
    train_limit: int | None
    """As prepare.train_limit, which it replaces."""
    test_limit: int | None
    """As prepare.test_limit, which it replaces."""
    image_size: int | None
    """As prepare.image_size, which it replaces."""
    epochs: int
    """Passes over the training part, the same for every run; the recipe's warm-up keeps its share."""
    augment: AugmentConfig
    """As recipe.augment, which it replaces."""
    models: tuple[str, ...]
    """Models that are compared, by registered name."""
    learning_rates: tuple[float, ...]
    """Initial rates that every model is tried at; the validation part decides."""
    tuning_epochs: int | None
    """Epochs of a tried rate, a shortened whole schedule; null: `epochs`, and the first seed is not trained again."""
    seeds: tuple[int, ...]
    """Seeds of the comparison and of the ablation; the first is that of the tuning and the curves."""
    corruptions: tuple[str, ...]
    """Changes of the test images that every compared model is tested on, too (`pipelines/data/corruptions.py`)."""
    corruption_limit: int | None
    """Test images, the first ones, that are changed so; null: all."""
    curve_models: tuple[str, ...]
    """Models whose curves are kept at every rate of `curve_rates`."""
    curve_rates: tuple[float, ...]
    """Initial rates of the curves, with the schedule `step`."""
    ablated_model: str | None
    """The DenseNet whose parts are changed one at a time; null: none."""
    ablated_variants: tuple[str, ...] | None
    """Changes to train beside the unchanged one, by name (`pipelines/experiments/study/variants.py`); null: all."""

    def __post_init__(self) -> None:
        check_limits(self)
        whole(self, "epochs", most=MOST_EPOCHS)
        whole(self, "tuning_epochs", most=self.epochs, null=True)
        whole(self, "corruption_limit", most=MOST_IMAGES, null=True)
        number(self, "learning_rates", "curve_rates", above=0.0, most=MOST_RATE)
        different(self, "learning_rates", "seeds", least=1)
        different(self, "curve_rates", "models", "curve_models", "corruptions")
        if self.ablated_variants is not None:
            different(self, "ablated_variants")
            for name in self.ablated_variants:
                require(name in NAMES, "ablated_variants", name, f"null or a list of {', '.join(NAMES)}")
        for name in self.corruptions:
            require(name in CORRUPTIONS, "corruptions", name, f"a list of {', '.join(CORRUPTIONS)}")
        whole(self, "seeds", least=0, most=MOST_SEED)
        for key in ("models", "curve_models"):
            _require_models(key, getattr(self, key))
        both = bool(self.curve_rates) or not self.curve_models
        require(both, "curve_rates", [], "at least one rate, as curve_models is not empty")
        if self.ablated_model is not None:
            _require_models("ablated_model", (self.ablated_model,))
            require(
                is_densenet(self.ablated_model),
                "ablated_model",
                self.ablated_model,
                "null or a DenseNet, such as densenet100",
            )


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """Section `study`: each key is a registered data set, or a name for another part of one (`source`)."""

    digits: StudyDataConfig
    """The set that is installed with scikit-learn: needs no network."""
    fashion_mnist: StudyDataConfig
    """A part of Fashion-MNIST; needs the data or a network."""
    cifar10: StudyDataConfig
    """A part of CIFAR-10, for comparisons; needs the data or a network."""
    cifar10_whole: StudyDataConfig
    """All of CIFAR-10, for what one model reaches; needs the data or a network."""


def _require_models(key: str, names: tuple[str, ...]) -> None:
    for name in names:
        try:
            find_factory(name)
        except UserError:
            require(False, key, name, f"registered models: {', '.join(MODELS)}")
