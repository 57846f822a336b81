"""The tracker that writes to an MLflow run and never stops the work when the store fails."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from torch import nn

from pipelines.tracking import subjects
from pipelines.tracking.connection import Connection
from pipelines.tracking.vocabulary import CURVE_SECONDS, Subject

# Limits of MLflow's batch requests, of a stored parameter value and of a tag (characters).
_MAX_PARAMS = 100
_MAX_METRICS = 1000
_MAX_VALUE = 6000
_MAX_TAG = 8000
# Digits of a checksum that tell data sets apart, as in the report.
_DIGEST = 12
_MILLISECONDS = 1000


class MlflowTracker:
    """Logs to the MLflow run `run`; `parent` is the id of its pipeline's run, if it has one.

    A run that an earlier process began is gone on with: parameters and epochs that it has are not sent again.
    """

    def __init__(self, connection: Connection, run: Run, parent: str | None, log_models: bool) -> None:
        self._connection = connection
        self._client = connection.client
        self._parent = parent
        self._log_models = log_models
        self.run_id = str(run.info.run_id)
        self._start = int(run.info.start_time or 0)
        self._params = set(run.data.params)
        self._model = subjects.logged_model(run)
        self._epochs = self._logged_epochs() if CURVE_SECONDS in run.data.metrics else set()

    def _logged_epochs(self) -> set[int]:
        history = self._connection.attempt(
            lambda: self._client.get_metric_history(self.run_id, CURVE_SECONDS)
        )
        return {metric.step for metric in history or []}

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log parameters, nested ones under dotted names; MLflow lets none be changed, so those it has stay."""
        flat = [
            Param(key, str(value)[:_MAX_VALUE]) for key, value in _flatten(params) if key not in self._params
        ]
        self._params |= {param.key for param in flat}
        for start in range(0, len(flat), _MAX_PARAMS):
            batch = flat[start : start + _MAX_PARAMS]
            self._connection.attempt(partial(self._client.log_batch, self.run_id, params=batch))

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """Log numbers that hold for the whole run (step 0), also as those of the run's model if it has one."""
        now = int(time.time() * _MILLISECONDS)
        self._send([Metric(key, float(value), now, 0, self._model) for key, value in metrics.items()])

    def log_history(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Log the epochs that the run lacks: step is the epoch, time is the run's start and the training's seconds."""
        seconds = 0.0
        metrics = []
        for row in history:
            seconds += float(row["seconds"])
            epoch = int(row["epoch"])
            if epoch in self._epochs:
                continue
            self._epochs.add(epoch)
            moment = self._start + round(_MILLISECONDS * seconds)
            numbers = {key: float(row[key]) for key in row if key not in ("epoch", "seconds")}
            metrics += [
                Metric(key, value, moment, epoch)
                for key, value in {**numbers, CURVE_SECONDS: seconds}.items()
            ]
        self._send(metrics)

    def _send(self, metrics: Sequence[Metric]) -> None:
        for start in range(0, len(metrics), _MAX_METRICS):
            batch = metrics[start : start + _MAX_METRICS]
            self._connection.attempt(partial(self._client.log_batch, self.run_id, metrics=batch))

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
        self._connection.attempt(lambda: self._client.log_inputs(self.run_id, [entry]))

    def log_figure(self, path: Path) -> None:
        """Store the picture under `figures`."""
        self._connection.attempt(lambda: self._client.log_artifact(self.run_id, str(path), "figures"))

    def log_artifact(self, path: Path) -> None:
        """Store a file, or a folder under its name."""
        if path.is_dir():
            store = partial(self._client.log_artifacts, self.run_id, str(path), path.name)
        else:
            store = partial(self._client.log_artifact, self.run_id, str(path))
        self._connection.attempt(store)

    def log_model(self, name: str, model: nn.Module, example: npt.NDArray[np.float32], epoch: int) -> None:
        """Store and register the model, if `tracking.log_models` says so."""
        if not self._log_models:
            return
        # Imported late: only a training needs it, and it takes a second.
        from pipelines.tracking.models import log_pytorch_model

        self._model = self._connection.attempt(
            lambda: log_pytorch_model(self._connection.uri, self.run_id, name, model, example, epoch)
        )

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set tags, as text."""
        entries = [RunTag(key, str(value)[:_MAX_TAG]) for key, value in tags.items()]
        self._connection.attempt(lambda: self._client.log_batch(self.run_id, tags=entries))

    def set_note(self, markdown: str) -> None:
        """Set the description of the run."""
        self.set_tags({"mlflow.note.content": markdown})

    def run_of(self, subject: Subject) -> "MlflowTracker":
        """Return a tracker for the subject's run; this one, which then logs nothing, where the store fails."""
        found = self._connection.attempt(lambda: subjects.find_run(self._connection, subject))
        if found is not None:
            return MlflowTracker(self._connection, found, self._parent, self._log_models)
        made = self._connection.attempt(lambda: subjects.make_run(self._connection, subject, self._parent))
        if made is None:
            return self
        tracker = MlflowTracker(self._connection, made, self._parent, self._log_models)
        tracker.log_params(subject.params)
        tracker.log_history(subject.history)
        tracker.log_metrics(subject.metrics)
        tracker.log_dataset(str(subject.row["data"]), str(subject.row["data_checksum"]), {}, "training")
        return tracker

    def pipeline(self) -> "MlflowTracker":
        """Return a tracker for the parent run, or this one where there is none or the store fails."""
        parent = self._parent
        if parent is None:
            return self
        run = self._connection.attempt(lambda: self._client.get_run(parent))
        return self if run is None else MlflowTracker(self._connection, run, None, self._log_models)

    def end(self, status: str) -> None:
        """Set the final status of the run and of its parent: FINISHED, FAILED or KILLED."""
        for run_id in (self.run_id, self._parent):
            if run_id is not None:
                self._connection.attempt(partial(self._client.set_terminated, run_id, status))


def _flatten(params: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of a nested mapping with dotted names."""
    for key, value in params.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
