"""Saved views of the experiment: which runs MLflow's page lists, with which columns and charts.

MLflow keeps a saved view as a tag of the experiment; its pages list them under "Saved views" and open one by its key.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.tracking.vocabulary import CURVE_SECONDS, Role

_PREFIX = "mlflow.sharedViewState."
# MLflow 3.17 opens every experiment on its pages about language models unless the link says otherwise.
_WORKFLOW = "machine_learning"
# Only the key says that a view is ours and which edition: a view that a user has changed is never overwritten.
_EDITION = 1
# Saved views show when they were made; these are as old as the project's first year.
_CREATED = 1_700_000_000_000


@dataclass(frozen=True)
class Chart:
    """A line chart of a metric over the epochs or over another metric, or a bar chart of a metric by run."""

    metric: str
    over: str | None = None
    """For lines: `step`, or the metric on the other axis; None: bars."""


@dataclass(frozen=True)
class View:
    """A table of runs with charts."""

    key: str
    name: str
    purpose: str
    role: Role
    columns: Sequence[str]
    """Columns after the run's name, as MLflow writes them: params.`x`, metrics.`x`, attributes.`x`."""
    order_by: str
    ascending: bool
    charts: Sequence[Chart]


def _params(*names: str) -> list[str]:
    return [f"params.`{name}`" for name in names]


def _metrics(*names: str) -> list[str]:
    return [f"metrics.`{name}`" for name in names]


_DATASET = "attributes.`Dataset`"
_VERSION = "attributes.`Version`"
_RUN_NAME = "attributes.`Run Name`"
# Columns that MLflow always shows: age and duration.
_LAST = ("runDateAndNestInfo", "duration")
# Pixels: a name in full, as numbers are cut where the column ends.
_MIN_WIDTH, _LETTER_WIDTH, _PADDING = 115, 7, 30

VIEWS = (
    View(
        "methods",
        "Methods",
        "parallel methods by accuracy, step time, bytes and acceleration",
        Role.METHOD,
        [
            *_params("model", "method", "wire_bits", "workers", "link"),
            *_metrics("test_accuracy", "step_seconds", "acceleration", "wire_bytes_per_step"),
            *_metrics("predicted/acceleration_1000mbit", "predicted/acceleration_100mbit"),
            _DATASET,
            _VERSION,
        ],
        "metrics.`acceleration`",
        False,
        [
            Chart("train_loss", "step"),
            Chart("train_loss", CURVE_SECONDS),
            Chart("test_accuracy"),
            Chart("step_seconds"),
            Chart("acceleration"),
            Chart("wire_bytes_per_step"),
        ],
    ),
    View(
        "models",
        "Models",
        "models trained by one recipe, by test accuracy, AUC, size and time",
        Role.MODEL,
        [
            *_params("model", "epochs", "learning_rate", "seed"),
            *_metrics("test_accuracy", "auc_macro", "test_loss", "calibration_error"),
            *_metrics("num_parameters", CURVE_SECONDS, "inference_latency_seconds"),
            _DATASET,
            "attributes.`Models`",
            _VERSION,
        ],
        "metrics.`test_accuracy`",
        False,
        [
            Chart("validation_accuracy", "step"),
            Chart("validation_accuracy", CURVE_SECONDS),
            Chart("train_loss", "step"),
            Chart("test_accuracy"),
            Chart("auc_macro"),
            Chart("num_parameters"),
        ],
    ),
)


def view_id(view: View) -> str:
    """Return the view's key in links and in its tag."""
    return f"gqbench-{view.key}-{_EDITION}"


def view_tag(view: View) -> str:
    """Return the experiment's tag that holds the view."""
    return _PREFIX + view_id(view)


def view_link(experiment_id: str, view: View) -> str:
    """Return the link to the view within MLflow's pages."""
    return f"#/experiments/{experiment_id}/runs?viewStateShareKey={view_id(view)}&workflowType={_WORKFLOW}"


def view_value(view: View) -> str:
    """Return the tag's text: name and times, and the state of the page as JSON within the JSON."""
    section = f"{view_id(view)}-charts"
    state = {
        "searchFilter": f"tags.role = '{view.role}'",
        "orderByKey": view.order_by,
        "orderByAsc": view.ascending,
        "selectedColumns": list(view.columns),
        "columnOrder": [_RUN_NAME, *view.columns, *_LAST],
        "columnWidths": {_RUN_NAME: 210} | {column: _width(column) for column in view.columns},
        "compareRunCharts": [_card(chart, section, number) for number, chart in enumerate(view.charts)],
        "compareRunSections": [
            {"uuid": section, "name": view.name, "display": True, "isReordered": True, "deleted": False}
        ],
        "isAccordionReordered": True,
        "runsHiddenMode": "FIRST_20_RUNS",
    }
    return json.dumps(
        {"name": view.name, "createdAt": _CREATED, "updatedAt": _CREATED, "state": json.dumps(state)}
    )


def _width(column: str) -> int:
    name = column.partition(".")[2].strip("`")
    return max(_MIN_WIDTH, _LETTER_WIDTH * len(name) + _PADDING)


def _card(chart: Chart, section: str, number: int) -> dict[str, Any]:
    """Return MLflow's description of a chart."""
    card: dict[str, Any] = {
        "uuid": f"{section}-{number}",
        "metricSectionId": section,
        "deleted": False,
        "isGenerated": False,
        "metricKey": chart.metric,
        "runsCountToCompare": 20,
    }
    if chart.over is None:
        return card | {"type": "BAR"}
    by_step = chart.over == "step"
    return card | {
        "type": "LINE",
        "selectedMetricKeys": [chart.metric],
        "xAxisKey": "step" if by_step else "metric",
        "selectedXAxisMetricKey": "" if by_step else chart.over,
        "useGlobalXaxisKey": False,
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "lineSmoothness": 0,
        "useGlobalLineSmoothing": True,
        "scaleType": "linear",
        "xAxisScaleType": "linear",
        "ignoreOutliers": False,
        "displayPoints": True,
        "range": {},
    }
