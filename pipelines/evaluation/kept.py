"""Networks that were kept without the files of their training: their checkpoints say all that is needed."""

from pathlib import Path

from pipelines.data import PreparedData
from pipelines.errors import UserError
from pipelines.evaluation.config import EvaluateConfig
from pipelines.evaluation.evaluate import evaluate_run
from pipelines.evaluation.runs import BEST, TrainedRun
from pipelines.results import Row
from pipelines.training import load_checkpoint


def evaluate_kept(folder: Path, data: PreparedData, config: EvaluateConfig) -> list[Row]:
    """Return the row of the evaluation of each `folder`/NAME/best.pt, by name, with the name as `kept`.

    Writes nothing. Raises UserError where there is none and where one was trained on other data.
    """
    paths = sorted(folder.glob(f"*/{BEST}"))
    if not paths:
        raise UserError(f"--checkpoints: {folder} holds no NAME/{BEST}; allowed: a folder with such files")
    return [{"kept": path.parent.name, **_evaluate(path, data, config)} for path in paths]


def _evaluate(path: Path, data: PreparedData, config: EvaluateConfig) -> Row:
    checkpoint = load_checkpoint(path)
    if checkpoint.data_checksum != data.checksum:
        raise UserError(
            f"--data: {path} was trained on other data than these; allowed: those of its training"
        )
    best = checkpoint.history[checkpoint.best_epoch - 1]
    run = TrainedRun(
        name=path.parent.name,
        model=checkpoint.spec.name,
        seed=int(checkpoint.recipe["seed"]),
        checkpoint=checkpoint,
        summary={
            "epochs": checkpoint.recipe["epochs"],
            "best_validation_accuracy": best["validation_accuracy"],
            "train_seconds": sum(row["seconds"] for row in checkpoint.history),
            "device": None,
        },
        history=[*checkpoint.history],
    )
    return evaluate_run(run, data, config).row
