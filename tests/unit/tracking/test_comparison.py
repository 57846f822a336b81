"""What later stages know of a training is in the training's run, under the names of one vocabulary."""

import re
from pathlib import Path
from typing import Any

import pytest

from pipelines.results import Row
from pipelines.tracking import NullTracker, Role, open_run
from pipelines.tracking import vocabulary as names
from pipelines.tracking.experiment import KIND, KIND_TAG, NOTE_TAG
from pipelines.tracking.views import VIEWS, view_link, view_tag
from tests.imports import ROOT
from tests.unit.tracking.stores import config, mlflow, own_store, runs

LINE = re.compile(r"```python\n(?P<code>.*?)```", re.DOTALL)


def distributed_row(method: str, step: float, accuracy: float, train_seconds: float) -> Row:
    """A row as the distributed stage writes it, as far as tracking reads it."""
    entry = {"strategy": "gq", "wire_bits": 4} if method.startswith("gq") else {"strategy": "sdp"}
    row: Row = {
        "model": "densenet50",
        "method": method,
        **entry,
        "workers": 2,
        "hosts": 1,
        "batch_size_per_worker": 32,
        "epochs": 2,
        "step_seconds_median": step,
        "wire_bytes_per_step": 1000.0,
        "test_accuracy": accuracy,
        "train_seconds": train_seconds,
        "seed": 1,
        "data": "digits",
        "data_checksum": "c" * 64,
        "commit": "0123456789ab",
    }
    return row


def history(seconds: float) -> list[Row]:
    """Two epochs, as text like a CSV file's."""
    return [
        {"epoch": str(epoch), "train_loss": str(1 / epoch), "seconds": str(seconds / 2)} for epoch in (1, 2)
    ]


def train(experiment: str, row: Row) -> None:
    """Log what the distributed stage logs."""
    subject = names.distributed_run(row)
    with open_run(config(experiment), "distributed", subject.item, subject.tags, role=Role.METHOD) as tracker:
        tracker.log_history(history(row["train_seconds"]))
        tracker.log_params(subject.params)
        tracker.log_metrics(subject.metrics)
    # The stage's own commit is that of this checkout, the row's that of the row.
    client = mlflow.MlflowClient(own_store())
    client.set_tag(runs(experiment)[-1].info.run_id, "commit", row["commit"])


def test_later_numbers_go_to_the_very_run_of_the_training() -> None:
    first = distributed_row("sdp", 0.2, 0.9, 12.25)
    again = distributed_row("sdp", 0.2, 0.9, 12.5)  # the same training once more
    for row in (first, again):
        train("very-run", row)
    with open_run(config("very-run"), "speedup", None, {}) as tracker:
        tracker.run_of(names.distributed_run(first)).log_metrics({"acceleration": 1.5})
    trainings = [run for run in runs("very-run") if run.data.tags["role"] == Role.METHOD]
    assert [run.data.metrics.get("acceleration") for run in trainings] == [1.5, None]
    assert trainings[0].data.params["wire_bits"] == "32"
    assert trainings[0].data.params["batch_size"] == "64"


@pytest.mark.parametrize(
    "changes", [{"train_seconds": 3.0}, {"data_checksum": "d" * 64}, {"seed": 2}, {"commit": "fedcba987654"}]
)
def test_a_training_from_elsewhere_gets_a_run_of_its_own_once(
    changes: dict[str, Any], monkeypatch: Any
) -> None:
    name = f"elsewhere-{next(iter(changes))}"
    train(name, distributed_row("gq4", 0.1, 0.9, 12.25))
    row = distributed_row("gq4", 0.1, 0.9, 12.25) | changes
    monkeypatch.setenv("GQBENCH_PIPELINE_RUN", "one")
    for acceleration in (1.5, 1.75):
        with open_run(config(name), "speedup", None, {}) as tracker:
            subject = names.distributed_run(row, history(row["train_seconds"]))
            tracker.run_of(subject).log_metrics({"acceleration": acceleration})
    own, made = [run for run in runs(name) if run.data.tags["role"] == Role.METHOD]
    assert "acceleration" not in own.data.metrics
    assert made.info.status == "FINISHED"
    assert made.data.metrics["acceleration"] == 1.75
    assert made.data.metrics["step_seconds"] == 0.1
    assert made.data.params.items() >= {"model": "densenet50", "method": "gq4", "wire_bits": "4"}.items()
    assert made.inputs.dataset_inputs[0].dataset.name == "digits"
    parent = next(run for run in runs(name) if run.data.tags["role"] == Role.PIPELINE)
    assert made.data.tags["mlflow.parentRunId"] == parent.info.run_id
    losses = mlflow.MlflowClient(own_store()).get_metric_history(made.info.run_id, "train_loss")
    assert [(metric.step, metric.value) for metric in losses] == [(1, 1.0), (2, 0.5)]


