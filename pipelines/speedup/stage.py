"""The speed-up stage: collect the distributed rows, derive the speed-up rows, draw them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipelines.results import Row, read_csv, read_json, write_json, write_metrics
from pipelines.speedup.calibration import load_calibration
from pipelines.speedup.config import SpeedupConfig
from pipelines.speedup.figures import draw_acceleration_by_link, draw_step_parts, draw_training_curves
from pipelines.speedup.link import LinkModel
from pipelines.speedup.model import is_local, speedup_rows
from pipelines.speedup.outlook import write_outlook
from pipelines.speedup.run_traces import traces_of
from pipelines.tracking import Tracker
from pipelines.tracking.vocabulary import SPEEDUP_METRICS, chosen, distributed_run, link_metrics

DISTRIBUTED_VALUES = ("test_accuracy", "test_loss", "train_loss", "wire_bytes_per_step")
SPEEDUP_VALUES = ("acceleration_ratio", "acceleration_over_reference", "step_seconds")


def analyse(
    models: Sequence[str],
    methods: Sequence[str],
    config: SpeedupConfig,
    *,
    results: Path,
    tracker: Tracker,
) -> list[Row]:
    """Collect `results`/distributed/MODEL-METHOD.json, write the tables and figures, return the speed-up rows.

    Cells that `results`/slow_link.json has measured are not predicted. Predictions start from the traces that the
    runs have recorded (`results`/traces).

    Writes in `results`: distributed.json and speedup.json (lists of flat rows), metrics/distributed/ (a file
    a run, for `dvc metrics`), the figures step_parts, acceleration_by_link and
    distributed_curves (png), and what `write_outlook` writes.
    """
    runs = [
        read_json(results / "distributed" / f"{model}-{method}.json")
        for model in models
        for method in methods
    ]
    on_links = read_json(results / "slow_link.json")["rows"]
    traces = traces_of(runs, results)
    rows = speedup_rows(runs, config, LinkModel(traces), on_links, load_calibration().error_of)
    write_json(results / "distributed.json", runs)
    write_json(results / "speedup.json", rows)
    measured = [row for row in rows if is_local(row)]
    ratios = {(row["model"], row["method"]): {key: row[key] for key in SPEEDUP_VALUES} for row in measured}
    joined = [run | ratios[run["model"], run["method"]] for run in runs]
    write_metrics(
        results / "metrics/distributed", joined, ("model", "method"), (*SPEEDUP_VALUES, *DISTRIBUTED_VALUES)
    )
    names = ("step_parts", "acceleration_by_link", "distributed_curves")
    figures = [results / "figures" / f"{name}.png" for name in names]
    draw_step_parts(rows, figures[0])
    draw_acceleration_by_link(rows, figures[1])
    histories = _histories(models, methods, results)
    draw_training_curves(histories, figures[2])
    figures += write_outlook(runs, traces, measured, config, results)
    for figure in figures:
        tracker.log_figure(figure)
    _log(runs, rows, histories, tracker)
    return rows


def _log(
    runs: Sequence[Row], rows: Sequence[Row], histories: Mapping[tuple[str, str], list[Row]], tracker: Tracker
) -> None:
    """Log what was measured and predicted of each model and method into the run that trained it."""
    for run in runs:
        cell = (run["model"], run["method"])
        metrics: dict[str, float] = {}
        for row in rows:
            if (row["model"], row["method"]) == cell:
                metrics |= chosen(row, SPEEDUP_METRICS) if is_local(row) else link_metrics(row)
        tracker.run_of(distributed_run(run, histories[cell])).log_metrics(metrics)


def _histories(
    models: Sequence[str], methods: Sequence[str], results: Path
) -> dict[tuple[str, str], list[Row]]:
    """Read the history of every run, keyed by model and method."""
    return {
        (model, method): read_csv(results / "distributed/curves" / f"{model}-{method}.csv")
        for model in models
        for method in methods
    }
