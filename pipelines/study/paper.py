"""The run of the paper preset (`dvc exp run -S scale=paper`, for a GPU), where the main pipeline has made one."""

from pathlib import Path

from pipelines.results import Row, read_json
from pipelines.study.tables import comparison_rows, shown_comparison

DATA, MODEL, EPOCHS = "cifar10", "densenet100", 300


def read_paper_run(results: Path) -> Row | None:
    """Return the preset's evaluated DenseNet-100 among the main pipeline's rows in `results`; None: not run.

    No dependency of the study's pipeline, which runs without the main one.
    """
    path = results / "recognition.json"
    rows: list[Row] = read_json(path) if path.exists() else []
    found = [row for row in rows if (row["data"], row["model"], row["epochs"]) == (DATA, MODEL, EPOCHS)]
    return found[0] if found else None


def shown_paper_run(row: Row | None) -> Row:
    """Return the run as a row of the table `COMPARISON`."""
    if row is None:
        return {"model": f"{MODEL}: not run"}
    return shown_comparison(comparison_rows([{"learning_rate": None, **row}]))[0]
