"""Learning curves at several initial rates, with the points where the rate drops."""

from pipelines.experiments.study.job import StudyJob
from pipelines.experiments.study.runs.outcome import common_fields, remove_runs, train_all
from pipelines.experiments.study.runs.worker import Trained
from pipelines.results import Row, write_json
from pipelines.training import RecipeConfig

SCORES = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy")


def trace_curves(job: StudyJob, model: str) -> list[Row]:
    """Train `model` at every rate of `curve_rates` with the schedule `step`; returns a row an epoch of each run.

    Writes curves-DATA-MODEL.json. A run that diverged ends with a row whose figures are None.
    """
    trainings = [
        job.training(model, seed=job.config.seeds[0], learning_rate=rate, schedule="step")
        for rate in job.config.curve_rates
    ]
    finished = train_all(trainings, f"{model}: curves")
    rows = [
        row
        for training, trained in zip(trainings, finished, strict=True)
        for row in _epoch_rows(training.recipe, trained)
    ]
    rows = [row | {"data": job.data} for row in rows]
    write_json(job.results / f"curves-{job.data}-{model}.json", rows)
    remove_runs(finished)
    return rows


def _epoch_rows(recipe: RecipeConfig, trained: Trained) -> list[Row]:
    return [
        {
            **common_fields(trained, "curve"),
            "epoch": row["epoch"],
            "learning_rate_now": row.get("learning_rate"),
            **{key: row.get(key) for key in SCORES},
            "dropped": rate_dropped(recipe, row["epoch"]),
        }
        for row in trained.history
    ]


def rate_dropped(recipe: RecipeConfig, epoch: int) -> bool:
    """Return whether the rate of schedule `step` falls in epoch `epoch` (from 1).

    A milestone within an epoch counts for that epoch, one between two epochs for the later.
    """
    start, end = epoch - 1, epoch
    return any(start <= milestone * recipe.epochs < end for milestone in recipe.milestones)