def test_the_note_and_the_report_are_the_parents(tmp_path: Path, monkeypatch: Any) -> None:
    page = tmp_path / "report.html"
    page.write_text("page")
    for name, pipeline in (("noted", "one"), ("alone", "")):
        monkeypatch.setenv("GQBENCH_PIPELINE_RUN", pipeline)
        with open_run(config(name), "report", None, {}) as tracker:
            whole = tracker.pipeline()
            whole.set_note("### found")
            whole.log_artifact(page)
    noted = {run.data.tags["role"]: run for run in runs("noted")}
    assert noted[Role.PIPELINE].data.tags[NOTE_TAG] == "### found"
    assert NOTE_TAG not in noted[Role.STAGE].data.tags
    client = mlflow.MlflowClient(own_store())
    files = [item.path for item in client.list_artifacts(noted[Role.PIPELINE].info.run_id)]
    assert files == ["report.html"]
    (alone,) = runs("alone")
    assert alone.data.tags[NOTE_TAG] == "### found"


def test_the_line_of_the_documentation_answers(monkeypatch: Any) -> None:
    experiment = "gqbench"
    rows = {"sdp": (0.9, 1.2), "gq4": (0.85, 1.9), "gq8": (0.82, 1.5), "topk": (0.2, 2.5)}
    for method, (accuracy, acceleration) in rows.items():
        row = distributed_row(method, 1 / acceleration, accuracy, acceleration)
        train(experiment, row)
        with open_run(config(experiment), "speedup", None, {}) as tracker:
            tracker.run_of(names.distributed_run(row)).log_metrics({"acceleration": acceleration})
    monkeypatch.setenv("MLFLOW_TRACKING_URI", own_store())
    for page in ("docs/howto.md", "docs/mlflow.md"):
        blocks = LINE.findall((ROOT / page).read_text(encoding="utf-8"))
        (code,) = [block for block in blocks if "search_runs" in block]
        scope: dict[str, Any] = {}
        exec(code, scope)
        answer = scope["fastest"]
        # topk is the fastest, at an accuracy that the line rules out.
        assert list(answer["params.method"]) == ["gq4", "gq8", "sdp"], page
        assert list(answer["metrics.test_accuracy"]) == [0.85, 0.82, 0.9]


def test_the_experiment_opens_on_training_and_keeps_what_a_user_changed() -> None:
    for _ in range(2):
        with open_run(config("kind"), "train", None, {}):
            pass
        client = mlflow.MlflowClient(own_store())
        experiment = client.get_experiment_by_name("kind")
        assert experiment.tags[KIND_TAG] == KIND
        assert all(
            view_link(experiment.experiment_id, view) in experiment.tags.get(NOTE_TAG, "mine")
            or experiment.tags[NOTE_TAG] == "mine"
            for view in VIEWS
        )
        client.set_experiment_tag(experiment.experiment_id, NOTE_TAG, "mine")
    assert client.get_experiment_by_name("kind").tags[NOTE_TAG] == "mine"
    assert set(map(view_tag, VIEWS)) <= set(experiment.tags)


def test_views_show_only_what_runs_have() -> None:
    """A column or chart whose name no run has would be empty for ever."""
    curves = {"train_loss", "train_accuracy", "validation_loss", "validation_accuracy", names.CURVE_SECONDS}
    links = {"predicted/acceleration_1000mbit", "predicted/acceleration_100mbit"}
    metrics = {
        Role.MODEL: {*names.TRAINING_METRICS.values(), *names.EVALUATION_METRICS.values(), *curves},
        Role.METHOD: {*names.DISTRIBUTED_METRICS.values(), *names.SPEEDUP_METRICS.values(), *curves, *links},
    }
    summary = distributed_row("gq4", 0.1, 0.9, 1.0) | {"batch_size": 64, "learning_rate": 0.1}
    params = {
        Role.MODEL: set(names.training_params(summary)),
        Role.METHOD: set(names.distributed_run(summary).params),
    }
    for view in VIEWS:
        for column in [*view.columns, view.order_by]:
            kind, name = re.fullmatch(r"(\w+)\.`(.*)`", column).groups()  # type: ignore[union-attr]
            known = {"metrics": metrics[view.role], "params": params[view.role]}
            assert kind == "attributes" or name in known[kind], column
        for chart in view.charts:
            assert chart.metric in metrics[view.role]
            assert chart.over in (None, "step", *metrics[view.role])


def test_predicted_numbers_are_named_by_their_link() -> None:
    row = {"source": "predicted", "link": "100mbit", "samples_per_second": 3.0}
    row |= {"predicted_acceleration_ratio": 1.25, "predicted_step_seconds": 0.5}
    predicted = {"predicted/acceleration_100mbit": 1.25, "predicted/step_seconds_100mbit": 0.5}
    assert names.link_metrics({**row, "acceleration_ratio": 1.25, "step_seconds": 0.5}) == predicted
    measured = {**row, "source": "measured", "acceleration_ratio": 1.5, "step_seconds": 0.4}
    assert names.link_metrics(measured) == {
        **predicted,
        "measured/acceleration_100mbit": 1.5,
        "measured/step_seconds_100mbit": 0.4,
    }


def test_without_tracking_nothing_is_found_or_made() -> None:
    tracker = NullTracker()
    assert tracker.run_of(names.distributed_run(distributed_row("sdp", 1.0, 0.5, 1.0))) is tracker
    assert tracker.pipeline() is tracker
