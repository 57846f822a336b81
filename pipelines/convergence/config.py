"""Parameters of the convergence runs: section `convergence` of params.yaml."""

from dataclasses import dataclass

from pipelines.config import require


@dataclass(frozen=True, kw_only=True)
class ConvergenceConfig:
    """What is trained, how long and how often; section `convergence`."""

    model: str
    """Model to train, by registered name."""
    methods: tuple[str, ...]
    """Keys of the section `methods` whose curves are compared; each must carry every number of workers."""
    workers: tuple[int, ...]
    """Numbers of workers of those curves: 2 runs on Horovod, more run on the virtual cluster."""
    parity_methods: tuple[str, ...]
    """Methods tested for the same accuracy as `parity_reference`, on two Horovod workers."""
    parity_reference: str
    """Key of the section `methods`."""
    parity_seeds: int
    """Runs of each of them, with seeds from 1; a seed fixes initial weights and order of the data."""
    margin_points: float
    """Difference of the test accuracy, in points, below which two methods count as equivalent."""
    global_batch_size: int
    """Samples of a step, all workers together: the same steps whatever the number of workers."""
    epochs: int
    """Passes over the training part; the recipe's schedule and warm-up keep their shape."""

    def __post_init__(self) -> None:
        """Check the ranges; raises FieldError."""
        for key in ("methods", "parity_methods"):
            require(
                bool(getattr(self, key)), key, getattr(self, key), "at least one key of the section methods"
            )
        enough = bool(self.workers) and all(number >= 2 for number in self.workers)
        require(enough, "workers", self.workers, "whole numbers of at least 2")
        size = self.global_batch_size
        divides = size >= 1 and all(size % number == 0 for number in (2, *self.workers))
        require(
            divides, "global_batch_size", size, f"a common multiple of 2 and workers {list(self.workers)}"
        )
        require(self.parity_seeds >= 2, "parity_seeds", self.parity_seeds, "a whole number of at least 2")
        require(self.margin_points > 0, "margin_points", self.margin_points, "a number above 0 (points)")
        require(self.epochs >= 1, "epochs", self.epochs, "a whole number of at least 1")
