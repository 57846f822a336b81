"""Parameters of a search: population, budget, and how a network is judged."""

from dataclasses import dataclass

from pipelines.config import different, number, whole
from pipelines.config.validate import MOST_EPOCHS, MOST_IMAGES, MOST_SECONDS, MOST_STEPS
from pipelines.training.config import MOST_RATE

MOST_POPULATION = 10_000
MOST_MULTIPLY_ADDS = 10**15


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """The part `search` of a system that searches."""

    population: int
    """Individuals, or particles."""
    evaluations: int
    """Different networks that a search may have judged; one that comes again costs nothing."""
    seconds: float | None
    """Bound on the sum of the seconds that judging took, looked at after each generation; null: none."""
    epochs: int
    """Of the training that judges a network."""
    train_images: int | None
    """Images of that training, class by class from the training part; null: all."""
    rates: tuple[float, ...]
    """One: the constant learning rate. Several: each is tried for one epoch, and the best one trains, divided by ten
    after half and three quarters of the epochs: the adjustable learning rate of arXiv:1903.03893."""
    most_multiply_adds: int | None
    """Networks with more are not trained, and have an accuracy of 0; null: no bound."""

    def __post_init__(self) -> None:
        # Differential evolution needs a target and three others.
        whole(self, "population", least=4, most=MOST_POPULATION)
        whole(self, "evaluations", most=MOST_STEPS)
        number(self, "seconds", above=0.0, most=MOST_SECONDS, null=True)
        whole(self, "epochs", most=MOST_EPOCHS)
        whole(self, "train_images", most=MOST_IMAGES, null=True)
        number(self, "rates", above=0.0, most=MOST_RATE)
        different(self, "rates", least=1)
        whole(self, "most_multiply_adds", most=MOST_MULTIPLY_ADDS, null=True)
