"""Parameters of the convergence runs: section `convergence` of params.yaml."""

import re
from dataclasses import dataclass

from pipelines.config import different, number, require, whole
from pipelines.config.validate import MOST_BATCH, MOST_EPOCHS, MOST_SEED, MOST_WORKERS
from pipelines.data.config import AugmentConfig, check_limits

PARITY_WORKERS = 2
"""The accuracy test runs on real Horovod ranks."""
MOST_PAIRED_SEEDS = 10_000
SET_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
"""A set's name is that of its folder."""


@dataclass(frozen=True, kw_only=True)
class ParitySet:
    """One data set of the accuracy test and what is trained on it; an entry of `convergence.parity.sets`."""

    model: str
    """Model to train, by registered name."""
    seeds: int
    """Runs of each method; a seed fixes initial weights, order and augmentation of the data."""
    first_seed: int
    """The runs' seeds count up from here: past those of a pilot that has planned their number."""
    epochs: int
    """Passes over the training part; the recipe's schedule and warm-up keep their shape."""
    global_batch_size: int
    """Samples of a step, both workers together."""
    train_limit: int | None
    """As in the section `prepare`."""
    test_limit: int | None
    """As in the section `prepare`."""
    image_size: int | None
    """As in the section `prepare`."""
    augment: AugmentConfig
    """As in the section `recipe`."""

    def __post_init__(self) -> None:
        """Check the ranges; raises FieldError."""
        whole(self, "seeds", least=2, most=MOST_PAIRED_SEEDS)
        whole(self, "first_seed", least=0, most=MOST_SEED - self.seeds)
        whole(self, "epochs", most=MOST_EPOCHS)
        whole(self, "global_batch_size", least=PARITY_WORKERS, most=MOST_BATCH)
        check_limits(self)
        size = self.global_batch_size
        require(size % PARITY_WORKERS == 0, "global_batch_size", size, "a multiple of 2")


@dataclass(frozen=True, kw_only=True)
class ParityConfig:
    """The test for the same accuracy, on two Horovod workers; `convergence.parity`."""

    methods: tuple[str, ...]
    """Keys of the section `methods`, the reference among them."""
    reference: str
    """The method that the others are compared with."""
    margin_points: float
    """Difference of the test accuracy, in points, below which two methods count as equivalent."""
    data: tuple[str, ...]
    """Keys of `sets` to run."""
    sets: dict[str, ParitySet]
    """What is trained on a data set; the key is the set's name, as in `prepare.name`."""

    def __post_init__(self) -> None:
        """Check the ranges; raises FieldError."""
        compares = self.reference in self.methods and len(set(self.methods)) == len(self.methods) >= 2
        allowed = f"different keys of the section methods, {self.reference!r} and at least one more"
        require(compares, "methods", list(self.methods), allowed)
        number(self, "margin_points", above=0.0, most=100.0)
        different(self, "data", least=1)
        for name in self.sets:
            require(SET_PATTERN.fullmatch(name) is not None, "sets", name, "keys of letters, digits, _ and -")
        require(
            set(self.data) <= set(self.sets), "data", list(self.data), f"keys of sets: {', '.join(self.sets)}"
        )


@dataclass(frozen=True, kw_only=True)
class ConvergenceConfig:
    """What is trained, how long and how often; section `convergence`."""

    model: str
    """Model whose curves are drawn, by registered name."""
    methods: tuple[str, ...]
    """Keys of the section `methods` whose curves are compared; each must carry every number of workers."""
    workers: tuple[int, ...]
    """Numbers of workers of those curves: 2 runs on Horovod, more run on the virtual cluster."""
    global_batch_size: int
    """Samples of a step, all workers together: the same steps whatever the number of workers."""
    epochs: int
    """Passes over the training part; the recipe's schedule and warm-up keep their shape."""
    parity: ParityConfig
    """The test for the same accuracy."""

    def __post_init__(self) -> None:
        """Check the ranges; raises FieldError."""
        different(self, "methods", "workers", least=1)
        whole(self, "workers", least=2, most=MOST_WORKERS)
        whole(self, "global_batch_size", most=MOST_BATCH)
        whole(self, "epochs", most=MOST_EPOCHS)
        size = self.global_batch_size
        divides = all(size % count == 0 for count in self.workers)
        require(divides, "global_batch_size", size, f"a common multiple of workers {list(self.workers)}")
