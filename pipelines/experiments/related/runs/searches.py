"""The searches of a system: every variant that has one, with every seed, all at the same time."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from pipelines.experiments.related.job import RelatedJob
from pipelines.experiments.study.runs.outcome import num_processes
from pipelines.experiments.study.runs.pool import kept_or_own_pool
from pipelines.experiments.study.runs.worker import load_once
from pipelines.results import Row
from pipelines.search import Found, Journal, Search, SearchRun, run_searches
from pipelines.search.judge import Candidate, judge

Key = tuple[str, int]
"""A variant's name and a seed."""


def find_models(job: RelatedJob) -> dict[Key, Found]:
    """Search the model of every variant that has a search, seed by seed; return what was found.

    Networks are judged in parallel, a process a core, on a GPU one after the other. A network that several searches of
    a seed ask for is judged once. What an interrupted call has judged is not judged again.
    """
    searches = {one.name: one.search for one in job.system.variants() if one.search is not None}
    if not searches:
        return {}
    runs = {
        (name, seed): _run_of(job, name, one, seed)
        for name, one in searches.items()
        for seed in job.shared.seeds
    }
    journal = Journal(job.checkpoints / "searches" / "evaluations.jsonl")
    try:
        with kept_or_own_pool(num_processes([job.recipe.device])) as executor:
            return run_searches(runs, judge, executor, journal, f"{job.name}: searches")
    finally:
        journal.close()


def _run_of(job: RelatedJob, name: str, search: Search, seed: int) -> SearchRun[Candidate]:
    """Return the search of a variant with a seed, at its start."""
    checksum = load_once(job.data_folder).checksum
    recipe = replace(job.recipe, seed=seed, augment=job.config.augment)

    def task(model: str) -> Candidate:
        return Candidate(
            model=model,
            data_folder=job.data_folder,
            data_checksum=checksum,
            recipe=recipe,
            densenet=job.densenet,
            config=search.config,
        )

    # Variants draw independently of each other.
    generator = np.random.default_rng((seed, *name.encode()))
    return SearchRun(search=search, generator=generator, task=task)


def found_fields(found: Found | None) -> Row:
    """Return what a run's row tells about the search that has found its network; of None nothing."""
    if found is None:
        return {}
    return {
        "search_accuracy": found.fitness.accuracy,
        "search_evaluations": found.num_evaluations,
        "search_hits": found.num_hits,
        "search_seconds": found.seconds,
    }


def search_rows(job: RelatedJob, found: Mapping[Key, Found]) -> list[Row]:
    """Return a row a generation of every search: accuracies are those of the validation part after a short training."""
    return [
        {
            "experiment": "search",
            "system": job.system.name,
            "data": job.data,
            "variant": variant,
            "seed": seed,
            **generation,
        }
        for (variant, seed), one in found.items()
        for generation in one.history
    ]
