"""Running the trainings of a stage and writing their rows."""

import shutil
from collections.abc import Iterable, Sequence

import torch

from pipelines.experiments.study.job import Training
from pipelines.experiments.study.runs.pool import num_cores, run_all
from pipelines.experiments.study.runs.worker import Trained, train_run
from pipelines.results import Row

# What a row of any experiment tells about its run, beside the commit, the device and the libraries.
COMMON = (
    "data",
    "model",
    "seed",
    "learning_rate",
    "epochs",
    "batch_size",
    "num_train_images",
    "schedule",
    "num_parameters",
    "num_multiply_adds",
    "train_seconds",
    "threads",
    "data_checksum",
    "diverged",
    "reason",
)


def train_all(trainings: Sequence[Training], description: str) -> list[Trained]:
    """Train in parallel; see `num_processes`."""
    processes = num_processes([one.recipe.device for one in trainings])
    return run_all(train_run, trainings, num_processes=processes, description=description)


def num_processes(devices: Iterable[str]) -> int:
    """Return one process a core; on a GPU one in all, since each task is to have it alone."""
    on_gpu = torch.cuda.is_available() and any(device != "cpu" for device in devices)
    return 1 if on_gpu else num_cores()


def common_fields(trained: Trained, experiment: str) -> Row:
    """Return the fields that rows of every experiment begin with, and where the run was made."""
    summary = trained.summary
    places = {key: summary[key] for key in summary if key in ("commit", "device") or key.endswith("_version")}
    return {"experiment": experiment, **{key: summary[key] for key in COMMON}, **places}


def remove_runs(finished: Sequence[Trained]) -> None:
    """Remove checkpoints and records of runs whose rows are written: the stage, run again, trains anew."""
    for trained in finished:
        shutil.rmtree(trained.folder, ignore_errors=True)
