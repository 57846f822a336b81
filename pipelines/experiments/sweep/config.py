"""Parameters of the sweep: section `sweep` of params.yaml."""

import os
from dataclasses import dataclass

from pipelines.cluster.spec import MAX_NODES, UNSHAPED, parse_rate
from pipelines.config import different, number, require, whole
from pipelines.config.validate import MOST_BATCH, MOST_SECONDS, MOST_STEPS, MOST_THREADS
from pipelines.errors import UserError

MOST_CYCLE = 10_000.0  # milliseconds: a step would take longer than any that is worth timing


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """Which steps are timed, on which links; section `sweep`."""

    models: tuple[str, ...]
    """Models to time, by registered name; the first matrix axis of the sweep's DVC stage."""
    links: tuple[str, ...]
    """Rates of the nodes' links as tc writes them (`100mbit`), or `unshaped`; the second matrix axis."""
    methods: tuple[str, ...]
    """Keys of the section `methods`."""
    workers: tuple[int, ...]
    """Numbers of workers, one on each emulated node; one worker alone is always timed beside them."""
    oversubscribed_methods: tuple[str, ...]
    """Those of `methods` that are timed where the workers' threads outnumber this machine's cores; may be empty."""
    batch_size: int
    """Samples per worker and step."""
    warmup_steps: int
    """Steps of every method before the clock starts: compilation, calibration, allocation."""
    rounds: int
    """Least number of blocks of every method, which take turns, so that a drift of the machine hits all alike."""
    min_seconds: float
    """Further rounds follow until so much time has passed: short steps need more of them for the same certainty.
    Not where threads outnumber cores, which no number of rounds makes certain."""
    policy_seconds: float
    """For so long, after these rounds, `auto` and those that it may choose whose steps are nearly as short as the
    shortest take further turns: what is to be told from it by a few percent needs many blocks. 0: none."""
    steps_per_round: int
    """Steps in a block; a block ends when all that it sent has arrived and is applied."""
    threads_per_worker: int
    """Intra-op threads of torch in each worker."""
    cycle_milliseconds: float
    """Period of Horovod's negotiation: shorter, a gradient waits less; longer, fewer messages share the link."""
    oversubscribed_cycle_milliseconds: float
    """The same where threads outnumber cores: steps take many times as long there, and the negotiation adds up."""

    def __post_init__(self) -> None:
        """Check the ranges; raises FieldError."""
        different(self, "models", "methods", "links", "workers", least=1)
        different(self, "oversubscribed_methods")
        for link in self.links:
            require(is_link(link), "links", link, "`unshaped` or 1mbit to 100gbit (`100mbit`, `2.5gbit`)")
        whole(self, "workers", least=2, most=MAX_NODES)
        unknown = sorted(set(self.oversubscribed_methods) - set(self.methods))
        require(not unknown, "oversubscribed_methods", unknown, f"some of methods {list(self.methods)}")
        number(self, "min_seconds", "policy_seconds", least=0.0, most=MOST_SECONDS)
        number(self, "cycle_milliseconds", "oversubscribed_cycle_milliseconds", above=0.0, most=MOST_CYCLE)
        whole(self, "batch_size", most=MOST_BATCH)
        whole(self, "warmup_steps", "rounds", "steps_per_round", most=MOST_STEPS)
        whole(self, "threads_per_worker", most=MOST_THREADS)

    def oversubscribed(self, workers: int) -> bool:
        """Whether the threads of so many workers outnumber the cores of this machine."""
        return workers * self.threads_per_worker > (os.cpu_count() or 1)

    def cycle_of(self, workers: int) -> float:
        """Return the period of the negotiation of so many workers, in milliseconds."""
        crowded = self.oversubscribed(workers)
        return self.oversubscribed_cycle_milliseconds if crowded else self.cycle_milliseconds

    def methods_of(self, workers: int) -> tuple[str, ...]:
        """Return the methods that are timed with so many workers."""
        return self.oversubscribed_methods if self.oversubscribed(workers) else self.methods


def is_link(link: str) -> bool:
    """Tell whether the emulated cluster can make such a link."""
    if link == UNSHAPED:
        return True
    try:
        parse_rate(link)
    except UserError:
        return False
    return True
