"""The best networks that searches have found, kept as ordinary checkpoints when the files of the trainings go."""

import os
import shutil
from pathlib import Path

from pipelines.evaluation.runs import BEST
from pipelines.experiments.related.job import RelatedJob
from pipelines.experiments.related.runs.trials import Trial, Trials

FOUND = "found"


def found_folder(job: RelatedJob) -> Path:
    """Return the folder of the kept networks, a folder a variant with best.pt in it."""
    return job.checkpoints.parent / FOUND / job.name


def keep_found(job: RelatedJob, trials: Trials) -> None:
    """Copy the best trained network of each variant with a search; seeds are compared on the validation part.

    Replaces what an earlier call has left in `found_folder(job)`.
    """
    folder = found_folder(job)
    shutil.rmtree(folder, ignore_errors=True)
    for name in dict.fromkeys(variant for variant, _ in trials.found):
        trained = [
            one for (variant, _), one in trials.repeated.items() if variant == name and not one.diverged
        ]
        if not trained:
            continue
        best = max(trained, key=_validation_accuracy)
        target = folder / name / BEST
        target.parent.mkdir(parents=True)
        temporary = target.with_name(f"{BEST}.tmp")
        shutil.copyfile(best.trained.folder / BEST, temporary)
        os.replace(temporary, target)


def _validation_accuracy(trial: Trial) -> float:
    return float(trial.trained.summary["best_validation_accuracy"])
