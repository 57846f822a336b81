"""All that a run is opened with, as plain values: so it can be opened at once, or later from a journal."""

import os
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import psutil

from pipelines.provenance import commit
from pipelines.tracking.lineage import dvc_process, pipeline_run
from pipelines.tracking.owner import Owner, checkout
from pipelines.tracking.source import source_tags

MILLISECONDS = 1000


@dataclass(frozen=True, kw_only=True)
class Opening:
    """A stage's run before any store has seen it."""

    token: str
    """Names the run in every store: by it a run that was made, but whose answer was lost, is found again."""
    experiment: str
    name: str
    """What the store shows as the run's name."""
    started: int
    """Milliseconds since 1970."""
    labels: dict[str, str]
    """Tags that say what the run is of; an interrupted run with the same ones is gone on with."""
    origin: dict[str, str]
    """Tags that say where it comes from: program, user, commit."""
    resumes: bool
    """Whether the stage goes on with an interrupted work, and so with its run."""
    checkout: str
    owner: str
    """The process whose run it is, see `Owner`."""
    pipeline: str | None
    """The name that all stages of its pipeline run share."""
    pipeline_owner: str

    @classmethod
    def here(
        cls, experiment: str, stage: str, item: str | None, labels: Mapping[str, Any], *, resumes: bool
    ) -> "Opening":
        """Return the opening of a run of this process, now."""
        own = psutil.Process()
        return cls(
            token=uuid.uuid4().hex,
            experiment=experiment,
            name=item or stage,
            started=milliseconds(),
            labels={key: str(value) for key, value in labels.items()},
            origin=source_tags() | {"commit": commit()},
            resumes=resumes,
            checkout=checkout(),
            owner=str(Owner.of(own)),
            pipeline=pipeline_run(),
            pipeline_owner=str(Owner.of(dvc_process() or own)),
        )

    @property
    def folder_name(self) -> str:
        """A name that sorts by time and that no other run has."""
        return f"{self.started:015d}-{os.getpid()}-{self.token[:8]}"

    def to_values(self) -> dict[str, Any]:
        """Return what `Opening(**values)` takes."""
        return asdict(self)


def milliseconds() -> int:
    """Return the time as MLflow stores it: milliseconds since 1970."""
    return int(time.time() * MILLISECONDS)
