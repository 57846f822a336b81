"""The time of a training step of every compared model, made in turns.

The trainings themselves may run on different days, on different machines and beside other work.
"""

from pipelines.data import load_prepared
from pipelines.evaluation.evaluate import resolve_device
from pipelines.experiments.study.job import StudyJob
from pipelines.experiments.study.runs.steps import step_costs
from pipelines.provenance import provenance
from pipelines.results import Row, write_json


def time_models(job: StudyJob) -> list[Row]:
    """Time a training step of every compared model; returns a row each, of `step_costs`.

    Writes steps-DATA.json.
    """
    trainings = {model: job.training(model, seed=job.config.seeds[0]) for model in job.config.models}
    costs = step_costs(trainings, load_prepared(job.data_folder))
    made = {"batch_size": job.recipe.batch_size, **provenance(resolve_device(job.recipe.device))}
    rows = [
        {"experiment": "steps", "data": job.data, "model": model, **costs[model], **made}
        for model in trainings
    ]
    write_json(job.results / f"steps-{job.data}.json", rows)
    return rows
