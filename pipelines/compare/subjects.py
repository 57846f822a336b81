"""What is compared: which file of the results, what tells its rows apart, and which numbers of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.results import Row
from pipelines.tables import Format, count, decimal, milliseconds, percent, seconds, times


@dataclass(frozen=True, kw_only=True)
class Number:
    """One number of a row: its field, heading and format."""

    key: str
    heading: str
    format: Format
    ratio: bool = True
    """Whether yours is divided by ours; a share is compared by its difference instead."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A result file and what is looked at in it."""

    file: str
    """Path below the folder of results."""
    keys: Sequence[str]
    """Fields that tell the rows apart."""
    numbers: Sequence[Number]
    chosen: Mapping[str, Any] = field(default_factory=dict)
    """Only rows with these values are looked at."""

    def rows_by_key(self, rows: Sequence[Row]) -> dict[tuple[str, ...], Row]:
        """Return the chosen rows by the values of `keys`, as text; of equal ones the last, the end of a curve."""
        mine = [row for row in rows if self.chosen.items() <= row.items()]
        return {tuple(str(row[key]) for key in self.keys): row for row in mine}


ACCURACY = Number(key="test_accuracy", heading="test accuracy", format=percent, ratio=False)
STEP = Number(key="step_seconds_median", heading="step", format=milliseconds)

SUBJECTS = (
    Subject(
        file="recognition.json",
        keys=("data", "model", "seed"),
        numbers=(
            ACCURACY,
            Number(key="auc_macro", heading="AUC macro", format=decimal),
            Number(key="train_seconds", heading="training", format=seconds),
        ),
    ),
    Subject(
        file="distributed.json",
        keys=("data", "model", "method", "workers"),
        numbers=(
            ACCURACY,
            STEP,
            Number(key="sent_bytes_per_step", heading="bytes sent a step", format=count),
        ),
    ),
    Subject(
        file="speedup.json",
        keys=("model", "method", "link"),
        numbers=(Number(key="acceleration_ratio", heading="acceleration over one worker", format=times),),
    ),
    Subject(
        file="sweep/sweep.json",
        keys=("model", "link", "workers", "method"),
        numbers=(
            STEP,
            Number(key="step_over_sdp_median", heading="step over sdp", format=times),
            Number(key="wire_bytes_counted_per_step", heading="bytes counted a step", format=count),
        ),
    ),
    Subject(
        file="convergence/convergence.json",
        keys=("method", "workers"),
        numbers=(ACCURACY, Number(key="sent_megabytes", heading="MB sent", format=decimal)),
    ),
    Subject(
        file="convergence/parity.json",
        keys=("data", "method"),
        numbers=(
            Number(key="test_accuracy_mean", heading="test accuracy", format=percent, ratio=False),
            Number(key="difference_points", heading="points over the reference", format=decimal, ratio=False),
        ),
    ),
    Subject(
        file="study/study.json",
        keys=("data", "model"),
        chosen={"experiment": "comparison_summary"},
        numbers=(Number(key="test_accuracy_mean", heading="test accuracy", format=percent, ratio=False),),
    ),
    Subject(
        file="related/related.json",
        keys=("system", "data", "variant"),
        chosen={"experiment": "variant"},
        numbers=(
            Number(key="test_accuracy_mean", heading="test accuracy", format=percent, ratio=False),
            Number(key="compressed_bytes_per_step_mean", heading="bytes a step, GQ", format=count),
        ),
    ),
)
