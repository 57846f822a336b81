"""Training the variants of a system: every rate with the first seed, then the other seeds at the best one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipelines.experiments.related.job import RelatedJob, VariantTraining
from pipelines.experiments.related.runs.searches import Key, find_models
from pipelines.experiments.related.system import Variant
from pipelines.experiments.study.runs.compare import best_of
from pipelines.experiments.study.runs.outcome import train_all
from pipelines.experiments.study.runs.worker import Trained
from pipelines.search import Found


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A training and what it gave."""

    training: VariantTraining
    trained: Trained

    @property
    def diverged(self) -> bool:
        """Whether there is no network."""
        return bool(self.trained.summary["diverged"])


@dataclass(frozen=True, kw_only=True)
class Trials:
    """All trainings of a system on a data set."""

    tried: dict[str, list[Trial]]
    """By variant, those that have chosen its rate."""
    chosen: dict[str, int]
    """By variant, which of them was the best; a variant that diverged at every rate is missing."""
    repeated: dict[Key, Trial]
    """By variant and seed, at the best rate. A variant that diverged at every rate has its first seed alone."""
    missing: dict[str, str]
    """By variant that was not trained, why."""
    found: dict[Key, Found]
    """By variant with a search and seed, what it has found."""


def train_variants(job: RelatedJob) -> Trials:
    """Train every variant of the system with every seed, in parallel, a process a core.

    Searches come first, then variants that come after others wait for them. What an interrupted call has finished is
    not trained again.
    """
    trials = Trials(tried={}, chosen={}, repeated={}, missing={}, found=find_models(job))
    for variants in levels(job.system.variants()):
        ready = [variant for variant in variants if _note_source(job, variant, trials)]
        _tune(job, ready, trials)
        _repeat(job, ready, trials)
    return trials


def levels(variants: Sequence[Variant]) -> Iterator[list[Variant]]:
    """Yield the variants that can be trained at the same time: those after none, those after them, and so on."""
    depth: dict[str, int] = {}
    for one in variants:
        depth[one.name] = 0 if one.after is None else depth[one.after] + 1
    for level in range(max(depth.values(), default=-1) + 1):
        yield [one for one in variants if depth[one.name] == level]


def _note_source(job: RelatedJob, variant: Variant, trials: Trials) -> bool:
    """Tell whether what the variant starts from is there; note in `trials` where it is not."""
    if variant.after is None or _source(trials, variant, job.shared.seeds[0]) is not None:
        return True
    trials.missing[variant.name] = f"{variant.after}, which it starts from, was not trained"
    return False


def _source(trials: Trials, variant: Variant, seed: int) -> Trial | None:
    """Return what the variant starts from with this seed; None where it diverged."""
    assert variant.after is not None
    found = trials.repeated.get((variant.after, seed))
    return None if found is None or found.diverged else found


def _training(
    job: RelatedJob, trials: Trials, variant: Variant, seed: int, rate: float, *, tuning: bool = False
) -> VariantTraining | None:
    """Return a training; None where its source diverged with this seed."""
    if variant.after is None:
        found = trials.found.get((variant.name, seed))
        model = None if found is None else found.model
        return job.training(variant, seed=seed, learning_rate=rate, tuning=tuning, model=model)
    source = _source(trials, variant, seed)
    if source is None:
        return None
    return job.training(
        variant,
        seed=seed,
        learning_rate=rate,
        tuning=tuning,
        source=source.training,
        source_folder=source.trained.folder,
    )


def _train(trainings: Sequence[VariantTraining], description: str) -> list[Trial]:
    finished = train_all(trainings, description) if trainings else []
    return [Trial(training=one, trained=done) for one, done in zip(trainings, finished, strict=True)]


def _tune(job: RelatedJob, variants: Sequence[Variant], trials: Trials) -> None:
    """Try the rates of all variants with the first seed; mutates `trials`."""
    first = job.shared.seeds[0]
    trainings = [
        one
        for variant in variants
        for rate in job.rates(variant)
        if (one := _training(job, trials, variant, first, rate, tuning=True)) is not None
    ]
    for trial in _train(trainings, f"{job.name}: rates"):
        trials.tried.setdefault(trial.training.variant, []).append(trial)
    for name, tried in trials.tried.items():
        best = best_of([trial.trained for trial in tried])
        if best is not None:
            trials.chosen[name] = best


def _repeat(job: RelatedJob, variants: Sequence[Variant], trials: Trials) -> None:
    """Train the variants with every seed at their best rates; mutates `trials`."""
    todo: list[VariantTraining] = []
    for variant in variants:
        tried = trials.tried[variant.name]
        if variant.name not in trials.chosen:
            trials.repeated[variant.name, job.shared.seeds[0]] = tried[0]
            continue
        best = tried[trials.chosen[variant.name]]
        for seed in job.shared.seeds:
            one = _training(job, trials, variant, seed, best.training.recipe.learning_rate)
            if one is not None and one.recipe == best.training.recipe:
                trials.repeated[variant.name, seed] = best  # the tried run was a whole one
            elif one is not None:
                todo.append(one)
    for trial in _train(todo, f"{job.name}: seeds"):
        trials.repeated[trial.training.variant, trial.training.recipe.seed] = trial
