"""The run of the paper preset (`dvc exp run -S scale=paper`, for a GPU), where the main pipeline has made one."""

from pathlib import Path

from pipelines.experiments.study.answers.tables import comparison_rows, shown_comparison
from pipelines.results import Row, read_json

MODEL = "densenet100"
# The published network (Huang et al. 2017, table 2: 0.8 million parameters) and CIFAR-10's whole test part; a smaller
# DenseNet-100 or a part of the images is another run, however long.
PRESET = {"data": "cifar10", "model": MODEL, "epochs": 300, "num_test": 10_000, "num_parameters": 769_162}


def read_paper_run(results: Path) -> Row | None:
    """Return the preset's evaluated DenseNet-100 among the main pipeline's rows in `results`; None: not run.

    No dependency of the study's pipeline, which runs without the main one.
    """
    path = results / "recognition.json"
    rows: list[Row] = read_json(path) if path.exists() else []
    found = [row for row in rows if PRESET.items() <= row.items()]
    return found[0] if found else None


def shown_paper_run(row: Row | None) -> Row:
    """Return the run as a row of the table `COMPARISON`."""
    if row is None:
        return {"model": f"{MODEL}: not run"}
    summary = comparison_rows([{"learning_rate": None, **row}], [])[0]
    return shown_comparison([summary | {"train_seconds": row["train_seconds"]}])[0]
