"""The speed-up stage: collect the distributed rows, derive the speed-up rows, draw them."""

from collections.abc import Sequence
from pathlib import Path

from pipelines.results import Row, nested, read_csv, read_json, write_json
from pipelines.speedup.config import SpeedupConfig
from pipelines.speedup.figures import draw_acceleration_by_link, draw_step_parts, draw_training_curves
from pipelines.speedup.link import LinkModel
from pipelines.speedup.model import speedup_rows
from pipelines.speedup.outlook import write_outlook
from pipelines.tracking import Tracker

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

    Writes in `results`: distributed.json and speedup.json (lists of flat rows), distributed.metrics.json and
    speedup.metrics.json (nested, for `dvc metrics`), the figures step_parts, acceleration_by_link and
    distributed_curves (png), and what `write_outlook` writes.
    """
    runs = [
        read_json(results / "distributed" / f"{model}-{method}.json")
        for model in models
        for method in methods
    ]
    rows = speedup_rows(runs, config, LinkModel())
    write_json(results / "distributed.json", runs)
    write_json(results / "speedup.json", rows)
    measured = [row for row in rows if row["source"] == "measured"]
    write_json(results / "distributed.metrics.json", nested(runs, ("model", "method"), DISTRIBUTED_VALUES))
    write_json(results / "speedup.metrics.json", nested(measured, ("model", "method"), SPEEDUP_VALUES))
    names = ("step_parts", "acceleration_by_link", "distributed_curves")
    figures = [results / "figures" / f"{name}.png" for name in names]
    draw_step_parts(rows, figures[0])
    draw_acceleration_by_link(rows, figures[1])
    draw_training_curves(_histories(models, methods, results), figures[2])
    figures += write_outlook(runs, measured, config.links_mbit_per_second, results)
    for figure in figures:
        tracker.log_figure(figure)
    tracker.log_metrics(
        {
            f"{row['model']}.{row['method']}.{value}": row[value]
            for row in measured
            for value in SPEEDUP_VALUES
        },
        step=None,
    )
    return rows


def _histories(
    models: Sequence[str], methods: Sequence[str], results: Path
) -> dict[tuple[str, str], list[Row]]:
    """Read the history of every run, keyed by model and method."""
    return {
        (model, method): read_csv(results / "distributed" / f"{model}-{method}.csv")
        for model in models
        for method in methods
    }
