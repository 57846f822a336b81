"""The tracker of a stage: each call goes to the store, or from the store's first failure on into a journal."""

import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from torch import nn

from pipelines.tracking.journal import Call, Journal
from pipelines.tracking.opening import milliseconds
from pipelines.tracking.store import without_password
from pipelines.tracking.vocabulary import Subject

if TYPE_CHECKING:
    from pipelines.tracking.mlflow_tracker import MlflowTracker

PIPELINE = "pipeline"
SEND = "python -m stages.track send"
# A store that needs longer for a few numbers holds the training up at every epoch.
PATIENCE_SECONDS = 10.0


class Delivery:
    """The way that all calls of one stage take; once the store has failed, nothing more is sent to it."""

    def __init__(self, uri: str, journal: Journal, *, log_models: bool) -> None:
        self.uri = uri
        self.journal = journal
        self.log_models = log_models
        self.lost = False
        self._full = False

    def lose(self, problem: str) -> None:
        """Take note, and tell once, that the store cannot be used."""
        self.lost = True
        self._warn(
            f"the MLflow store {without_password(self.uri)} no longer answers ({problem}); the stage goes on, what "
            f"is to be logged is kept in {self.journal.folder.parent.name}/ and sent by `{SEND}` or by the next stage"
        )

    def attempt(self, action: Callable[[], Any]) -> Any:
        """Return what `action` returns, or None where the store fails or is lost."""
        if self.lost:
            return None
        # Imported late: it brings MLflow, which a stage whose store is away need not wait for.
        from pipelines.tracking.connection import STORE_FAILURES, reason

        try:
            return action()
        except STORE_FAILURES as error:
            self.lose(reason(error))
            return None

    def keep(self, call: Call) -> None:
        """Write `call` to the journal; where the disk takes no more this is told once."""
        try:
            self.journal.append(call)
        except OSError as error:
            if not self._full:
                self._full = True
                self._warn(
                    f"{self.journal.folder} cannot be written ({error.strerror or error}); what this stage logs from "
                    "now on is lost for MLflow, its results are written as usual"
                )

    def _warn(self, text: str) -> None:
        print(f"warning: {text}", file=sys.stderr, flush=True)


class KeepingTracker:
    """Logs to the run of `target`: None for the stage's own, PIPELINE for its parent, or a subject's values.

    `sender` is that run in the store, None where it cannot be reached.
    """

    def __init__(self, delivery: Delivery, sender: "MlflowTracker | None", target: Any = None) -> None:
        self._delivery = delivery
        self._sender = sender
        self._target = target

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log parameters; a nested mapping becomes dotted names."""
        self._log("log_params", params=_plain(params))

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """Log numbers that hold for the whole run."""
        numbers = {key: float(value) for key, value in metrics.items()}
        self._log("log_metrics", metrics=numbers, moment=milliseconds())

    def log_history(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Log the epochs of a training that the run does not have yet."""
        self._log("log_history", history=_plain(history))

    def log_dataset(self, name: str, checksum: str, parts: Mapping[str, int], context: str) -> None:
        """Record the data that the run used."""
        self._log("log_dataset", name=name, checksum=checksum, parts=dict(parts), context=context)

    def log_figure(self, path: Path) -> None:
        """Store the picture at `path` with the run."""
        self._log("log_figure", path=path)

    def log_artifact(self, path: Path) -> None:
        """Store the file or folder at `path` with the run."""
        self._log("log_artifact", path=path)

    def log_model(self, name: str, model: nn.Module, example: npt.NDArray[np.float32], epoch: int) -> None:
        """Store and register the model, if `tracking.log_models` says so."""
        if not self._delivery.log_models:
            return
        from pipelines.tracking.models import save_pytorch_model

        with tempfile.TemporaryDirectory() as folder:
            saved = Path(folder) / "model"
            save_pytorch_model(saved, model, example)
            self._log("log_model", name=name, folder=saved, epoch=epoch)

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set tags of the run, as text."""
        self._log("set_tags", tags={key: str(value) for key, value in tags.items()})

    def set_note(self, markdown: str) -> None:
        """Set the run's description, as the store's pages show it."""
        self.set_tags({"mlflow.note.content": markdown})

    def run_of(self, subject: Subject) -> "KeepingTracker":
        """Return a tracker for the run of a finished training; where the store has none, one is made."""
        sender, moment = self._sender, milliseconds()
        found = sender and self._delivery.attempt(lambda: sender.run_of(subject, moment))
        return KeepingTracker(self._delivery, found, {"subject": _plain(asdict(subject)), "moment": moment})

    def pipeline(self) -> "KeepingTracker":
        """Return a tracker for the parent run of this pipeline run, or for this one where there is none."""
        sender = self._sender
        found = sender and self._delivery.attempt(sender.pipeline)
        return KeepingTracker(self._delivery, found, PIPELINE)

    def end(self, status: str) -> None:
        """Set the final status of the run and of its parent: FINISHED, FAILED or KILLED."""
        self._log("end", status=status, moment=milliseconds())

    def _log(self, call: str, /, **arguments: Any) -> None:
        """Make the call on the store's run, or keep it."""
        delivery, moment = self._delivery, milliseconds()
        if self._sender is not None and not delivery.lost:
            begin = time.monotonic()
            delivery.attempt(lambda: getattr(self._sender, call)(**arguments))
            seconds = time.monotonic() - begin
            slow = seconds > PATIENCE_SECONDS and call not in ("log_model", "log_artifact")
            if not delivery.lost:
                if slow:
                    delivery.lose(f"{call} took {seconds:.0f} seconds")
                return
        delivery.keep(Call(self._target, call, arguments, moment))


def _plain(value: Any) -> Any:
    """Return nested mappings and sequences as dicts and lists, other values as JSON knows them or as text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
