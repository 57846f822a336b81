"""Parameters of the trainings on a slow link: section `time_to_accuracy` of params.yaml."""

from dataclasses import dataclass
from pathlib import Path

from pipelines.cluster.spec import LINKS, is_link
from pipelines.config import different, number, require, whole
from pipelines.config.validate import MOST_BATCH, MOST_CYCLE, MOST_EPOCHS, MOST_SEED
from pipelines.data.config import AugmentConfig, check_limits
from pipelines.training.config import MOST_RATE

DATA = Path("data/time_to_accuracy")
RESULTS = Path("results/time_to_accuracy")
RUNS = RESULTS / "runs"
WORKERS = 2
"""One on each emulated node."""


@dataclass(frozen=True, kw_only=True)
class TimedModel:
    """How a model is trained; an entry of `time_to_accuracy.models`."""

    epochs: int
    """Passes over the training part; the recipe's schedule and warm-up keep their shape."""
    global_batch_size: int
    """Samples of a step, both workers together."""
    learning_rate: float
    """Initial rate of a step of `recipe.batch_size` samples, as the study tuned it; linear in the global batch."""

    def __post_init__(self) -> None:
        """Check the ranges; raises FieldError."""
        whole(self, "epochs", most=MOST_EPOCHS)
        whole(self, "global_batch_size", least=WORKERS, most=MOST_BATCH)
        size = self.global_batch_size
        require(size % WORKERS == 0, "global_batch_size", size, f"a multiple of {WORKERS}")
        number(self, "learning_rate", above=0.0, most=MOST_RATE)


@dataclass(frozen=True, kw_only=True)
class TimeToAccuracyConfig:
    """What is trained between two emulated nodes, and what counts as reached."""

    data: str
    """Registered data set, as prepare.name."""
    train_limit: int | None
    """As in the section `prepare`."""
    test_limit: int | None
    """As in the section `prepare`."""
    image_size: int | None
    """As in the section `prepare`."""
    augment: AugmentConfig
    """As in the section `recipe`."""
    models: dict[str, TimedModel]
    """What is trained and how, by registered name."""
    methods: tuple[str, ...]
    """Keys of the section `methods`, the reference among them."""
    reference: str
    """The method whose accuracy the others are to reach."""
    margin_points: float
    """The accuracy to reach, seed by seed: what the reference ends with, less so many points."""
    link: str
    """Rate of the nodes' links as tc writes it (`100mbit`), or `unshaped`."""
    cycle_milliseconds: float
    """Period of Horovod's negotiation, as in the section `sweep`."""
    seeds: tuple[int, ...]
    """Each fixes initial weights, order and augmentation of the data."""

    def __post_init__(self) -> None:
        """Check the ranges; raises FieldError."""
        check_limits(self)
        require(bool(self.models), "models", {}, "at least one model")
        different(self, "methods", "seeds", least=1)
        listed = self.reference in self.methods
        require(listed, "reference", self.reference, f"one of methods {list(self.methods)}")
        number(self, "margin_points", least=0.0, most=100.0)
        require(is_link(self.link), "link", self.link, LINKS)
        number(self, "cycle_milliseconds", above=0.0, most=MOST_CYCLE)
        whole(self, "seeds", least=0, most=MOST_SEED)
