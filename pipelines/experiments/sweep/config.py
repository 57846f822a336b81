"""Parameters of the sweep and of measurements like it: sections `sweep`, `more_workers`, `slow_link`."""

import math
import os
from dataclasses import dataclass

from pipelines.cluster.spec import LINKS, MAX_NODES, UNSHAPED, is_link
from pipelines.config import different, number, require, whole
from pipelines.config.validate import MOST_BATCH, MOST_CYCLE, MOST_SECONDS, MOST_STEPS, MOST_THREADS
from pipelines.errors import UserError
from pipelines.parallel.config import DistributedConfig


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
    """Period of Horovod's negotiation in the timed steps: shorter, a gradient waits less; longer, fewer messages share
    the link. Bytes are counted in further steps, with a longer one."""
    oversubscribed_cycle_milliseconds: float
    """The same where threads outnumber cores: steps take many times as long there, and the negotiation adds up."""

    def __post_init__(self) -> None:
        """Check the ranges; raises FieldError."""
        different(self, "models", "methods", "links", "workers", least=1)
        different(self, "oversubscribed_methods")
        for link in self.links:
            require(is_link(link), "links", link, LINKS)
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

    def rounds_for(self, done: int, seconds: float) -> int:
        """Return how many rounds there must be, when the first `done` have taken `seconds`."""
        return max(self.rounds, math.ceil(self.min_seconds * done / seconds))

    def methods_of(self, workers: int) -> tuple[str, ...]:
        """Return the methods that are timed with so many workers."""
        return self.oversubscribed_methods if self.oversubscribed(workers) else self.methods


@dataclass(frozen=True, kw_only=True)
class MoreWorkersConfig(SweepConfig):
    """Cells that judge the speed-up model beyond two workers; section `more_workers`."""

    own_links: dict[str, tuple[str, ...]]
    """Links of a model that is not timed on `links`: a small model's must be slower, or cores decide and not links."""

    def __post_init__(self) -> None:
        """Check the ranges; raises FieldError."""
        super().__post_init__()
        for model, links in self.own_links.items():
            require(model in self.models, "own_links", model, f"keys of models {list(self.models)}")
            for link in links:
                require(is_link(link), "own_links", link, LINKS)

    def links_of(self, model: str) -> tuple[str, ...]:
        """Return the links that a model is timed on."""
        return self.own_links.get(model, self.links)


@dataclass(frozen=True, kw_only=True)
class SlowLinkConfig:
    """What is measured on which emulated link; section `slow_link`. Workers and batches are those of `distributed`."""

    models: tuple[str, ...]
    """Models to time, those of them that `distributed.models` names as well; may be empty."""
    methods: tuple[str, ...]
    """Methods to time, those of them that `distributed.methods` names as well."""
    links: tuple[str, ...]
    """Rates of the nodes' links as tc writes them (`100mbit`)."""
    warmup_steps: int
    """Steps of every method before the clock starts."""
    rounds: int
    """Blocks of every method, which take turns."""
    steps_per_round: int
    """Steps in a block."""
    cycle_milliseconds: float
    """Period of Horovod's negotiation."""

    def __post_init__(self) -> None:
        """Check the ranges; raises FieldError."""
        different(self, "models")
        different(self, "methods", "links", least=1)
        for link in self.links:
            shaped = link != UNSHAPED and is_link(link)
            require(shaped, "links", link, "1mbit to 100gbit (`100mbit`, `2.5gbit`)")
        whole(self, "warmup_steps", "rounds", "steps_per_round", most=MOST_STEPS)
        number(self, "cycle_milliseconds", above=0.0, most=MOST_CYCLE)

    def sweep_of(self, distributed: DistributedConfig) -> SweepConfig:
        """Return the sweep of those models and methods that the distributed runs have, or raise UserError."""
        models = tuple(name for name in self.models if name in distributed.models)
        methods = tuple(name for name in self.methods if name in distributed.methods)
        for key, mine, kept in (("models", self.models, models), ("methods", self.methods, methods)):
            if not kept:
                raise UserError(f"none of slow_link.{key} {list(mine)} is one of distributed.{key}")
        if distributed.hosts is not None:
            raise UserError("distributed.hosts names other machines, and emulated nodes are on this one")
        return SweepConfig(
            models=models,
            links=self.links,
            methods=methods,
            workers=(distributed.workers,),
            oversubscribed_methods=methods,
            batch_size=distributed.batch_size,
            warmup_steps=self.warmup_steps,
            rounds=self.rounds,
            min_seconds=0.0,
            policy_seconds=0.0,
            steps_per_round=self.steps_per_round,
            threads_per_worker=distributed.threads_per_worker,
            cycle_milliseconds=self.cycle_milliseconds,
            oversubscribed_cycle_milliseconds=self.cycle_milliseconds,
        )
