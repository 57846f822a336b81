"""The evaluation stage: every run on the test part, rows, comparisons, curve files and figures."""

from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from pipelines.data import PreparedData
from pipelines.evaluation.comparison import compare_pairs, summarise_seeds
from pipelines.evaluation.config import EvaluateConfig
from pipelines.evaluation.evaluate import Evaluated, evaluate_run
from pipelines.evaluation.figures import draw_all
from pipelines.evaluation.roc import MACRO
from pipelines.evaluation.runs import find_runs
from pipelines.results import Row, write_csv, write_json, write_metrics
from pipelines.tracking import Tracker
from pipelines.tracking.vocabulary import EVALUATION_METRICS, chosen, trained_model

# What `dvc metrics` shows and compares.
METRICS = ("test_accuracy", "test_loss", "auc_macro", "auc_micro", "calibration_error")


def evaluate(
    models: Sequence[str],
    data: PreparedData,
    config: EvaluateConfig,
    *,
    checkpoints: Path,
    results: Path,
    tracker: Tracker,
) -> list[Row]:
    """Evaluate the runs of `models` under `checkpoints`; return their rows.

    Reads `results`/train; writes in `results`: recognition.json (a flat row a run), recognition_seeds.json
    (mean and deviation over seeds), recognition_pairs.json (paired tests), metrics/recognition/ (a file a
    model, for `dvc metrics`), evaluate/ (curve files, for `dvc plots`) and figures/recognition/.
    """
    runs = find_runs(models, checkpoints, results / "train", data)
    evaluated = []
    for run in tqdm(runs, desc="evaluate", disable=None):
        evaluated.append(evaluate_run(run, data, config))
    rows = [one.row for one in evaluated]
    write_json(results / "recognition.json", rows)
    write_json(results / "recognition_seeds.json", summarise_seeds(rows))
    write_json(
        results / "recognition_pairs.json", compare_pairs({one.run.name: one.scores for one in evaluated})
    )
    write_metrics(results / "metrics/recognition", _first_seeds(evaluated), ("model",), METRICS)
    write_curves(evaluated, data.class_names, results / "evaluate")
    figures = draw_all(evaluated, data.class_names, results / "figures/recognition")
    _log(evaluated, data, figures, tracker)
    return rows


def _first_seeds(evaluated: Sequence[Evaluated]) -> list[Row]:
    """Return the rows of the models' main runs, without the repetitions with further seeds."""
    return [one.row for one in evaluated if one.run.name == one.run.model]


def write_curves(evaluated: Sequence[Evaluated], class_names: tuple[str, ...], folder: Path) -> None:
    """Write what `dvc plots` draws, one file a run.

    roc/NAME.csv: the macro average (fpr, tpr); roc_by_class/NAME.csv: every curve (class, fpr, tpr);
    confusion/NAME.csv: true and predicted class of each image (actual, predicted).
    """
    for one in evaluated:
        every = [
            {"class": curve.name, "fpr": float(fpr), "tpr": float(tpr)}
            for curve in one.curves
            for fpr, tpr in zip(curve.fpr, curve.tpr, strict=True)
        ]
        macro = [{"fpr": row["fpr"], "tpr": row["tpr"]} for row in every if row["class"] == MACRO]
        pairs = zip(one.scores.labels, one.scores.predictions, strict=True)
        confusion = [{"actual": class_names[true], "predicted": class_names[guess]} for true, guess in pairs]
        write_csv(folder / "roc_by_class" / f"{one.run.name}.csv", every)
        write_csv(folder / "roc" / f"{one.run.name}.csv", macro)
        write_csv(folder / "confusion" / f"{one.run.name}.csv", confusion)


def _log(
    evaluated: Sequence[Evaluated], data: PreparedData, figures: Sequence[Path], tracker: Tracker
) -> None:
    """Log each model's numbers into the run that trained it, the data and the figures into the stage's own."""
    for one in evaluated:
        run = tracker.run_of(trained_model(one.run.summary, one.run.history, one.run.name))
        run.log_metrics(chosen(one.row, EVALUATION_METRICS))
    tracker.log_dataset(data.name, data.checksum, data.sizes, "evaluation")
    for figure in figures:
        tracker.log_figure(figure)
