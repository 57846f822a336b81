"""The comparison: tune a model's rate on the validation part, repeat it over seeds, then test each run once."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from pipelines.data import PreparedData, Split, load_prepared
from pipelines.errors import UserError
from pipelines.evaluation.evaluate import Evaluated, evaluate_run, resolve_device
from pipelines.evaluation.robustness import corrupted_accuracies
from pipelines.evaluation.runs import BEST, TrainedRun
from pipelines.experiments.study.job import StudyJob
from pipelines.experiments.study.runs.outcome import common_fields, remove_runs, train_all
from pipelines.experiments.study.runs.steps import peak_memories
from pipelines.experiments.study.runs.worker import Trained
from pipelines.results import Row, write_json
from pipelines.training import load_checkpoint, rebuild_model

# What the evaluation of a run gives to its row.
TESTED = (
    *("test_accuracy", "test_accuracy_low", "test_accuracy_high"),
    *("test_loss", "test_loss_low", "test_loss_high"),
    *("auc_macro", "auc_macro_low", "auc_macro_high"),
    *("auc_micro", "auc_micro_low", "auc_micro_high"),
    *("calibration_error", "num_test"),
)


def compare(job: StudyJob, model: str) -> list[Row]:
    """Tune, repeat and test `model`; returns the rows.

    Writes compare-DATA-MODEL.json, a row a tried rate (experiment `tuning`, without test figures), one a seed
    (`comparison`, with the memory of a training step) and one a seed, corruption and severity (`corruption`), and
    probabilities-DATA-MODEL.npz: labels int64 [n], seeds int64 [s] and test probabilities float32 [s, n, k] of the
    seeds that did not diverge.
    """
    config = job.config
    tried = [
        job.training(model, seed=config.seeds[0], learning_rate=rate, epochs=config.tuning_epochs)
        for rate in config.learning_rates
    ]
    tuned = train_all(tried, f"{model}: rates")
    chosen = choose(tuned)
    rate = tuned[chosen].summary["learning_rate"]
    repeated = [job.training(model, seed=seed, learning_rate=rate) for seed in config.seeds]
    # The run at the chosen rate is the first seed's, unless it was shortened.
    done = [tuned[chosen]] if repeated[0] == tried[chosen] else []
    runs = [*done, *train_all(repeated[len(done) :], f"{model}: seeds")]
    data = load_prepared(job.data_folder)
    evaluated = [evaluate_best(job, run, data) for run in runs]
    rows = [tuning_row(run, chosen=index == chosen) for index, run in enumerate(tuned)]
    (peak,) = peak_memories(repeated[:1])
    rows += [
        _comparison_row(run, one) | {"peak_memory_bytes": peak}
        for run, one in zip(runs, evaluated, strict=True)
    ]
    rows += [row for run in runs for row in _corruption_rows(job, run, data)]
    rows = [row | {"data": job.data} for row in rows]
    name = f"{job.data}-{model}"
    write_probabilities(job, name, data, [one for one in evaluated if one is not None])
    write_json(job.results / f"compare-{name}.json", rows)
    remove_runs([*tuned, *runs])
    return rows


def choose(tuned: Sequence[Trained]) -> int:
    """Return the index of the best rate: the highest validation accuracy, of equals the lowest validation loss.

    Raises UserError where the training diverged at every rate.
    """
    best = best_of(tuned)
    if best is None:
        first = tuned[0].summary
        rates = [run.summary["learning_rate"] for run in tuned]
        raise UserError(
            f"study.{first['data']}.learning_rates: {rates} is not allowed for {first['model']}, whose training "
            "diverges at each of them; allowed: a list with a lower rate"
        )
    return best


def best_of(tuned: Sequence[Trained]) -> int | None:
    """Return the index of the best rate as `choose` does; None where the training diverged at every one."""
    ranks = {
        index: (run.summary["best_validation_accuracy"], -_loss(run))
        for index, run in enumerate(tuned)
        if not run.summary["diverged"]
    }
    return max(ranks, key=ranks.__getitem__, default=None)


def _loss(run: Trained) -> float:
    loss = run.summary["best_validation_loss"]
    return float("inf") if loss is None else float(loss)


def evaluate_best(job: StudyJob, trained: Trained, data: PreparedData) -> Evaluated | None:
    """Evaluate the run's best checkpoint on the test part; None where the run diverged."""
    if trained.summary["diverged"]:
        return None
    run = TrainedRun(
        name=trained.summary["model"],
        model=trained.summary["model"],
        seed=trained.summary["seed"],
        checkpoint=load_checkpoint(trained.folder / BEST),
        summary=trained.summary,
        history=trained.history,
    )
    return evaluate_run(run, data, job.evaluate)


def tested_fields(evaluated: Evaluated | None) -> Row:
    """Return the test figures, all None for a run that diverged."""
    return {key: None if evaluated is None else evaluated.row[key] for key in TESTED}


def tuning_row(trained: Trained, *, chosen: bool) -> Row:
    """Return the row of a tried rate; `chosen`: whether it was the best."""
    best = {
        key: trained.summary.get(key)
        for key in ("best_validation_accuracy", "best_validation_loss", "best_epoch")
    }
    return {**common_fields(trained, "tuning"), **best, "chosen": chosen}


def _comparison_row(trained: Trained, evaluated: Evaluated | None) -> Row:
    return {
        **common_fields(trained, "comparison"),
        **tested_fields(evaluated),
        **{
            key: trained.summary.get(key)
            for key in ("best_validation_accuracy", "best_epoch", "images_per_second")
        },
    }


def _corruption_rows(job: StudyJob, trained: Trained, data: PreparedData) -> list[Row]:
    """Test the run's best checkpoint on shifted images, at most `corruption_limit`; a run that diverged has no rows."""
    if trained.summary["diverged"] or not job.config.corruptions:
        return []
    shifted = slice(job.config.corruption_limit)
    part = dataclasses.replace(data, test=Split(data.test.images[shifted], data.test.labels[shifted]))
    device = resolve_device(job.evaluate.device)
    accuracies = corrupted_accuracies(
        rebuild_model(load_checkpoint(trained.folder / BEST)).to(device),
        part,
        job.config.corruptions,
        batch_size=job.evaluate.batch_size,
        device=device,
        seed=job.evaluate.seed,
    )
    tested = {"num_test": len(part.test)}
    return [{**common_fields(trained, "corruption"), **tested, **row} for row in accuracies]


def write_probabilities(job: StudyJob, name: str, data: PreparedData, evaluated: Sequence[Evaluated]) -> None:
    """Write the test probabilities for the paired tests; see `compare`."""
    shape = (len(evaluated), len(data.test), data.num_classes)
    probabilities = np.array([one.scores.probabilities for one in evaluated], dtype=np.float32)
    path = job.results / f"probabilities-{name}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path,
        labels=torch.as_tensor(data.test.labels).numpy(),
        seeds=np.array([one.run.seed for one in evaluated], dtype=np.int64),
        probabilities=probabilities.reshape(shape),
    )
