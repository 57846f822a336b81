"""The trainings of one model by one method: a convergence job between emulated nodes."""

from dataclasses import replace
from pathlib import Path

from pipelines.config import load_section
from pipelines.errors import UserError
from pipelines.experiments.convergence.job import ConvergenceJob
from pipelines.experiments.time_to_accuracy.config import DATA, RUNS, WORKERS, TimeToAccuracyConfig
from pipelines.models import find_factory
from pipelines.training.sections import shared_sections

PARTS = Path("checkpoints/time_to_accuracy")


def load_jobs(model: str, method: str | None, params: Path) -> list[ConvergenceJob]:
    """Read the trainings of `model` by `method`, None: by every one of the section; raises as `load_job`."""
    config = load_section(TimeToAccuracyConfig, "time_to_accuracy", params)
    return [load_job(model, each, params) for each in (config.methods if method is None else [method])]


def load_job(model: str, method: str, params: Path) -> ConvergenceJob:
    """Read the trainings of `model` by `method` from `params`; UserError on values that are not allowed."""
    config = load_section(TimeToAccuracyConfig, "time_to_accuracy", params)
    find_factory(model)  # also: an unknown name would be one of a file
    if model not in config.models:
        raise UserError(
            f"--model: {model!r} is no key of time_to_accuracy.models; allowed: {', '.join(config.models)}"
        )
    trained = config.models[model]
    shared = shared_sections(params, DATA)
    shared["recipe"] = replace(shared["recipe"], augment=config.augment, learning_rate=trained.learning_rate)
    name = f"{model}-{method}"
    return ConvergenceJob(
        name=name,
        model=model,
        method=method,
        workers=WORKERS,
        seeds=config.seeds,
        global_batch_size=trained.global_batch_size,
        epochs=trained.epochs,
        scores_every_epoch=True,
        result_file=RUNS / model / f"{method}.json",
        rate_key=f"time_to_accuracy.models.{model}.learning_rate",
        parts=PARTS,
        params=params,
        link=config.link,
        cycle_milliseconds=config.cycle_milliseconds,
        **shared,
    )
