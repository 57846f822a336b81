"""Parameters of the sweep: section `sweep` of params.yaml."""

import os
from dataclasses import dataclass

from pipelines.cluster.spec import UNSHAPED, parse_rate
from pipelines.config import require
from pipelines.errors import UserError


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
        require(bool(self.models), "models", self.models, "at least one registered model name")
        require(bool(self.methods), "methods", self.methods, "at least one key of the section methods")
        require(bool(self.links), "links", self.links, "at least one rate (`100mbit`) or `unshaped`")
        for link in self.links:
            require(is_link(link), "links", link, "`unshaped` or 1mbit to 100gbit (`100mbit`, `2.5gbit`)")
        enough = bool(self.workers) and all(number >= 2 for number in self.workers)
        require(enough, "workers", self.workers, "whole numbers of at least 2")
        unknown = sorted(set(self.oversubscribed_methods) - set(self.methods))
        require(not unknown, "oversubscribed_methods", unknown, f"some of methods {list(self.methods)}")
        for key in ("min_seconds", "policy_seconds"):
            require(getattr(self, key) >= 0, key, getattr(self, key), "a number of at least 0 (seconds)")
        for key in ("cycle_milliseconds", "oversubscribed_cycle_milliseconds"):
            require(getattr(self, key) > 0, key, getattr(self, key), "a number above 0 (milliseconds)")
        for key in ("batch_size", "warmup_steps", "rounds", "steps_per_round", "threads_per_worker"):
            require(getattr(self, key) >= 1, key, getattr(self, key), "a whole number of at least 1")

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
