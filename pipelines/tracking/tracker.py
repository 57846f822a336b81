"""The interface that stages log through, and the tracker that logs nothing."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from torch import nn


class Tracker(Protocol):
    """A run that parameters, metrics and files are logged to. No method raises where the store fails."""

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log parameters; a nested mapping becomes dotted names."""
        ...

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log numbers, at `step` (an epoch) or for the whole run."""
        ...

    def log_figure(self, path: Path) -> None:
        """Store the picture at `path` with the run."""
        ...

    def log_artifact(self, path: Path) -> None:
        """Store the file or folder at `path` with the run."""
        ...

    def log_model(self, model: nn.Module, example: npt.NDArray[np.float32]) -> None:
        """Store `model`, as it is on the CPU in evaluation mode, with its signature and the input `example`.

        `example` is a small batch of normalised images, float32 [b, c, h, w].
        """
        ...

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set tags of the run, as text."""
        ...


class NullTracker:
    """Logs nothing: on ranks other than 0, in tests, and where tracking is switched off."""

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Ignore the parameters."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Ignore the metrics."""

    def log_figure(self, path: Path) -> None:
        """Ignore the figure."""

    def log_artifact(self, path: Path) -> None:
        """Ignore the file."""

    def log_model(self, model: nn.Module, example: npt.NDArray[np.float32]) -> None:
        """Ignore the model."""

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Ignore the tags."""
