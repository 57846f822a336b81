"""The tracker that writes to an MLflow run at once; a store that fails is its caller's business."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag

from pipelines.tracking import subjects
from pipelines.tracking.connection import Connection
from pipelines.tracking.opening import MILLISECONDS
from pipelines.tracking.vocabulary import CURVE_SECONDS, Subject

# Limits of MLflow's batch requests, of a stored parameter value and of a tag (characters).
_MAX_PARAMS = 100
_MAX_METRICS = 1000
_MAX_VALUE = 6000
_MAX_TAG = 8000
# Digits of a checksum that tell data sets apart, as in the report.
_DIGEST = 12


class MlflowTracker:
    """Logs to the MLflow run `run`; `parent` is the id of its pipeline's run, if it has one.

    Every call raises what the store raises (`STORE_FAILURES`). One that failed, or whose answer was lost, may be made
    again: parameters, epochs, numbers, data, models and files that the run has are not doubled.
    """

    def __init__(self, connection: Connection, run: Run, parent: str | None) -> None:
        self._connection = connection
        self._client = connection.client
        self._parent = parent
        self.run_id = str(run.info.run_id)
        self._start = int(run.info.start_time or 0)
        self._params = set(run.data.params)
        self._model = subjects.logged_model(run)
        self._epochs: set[int] = set()
        if CURVE_SECONDS in run.data.metrics:
            history = self._client.get_metric_history(self.run_id, CURVE_SECONDS)
            self._epochs = {metric.step for metric in history}

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log parameters, nested ones under dotted names; MLflow lets none be changed, so those it has stay."""
        flat = [
            Param(key, str(value)[:_MAX_VALUE]) for key, value in _flatten(params) if key not in self._params
        ]
        for start in range(0, len(flat), _MAX_PARAMS):
            self._client.log_batch(self.run_id, params=flat[start : start + _MAX_PARAMS])
        self._params |= {param.key for param in flat}

    def log_metrics(self, metrics: Mapping[str, float], moment: int) -> None:
        """Log numbers that hold for the whole run (step 0), also as those of the run's model if it has one.

        `moment` is their time (milliseconds since 1970): the store takes the same number at the same time once.
        """
        self._send([Metric(key, float(value), moment, 0, self._model) for key, value in metrics.items()])

    def log_history(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Log the epochs that the run lacks: step is the epoch, time is the run's start and the training's seconds."""
        seconds = 0.0
        metrics, epochs = [], set()
        for row in history:
            seconds += float(row["seconds"])
            epoch = int(row["epoch"])
            if epoch in self._epochs:
                continue
            epochs.add(epoch)
            moment = self._start + round(MILLISECONDS * seconds)
            numbers = {key: float(row[key]) for key in row if key not in ("epoch", "seconds")}
            metrics += [
                Metric(key, value, moment, epoch)
                for key, value in {**numbers, CURVE_SECONDS: seconds}.items()
            ]
        # An epoch's seconds are its last entry: where they have arrived, so has all of the epoch.
        self._send(metrics)
        self._epochs |= epochs

    def _send(self, metrics: Sequence[Metric]) -> None:
        for start in range(0, len(metrics), _MAX_METRICS):
            self._client.log_batch(self.run_id, metrics=metrics[start : start + _MAX_METRICS])

    def log_dataset(self, name: str, checksum: str, parts: Mapping[str, int], context: str) -> None:
        """Log the data as an input of the run; the digest is the start of the checksum."""
        dataset = Dataset(
            name=name,
            digest=checksum[:_DIGEST],
            source_type="local",
            source=json.dumps({"uri": "data/prepared"}),
            profile=json.dumps(dict(parts)),
        )
        entry = DatasetInput(dataset, [InputTag("mlflow.data.context", context)])
        self._client.log_inputs(self.run_id, [entry])

    def log_figure(self, path: Path) -> None:
        """Store the picture under `figures`."""
        self._client.log_artifact(self.run_id, str(path), "figures")

    def log_artifact(self, path: Path) -> None:
        """Store a file, or a folder under its name."""
        if path.is_dir():
            self._client.log_artifacts(self.run_id, str(path), path.name)
        else:
            self._client.log_artifact(self.run_id, str(path))

    def log_model(self, name: str, folder: Path, epoch: int) -> None:
        """Store and register the model that `save_pytorch_model` wrote to `folder`."""
        # Imported late: only a training needs it, and it takes a second.
        from pipelines.tracking.models import log_saved_model

        self._model = log_saved_model(self._connection, self.run_id, name, folder, epoch)

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set tags, as text."""
        entries = [RunTag(key, str(value)[:_MAX_TAG]) for key, value in tags.items()]
        self._client.log_batch(self.run_id, tags=entries)

    def run_of(self, subject: Subject, moment: int) -> "MlflowTracker":
        """Return a tracker for the subject's run; `moment` is the time of its numbers if one has to be made."""
        found = subjects.find_run(self._connection, subject)
        if found is not None:
            return MlflowTracker(self._connection, found, self._parent)
        made = subjects.make_run(self._connection, subject, self._parent)
        tracker = MlflowTracker(self._connection, made, self._parent)
        tracker.log_params(subject.params)
        tracker.log_metrics(subject.metrics, moment)
        tracker.log_dataset(str(subject.row["data"]), str(subject.row["data_checksum"]), {}, "training")
        tracker.log_history(subject.history)  # last: by its seconds `find_run` knows that the run is whole
        return tracker

    def pipeline(self) -> "MlflowTracker":
        """Return a tracker for the parent run, or this one where there is none."""
        if self._parent is None:
            return self
        return MlflowTracker(self._connection, self._client.get_run(self._parent), None)

    def end(self, status: str, moment: int) -> None:
        """Set the final status of the run and of its parent: FINISHED, FAILED or KILLED, at `moment`."""
        for run_id in (self.run_id, self._parent):
            if run_id is not None:
                self._client.set_terminated(run_id, status, moment)


def _flatten(params: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of a nested mapping with dotted names."""
    for key, value in params.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
