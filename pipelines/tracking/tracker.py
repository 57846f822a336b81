"""The interface that stages log through, and the tracker that logs nothing."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from torch import nn

from pipelines.tracking.vocabulary import Subject


class Tracker(Protocol):
    """A run that parameters, metrics and files are logged to. No method raises where the store fails."""

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log parameters; a nested mapping becomes dotted names."""
        ...

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """Log numbers that hold for the whole run."""
        ...

    def log_history(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Log the epochs of a training that the run does not have yet.

        Each row has `epoch` (from 1), `seconds` (its duration) and numbers, which become curves over the epochs.
        The whole history is given each time: so the curves of a resumed training have no gap, and their time is
        that of the training, without the interruptions.
        """
        ...

    def log_dataset(self, name: str, checksum: str, parts: Mapping[str, int], context: str) -> None:
        """Record the data that the run used: its name, checksum and images per part; `context`: what for."""
        ...

    def log_figure(self, path: Path) -> None:
        """Store the picture at `path` with the run."""
        ...

    def log_artifact(self, path: Path) -> None:
        """Store the file or folder at `path` with the run."""
        ...

    def log_model(self, name: str, model: nn.Module, example: npt.NDArray[np.float32], epoch: int) -> None:
        """Store `model`, as it is on the CPU in evaluation mode, with its signature, and register it.

        Args:
            name: name of the stored model.
            model: the model after `epoch` epochs, whose logged numbers it takes over.
            example: a small batch of normalised images, float32 [b, c, h, w].
            epoch: finished epochs, as in `log_history`.
        """
        ...

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set tags of the run, as text."""
        ...

    def set_note(self, markdown: str) -> None:
        """Set the run's description, as the store's pages show it."""
        ...

    def run_of(self, subject: Subject, /) -> "Tracker":
        """Return a tracker for the run of a finished training; where the store has none, one is made."""
        ...

    def pipeline(self) -> "Tracker":
        """Return a tracker for the parent run of this pipeline run, or this one where there is none."""
        ...


class NullTracker:
    """Logs nothing: on ranks other than 0, in tests, and where tracking is switched off."""

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Ignore the parameters."""

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """Ignore the metrics."""

    def log_history(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Ignore the epochs."""

    def log_dataset(self, name: str, checksum: str, parts: Mapping[str, int], context: str) -> None:
        """Ignore the data."""

    def log_figure(self, path: Path) -> None:
        """Ignore the figure."""

    def log_artifact(self, path: Path) -> None:
        """Ignore the file."""

    def log_model(self, name: str, model: nn.Module, example: npt.NDArray[np.float32], epoch: int) -> None:
        """Ignore the model."""

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Ignore the tags."""

    def set_note(self, markdown: str) -> None:
        """Ignore the note."""

    def run_of(self, _: Subject) -> "NullTracker":
        """Return this tracker."""
        return self

    def pipeline(self) -> "NullTracker":
        """Return this tracker."""
        return self
