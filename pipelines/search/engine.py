"""Running searches side by side: their networks are judged by one pool of processes, each of them once."""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from tqdm import tqdm

from pipelines.search.config import SearchConfig
from pipelines.search.fitness import Fitness, Proposals
from pipelines.search.journal import Journal

MOST_IDLE = 10
"""Generations on end without a network that is new to the search: it has converged, and ends."""


class Task(Protocol):
    """A network to judge, and how: goes to another process."""

    @property
    def key(self) -> str:
        """A digest of all that determines the fitness."""
        ...


T = TypeVar("T", bound=Task)
K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, kw_only=True)
class Search:
    """A way to find a network: an algorithm in its space, and its budget."""

    propose: Callable[[np.random.Generator], Proposals]
    """Starts the algorithm; its draws come from the argument alone."""
    config: SearchConfig


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a search has come to."""

    model: str
    """Name of the best network, of equal ones the first."""
    fitness: Fitness
    num_evaluations: int
    """Different networks that the search has asked for."""
    num_hits: int
    """How often it asked for one that it knew."""
    seconds: float
    """Sum over the different networks, whenever and for whichever search they were judged."""
    history: list[dict[str, int | float | str]] = field(repr=False)
    """A row a generation: generation (from 0), num_evaluations and num_hits so far, best_accuracy so far with its
    best_model, and mean_accuracy of the networks of the generation."""


@dataclass(kw_only=True)
class SearchRun(Generic[T]):
    """A search with a seed on its way; `run_searches` moves it on."""

    search: Search
    generator: np.random.Generator
    task: Callable[[str], T]
    """What judges the network of that name."""
    known: dict[str, Fitness] = field(default_factory=dict, init=False)
    """By name, in the order in which the search asked for them."""
    history: list[dict[str, int | float | str]] = field(default_factory=list, init=False)
    finished: bool = field(default=False, init=False)
    _hits: int = field(default=0, init=False)
    _idle: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._proposals = self.search.propose(self.generator)
        self._take(next(self._proposals))

    def _take(self, batch: Sequence[str]) -> None:
        """Look at the next generation and how much of it the budget allows."""
        new = [name for name in dict.fromkeys(batch) if name not in self.known]
        room = self.search.config.evaluations - len(self.known)
        self._last = len(new) > room
        self._new = new[:room]
        dropped = set(new[room:])
        self._batch = [name for name in batch if name not in dropped]
        if self._last and not self._new:
            self._end()

    def _end(self) -> None:
        self._proposals.close()
        self.finished = True

    def missing(self, journal: Journal) -> Iterator[T]:
        """Yield what has to be judged before the search can go on."""
        for name in () if self.finished else self._new:
            task = self.task(name)
            if task.key not in journal:
                yield task

    def advance(self, journal: Journal) -> int:
        """Take the fitness of the generation, of which none is missing, go on to the next, return how many were new."""
        for name in self._new:
            self.known[name] = journal[self.task(name).key]
        self._hits += len(self._batch) - len(self._new)
        self._note()
        self._idle = 0 if self._new else self._idle + 1
        bound = self.search.config.seconds
        num_new = len(self._new)
        if self._last or self._idle >= MOST_IDLE or (bound is not None and self._seconds >= bound):
            self._end()
            return num_new
        try:
            self._take(self._proposals.send([self.known[name] for name in self._batch]))
        except StopIteration:
            self.finished = True
        return num_new

    def _note(self) -> None:
        best = self.best
        self.history.append(
            {
                "generation": len(self.history),
                "num_evaluations": len(self.known),
                "num_hits": self._hits,
                "best_accuracy": self.known[best].accuracy,
                "best_model": best,
                "mean_accuracy": float(np.mean([self.known[name].accuracy for name in self._batch])),
            }
        )

    @property
    def best(self) -> str:
        """Name of the best network so far, of equal ones the first."""
        return max(self.known, key=lambda name: self.known[name].rank)

    @property
    def _seconds(self) -> float:
        return sum(one.seconds for one in self.known.values())

    @property
    def found(self) -> Found:
        """What a finished search has come to."""
        return Found(
            model=self.best,
            fitness=self.known[self.best],
            num_evaluations=len(self.known),
            num_hits=self._hits,
            seconds=self._seconds,
            history=self.history,
        )


def run_searches(
    runs: Mapping[K, SearchRun[T]],
    evaluate: Callable[[T], Fitness],
    executor: Executor,
    journal: Journal,
    description: str,
) -> dict[K, Found]:
    """Run searches to their ends and return what they have found.

    All their networks go through one pool, so that a search that waits for the last network of a generation leaves no
    core idle. `evaluate` and its tasks must be picklable. Every fitness is in `journal` as soon as it is known. Shows a
    bar of the networks judged where standard error is a terminal. The first exception of a process is raised.
    """
    pending: dict[str, Future[Fitness]] = {}
    total = sum(run.search.config.evaluations for run in runs.values())
    progress: tqdm[Any]
    with tqdm(total=total, desc=description, unit="network", disable=None) as progress:
        active = list(runs.values())
        while active:
            for run in active:
                _move(run, journal, progress)
                for task in run.missing(journal):
                    if task.key not in pending:
                        pending[task.key] = executor.submit(evaluate, task)
            active = [run for run in active if not run.finished]
            if active:
                done = wait(pending.values(), return_when=FIRST_COMPLETED).done
                for key in [key for key, future in pending.items() if future in done]:
                    journal.add(key, pending.pop(key).result())
    return {key: run.found for key, run in runs.items()}


def _move(run: SearchRun[T], journal: Journal, progress: "tqdm[Any]") -> None:
    """Move a search on until something is missing, or it ends."""
    while not run.finished and not any(run.missing(journal)):
        progress.update(run.advance(journal))
        progress.set_postfix(best=f"{run.known[run.best].accuracy:.4f}", refresh=False)
