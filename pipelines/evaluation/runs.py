"""The trained models that are evaluated: their checkpoints and what training recorded."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.data import PreparedData
from pipelines.errors import UserError
from pipelines.results import Row, read_csv, read_json
from pipelines.training import Checkpoint, load_checkpoint

BEST = "best.pt"


@dataclass(frozen=True)
class TrainedRun:
    """One training run: a model trained with one seed."""

    name: str
    """The model's name, with `-seedN` appended for the runs that repeat it with further seeds."""
    model: str
    seed: int
    checkpoint: Checkpoint
    summary: Row
    """What the training stage wrote to its summary."""
    history: list[Row]
    """A row per epoch; all values as text."""


def find_runs(
    models: Sequence[str], checkpoints: Path, training: Path, data: PreparedData
) -> list[TrainedRun]:
    """Load the best checkpoint of each model, and of its repetitions with further seeds, in order.

    `checkpoints`/NAME/best.pt goes with `training`/NAME.json and curves/NAME.csv; NAME is the model's, or the model's
    with `-seedN`. Raises UserError where a model has no run or a run was trained on other data.
    """
    runs = []
    for model in models:
        runs.append(_load(model, model, checkpoints, training, data))
        pattern = re.compile(re.escape(model) + r"-seed(\d+)")
        repeated = [
            (int(found[1]), path.name)
            for path in checkpoints.iterdir()
            if (found := pattern.fullmatch(path.name))
        ]
        runs += [_load(name, model, checkpoints, training, data) for _, name in sorted(repeated)]
    return runs


def _load(name: str, model: str, checkpoints: Path, training: Path, data: PreparedData) -> TrainedRun:
    path = checkpoints / name / BEST
    checkpoint = load_checkpoint(path)
    if checkpoint.data_checksum != data.checksum:
        raise UserError(
            f"{path}: was trained on other data (checksum {checkpoint.data_checksum[:12]}, prepared is "
            f"{data.checksum[:12]}); train {name} again"
        )
    return TrainedRun(
        name=name,
        model=model,
        seed=int(checkpoint.recipe["seed"]),
        checkpoint=checkpoint,
        summary=read_json(training / f"{name}.json"),
        history=read_csv(training / "curves" / f"{name}.csv"),
    )
